"use strict";
// Answers count only for what was heard: the button waits until every clip has been played to its end once.
for (const form of document.querySelectorAll("form.gated")) {
  const media = [...form.querySelectorAll("[data-hear]")];
  const send = form.querySelector("button[type=submit]:not([name])");
  const gate = form.querySelector(".gate");
  const heard = new Map(media.map((player) => [player, 0]));
  const opened = performance.now();
  let leaving = false;

  const whole = (player) => heard.get(player) >= 0.95;
  const answered = () => {
    const names = new Set([...form.querySelectorAll("input[type=radio]")].map((input) => input.name));
    return [...names].every((name) => form.querySelector(`input[name="${name}"]:checked`));
  };
  const look = () => {
    const left = media.filter((player) => !whole(player)).length;
    send.disabled = leaving || left > 0 || !answered();
    if (left > 0) gate.textContent = media.length > 1 ? `Please listen to all to the end (${left} left).` : "Please listen to the end.";
    else gate.textContent = answered() ? "" : "Please answer every question.";
  };

  // What ran by while playing, not the furthest place: a jump to the end is not listening.
  const share = (player) => {
    let seconds = 0;
    for (let i = 0; i < player.played.length; i++) seconds += player.played.end(i) - player.played.start(i);
    return player.duration > 0 ? Math.min(1, seconds / player.duration) : 0;
  };
  for (const player of media) {
    for (const event of ["timeupdate", "pause", "ended"]) player.addEventListener(event, () => {
      heard.set(player, Math.max(heard.get(player), share(player)));
      look();
    });
    player.addEventListener("play", () => { for (const other of document.querySelectorAll("audio, video")) if (other !== player) other.pause(); });
    player.addEventListener("error", () => { gate.textContent = "This cannot be played here. Reload the page, or skip it."; });
  }
  form.addEventListener("change", look);
  form.addEventListener("submit", (event) => {
    if (leaving) { event.preventDefault(); return; }
    leaving = true;
    if (form.elements.heard) form.elements.heard.value = media.length ? Math.min(...heard.values()).toFixed(3) : "1";
    if (form.elements.seconds) form.elements.seconds.value = ((performance.now() - opened) / 1000).toFixed(1);
  });
  look();
}
// Coming back with the browser's arrow shows a page as it was left: load it anew, which leads to the right one.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
