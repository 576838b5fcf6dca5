// What plays the music of a live session, in the browser's sound thread: samples come by its port, how it stands goes back.

import { Jitter } from "./jitter.js";

const EVERY_S = 0.1;

registerProcessor("player", class extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.jitter = new Jitter(processorOptions.channels, sampleRate);
    this.told = 0;
    this.loudest = 0;
    this.port.onmessage = ({ data }) => { if (data === "end") this.over = true; else this.jitter.push(data); };
  }

  process(_inputs, [outputs]) {
    const { jitter } = this;
    const before = jitter.played;
    jitter.pull(outputs);
    for (const sample of outputs[0]) this.loudest = Math.max(this.loudest, Math.abs(sample));
    if (currentTime >= this.told + EVERY_S) {
      this.told = currentTime;
      this.port.postMessage({ time_s: currentTime, played: before, level_s: jitter.level / sampleRate, dropouts: jitter.dropouts, began: jitter.began, loudest: this.loudest });
      this.loudest = 0;
    }
    return !this.over;
  }
});
