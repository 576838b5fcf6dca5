"use strict";
// Players: one sound at a time leads, the muted picture follows it, a playhead runs over all curves.
(() => {
  const MAX_DRIFT_S = 0.08;
  const players = [];

  // Some browsers cannot seek in data: URIs, so a medium becomes a blob when it is first used.
  const toBlob = (medium) => {
    if (!medium.src.startsWith("data:")) return;
    const [head, body] = medium.src.split(",", 2);
    const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
    medium.src = URL.createObjectURL(new Blob([bytes], { type: head.slice(5).split(";")[0] }));
  };

  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

  class Player {
    constructor(root) {
      this.root = root;
      this.duration = Number(root.dataset.duration);
      this.video = root.querySelector("video");
      this.sounds = new Map([...root.querySelectorAll("audio")].map((audio) => [audio.dataset.key, audio]));
      this.radios = [...root.querySelectorAll(".switch input")];
      this.slider = root.querySelector("input[type=range]");
      this.output = root.querySelector("output");
      this.button = root.querySelector(".play");
      this.head = root.querySelector(".playhead");
      this.lanes = root.querySelector(".lanes");
      this.position = 0;
      this.playing = false;
      if (!this.sounds.size) return;
      for (const audio of this.sounds.values()) {
        audio.controls = false;
        audio.hidden = true;
        audio.addEventListener("ended", () => this.finish(audio));
      }
      if (this.video) {
        this.video.controls = false;
        this.video.muted = true;
        this.video.addEventListener("click", () => this.toggle());
      }
      root.querySelector(".transport").hidden = false;
      this.head.hidden = false;
      this.button.addEventListener("click", () => this.toggle());
      this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
      for (const radio of this.radios) radio.addEventListener("change", () => this.choose(radio.value));
      this.lanes.addEventListener("click", (event) => {
        const box = this.lanes.getBoundingClientRect();
        this.seek(this.duration * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
      });
      this.key = (this.radios.find((radio) => radio.checked) || this.radios[0]).value;
      this.choose(this.key);
    }

    get sound() { return this.sounds.get(this.key); }

    choose(key) {
      const wasPlaying = this.playing;
      if (wasPlaying) { this.position = this.sound.currentTime; this.sound.pause(); }
      this.key = key;
      for (const part of this.root.querySelectorAll(".only[data-key]")) {
        const shown = part.dataset.key === key;
        if (part instanceof SVGElement) part.setAttribute("display", shown ? "inline" : "none");
        else part.hidden = !shown;
      }
      for (const line of this.root.querySelectorAll(".level")) {
        line.classList.toggle("chosen", line.dataset.key === key);
        if (line.dataset.key === key) line.parentNode.append(line);
      }
      if (wasPlaying) this.play();
    }

    async play() {
      for (const other of players) if (other !== this) other.pause();
      if (this.position >= this.duration - 0.05) this.position = 0;
      toBlob(this.sound);
      if (this.video) toBlob(this.video);
      const sound = this.sound;
      sound.currentTime = this.position;
      this.setPlaying(true);
      try {
        await sound.play();
      } catch {
        if (sound === this.sound) this.setPlaying(false);
        return;
      }
      if (this.video && this.playing) {
        this.video.currentTime = sound.currentTime;
        this.video.play().catch(() => {});
      }
      requestAnimationFrame(() => this.follow());
    }

    pause() {
      if (!this.playing) return;
      this.position = this.sound.currentTime;
      this.sound.pause();
      if (this.video) this.video.pause();
      this.setPlaying(false);
      this.draw();
    }

    toggle() { if (this.playing) this.pause(); else this.play(); }

    finish(audio) {
      if (audio !== this.sound) return;
      this.position = this.duration;
      if (this.video) this.video.pause();
      this.setPlaying(false);
      this.draw();
    }

    seek(seconds) {
      this.position = seconds;
      if (this.video) { toBlob(this.video); this.video.currentTime = seconds; }
      if (this.playing) this.sound.currentTime = seconds;
      this.draw();
    }

    follow() {
      if (!this.playing) return;
      this.position = this.sound.currentTime;
      if (this.video && !this.video.ended && Math.abs(this.video.currentTime - this.position) > MAX_DRIFT_S && !this.video.seeking) {
        this.video.currentTime = this.position;
      }
      this.draw();
      requestAnimationFrame(() => this.follow());
    }

    setPlaying(playing) {
      this.playing = playing;
      this.button.classList.toggle("playing", playing);
      this.button.setAttribute("aria-label", this.button.getAttribute("aria-label").replace(/^\w+/, playing ? "Pause" : "Play"));
    }

    draw() {
      this.head.style.left = `${(100 * this.position) / this.duration}%`;
      this.slider.value = this.position;
      this.output.textContent = clock(this.position);
    }
  }

  for (const root of document.querySelectorAll(".sample")) players.push(new Player(root));
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("#provenance details")) details.open = true;
  });
})();
