"use strict";
// Filters over the cards; one player at a time; a stretch of a file (#t=begin,end) starts again at its beginning.
(() => {
  const form = document.querySelector(".filters");
  const cards = [...document.querySelectorAll(".card")];
  const [text, split, only] = [form.querySelector("input[type=search]"), form.querySelector("select"), form.querySelector("input[type=checkbox]")];
  const output = form.querySelector("output");
  const apply = () => {
    const words = text.value.trim().toLowerCase();
    let shown = 0;
    for (const card of cards) {
      const fits = (!split.value || card.dataset.split === split.value)
        && (!only.checked || card.dataset.problems !== "0")
        && (!words || card.querySelector(".body").textContent.toLowerCase().includes(words));
      card.hidden = !fits;
      shown += fits;
    }
    output.textContent = `${shown} of ${cards.length} clips`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();

  for (const card of cards) {
    const video = card.querySelector("video");
    if (!video) continue;
    const [begin, end] = (video.getAttribute("src").split("#t=")[1] || "").split(",").map(Number);
    video.addEventListener("play", () => {
      for (const other of document.querySelectorAll("video")) if (other !== video) other.pause();
      if (end && video.currentTime >= end - 0.05) video.currentTime = begin;
    });
    video.addEventListener("error", () => {
      if (card.querySelector(".unplayable")) return;
      const note = document.createElement("p");
      note.className = "unplayable";
      note.textContent = "This browser cannot play the file from here; `expotion data overview --embed` puts copies into the page.";
      video.after(note);
    });
  }
})();
