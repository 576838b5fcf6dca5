// Sound that arrives in pieces becomes sound without gaps: a buffer between them. Times in seconds, samples interleaved.

const MOST_S = 0.6, MORE_S = 0.05, FADE_S = 0.01; // the longest start, how much it grows by after a gap, a cut's crossfade
const START_S = 0.3, WATCHED_S = 5, SPARE_S = 0.35, KEPT_S = 0.25; // music comes up to 0.2 s later than it can; what was more than spare for so long is cut down to what is kept

export class Jitter {
  constructor(channels, rate, start_s = START_S) {
    Object.assign(this, { channels, rate, start_s, pieces: [], first: 0, level: 0, played: 0, dropouts: 0, cut: 0, waits: true, least: Infinity, watched: 0, began: false });
  }

  push(samples) {
    if (!samples.length) return;
    this.pieces.push(samples);
    this.level += samples.length / this.channels;
  }

  // Fill arrays of one length, one a channel; the last channel is repeated where there are more arrays. Returns how many were filled.
  pull(outputs) {
    const wanted = outputs[0].length;
    if (this.waits && this.level < this.start_s * this.rate) return 0;
    this.waits = false;
    this.began = true;
    const got = Math.min(wanted, this.level);
    this.copy(outputs, got);
    if (got < wanted) {
      this.dropouts += 1; this.waits = true; this.least = Infinity; this.watched = 0;
      this.start_s = Math.min(MOST_S, this.start_s + MORE_S);
    } else this.spare(outputs, wanted);
    return got;
  }

  copy(outputs, count) {
    let done = 0;
    while (done < count) {
      const piece = this.pieces[0], here = Math.min(count - done, piece.length / this.channels - this.first);
      outputs.forEach((output, c) => {
        const own = Math.min(c, this.channels - 1);
        for (let i = 0; i < here; i++) output[done + i] = piece[(this.first + i) * this.channels + own];
      });
      this.skip(here); done += here;
    }
    this.played += count;
  }

  skip(count) {
    this.level -= count;
    for (this.first += count; this.pieces.length && this.first * this.channels >= this.pieces[0].length; this.pieces.shift()) this.first -= this.pieces[0].length / this.channels;
  }

  // The level never fell below what is spare: cut it, faded over, so that the sound is no later than it must be.
  spare(outputs, count) {
    this.least = Math.min(this.least, this.level);
    this.watched += count;
    if (this.watched < WATCHED_S * this.rate) return;
    const more = Math.floor(this.least - KEPT_S * this.rate);
    const cut = this.least > SPARE_S * this.rate;
    this.least = Infinity; this.watched = 0;
    if (!cut) return;
    this.skip(more); this.played += more; this.cut += more;
    const fade = Math.min(count, this.level, Math.floor(FADE_S * this.rate)), after = outputs.map(() => new Float32Array(fade));
    this.copy(after, fade);
    outputs.forEach((output, c) => { for (let i = 0; i < fade; i++) { const w = (i + 1) / fade, k = count - fade + i; output[k] = (1 - w) * output[k] + w * after[c][i]; } });
  }
}
