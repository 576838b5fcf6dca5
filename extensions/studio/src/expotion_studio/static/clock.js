// One clock for sound and picture: that of the browser's sound. Every frame of a camera gets its time on it.

import { openCamera } from "./camera.js";

const SETTLED = 101; // readings whose median joins the two clocks

// Seconds of an AudioContext at which something leaves the speakers, for moments of performance.now().
export function joined(context) {
  const readings = [];
  return (performance_ms) => {
    const stamp = context.getOutputTimestamp?.();
    const now = stamp?.contextTime > 0 ? stamp.contextTime - stamp.performanceTime / 1000
      : context.currentTime - (context.outputLatency || context.baseLatency || 0) - performance.now() / 1000;
    readings.push(now);
    if (readings.length > SETTLED) readings.shift();
    return [...readings].sort((a, b) => a - b)[readings.length >> 1] + performance_ms / 1000;
  };
}

// A camera that is looked at: `each(listener)` gives every frame as { video, time_s, dropped } until it is closed.
export async function eye(context, video, options) {
  const stream = await openCamera(options);
  const time = joined(context), listeners = new Set();
  let presented = null, open = true;
  video.muted = true; video.playsInline = true; video.srcObject = stream;
  await video.play();
  const frame = (now, about) => {
    if (!open) return;
    const dropped = presented === null ? 0 : Math.max(0, about.presentedFrames - presented - 1);
    presented = about.presentedFrames;
    const time_s = time(about.captureTime ?? about.presentationTime ?? now);
    for (const listener of [...listeners]) listener({ video, time_s, dropped });
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
  return {
    stream,
    each(listener) { listeners.add(listener); return () => listeners.delete(listener); },
    onGone(listener) { stream.getVideoTracks()[0].addEventListener("ended", listener); },
    close() { open = false; for (const track of stream.getTracks()) track.stop(); video.srcObject = null; },
  };
}

// How long after its sound a flash is seen, from frames around flashes: `seen` [[time_s, brightness], ..] in order.
// A frame says that the flash came after the dark one before it and before itself; of many flashes at random times the
// latest of the first and the earliest of the second close in on the delay. Null where no flash was seen.
export function delayOf(flashes_s, seen, longest_s = 0.6) {
  const levels = seen.map(([, level]) => level);
  const low = Math.min(...levels), high = Math.max(...levels);
  if (!(high - low > 12)) return null;
  const lower = [], upper = [];
  for (const flash of flashes_s) {
    const k = seen.findIndex(([time, level], i) => i > 0 && time > flash && time < flash + longest_s && level > (low + high) / 2 && seen[i - 1][1] <= (low + high) / 2);
    if (k < 0) continue;
    lower.push(seen[k - 1][0] - flash); upper.push(seen[k][0] - flash);
  }
  if (lower.length < Math.max(3, flashes_s.length / 2)) return null;
  lower.sort((a, b) => a - b); upper.sort((a, b) => a - b);
  const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return { delay_s: (at(lower, .9) + at(upper, .1)) / 2, seen: lower.length };
}

// Clicks at random times with a flash of the screen for each, watched by the camera.
export async function calibrate(context, camera, screen, count = 20) {
  const sound = context.createBuffer(1, Math.round(.03 * context.sampleRate), context.sampleRate);
  const samples = sound.getChannelData(0);
  for (let i = 0; i < samples.length; i++) samples[i] = (Math.random() * 2 - 1) * Math.exp(-i / 200);
  const flashes = [], small = new OffscreenCanvas(16, 12).getContext("2d", { willReadFrequently: true }), seen = [];
  let when = context.currentTime + 1;
  for (let k = 0; k < count; k++) {
    const node = new AudioBufferSourceNode(context, { buffer: sound });
    node.connect(context.destination); node.start(when);
    flashes.push(when);
    when += .45 + .4 * Math.random();
  }
  const time = joined(context);
  let watching = true;
  const blink = () => {
    const now = time(performance.now());
    screen.classList.toggle("lit", flashes.some((flash) => now >= flash && now < flash + .12));
    if (watching) requestAnimationFrame(blink);
  };
  blink();
  const off = camera.each(({ video, time_s }) => {
    small.drawImage(video, 0, 0, 16, 12);
    const data = small.getImageData(0, 0, 16, 12).data;
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
    seen.push([time_s, sum / (data.length / 4 * 3)]);
  });
  await new Promise((done) => setTimeout(done, (when - context.currentTime + .7) * 1000));
  off(); watching = false; screen.classList.remove("lit");
  return delayOf(flashes, seen);
}

// Record a piece: `piece` is an AudioBuffer. Resolves to { blob, frames, dropped } when it has been heard to its end.
// Rejects, and stops the sound, where the page goes into the background or the camera goes.
export function take(context, camera, piece, { offset, said, signal }) {
  const LEAD_S = .6, canvas = document.createElement("canvas"), g = canvas.getContext("2d");
  const node = new AudioBufferSourceNode(context, { buffer: piece });
  node.connect(context.destination);
  const start_s = context.currentTime + LEAD_S, times = [], pictures = [];
  let dropped = 0, stop;
  node.start(start_s);
  return new Promise((done, failed) => {
    const hidden = () => { if (document.hidden) fail("The page went into the background, where browsers hold the camera back: this take does not count."); };
    const clear = () => { stop(); node.stop(); document.removeEventListener("visibilitychange", hidden); };
    const fail = (text) => { clear(); failed(new Error(text)); };
    signal.addEventListener("abort", () => fail("Called off."));
    document.addEventListener("visibilitychange", hidden);
    camera.onGone(() => fail("The camera has gone: this take does not count."));
    stop = camera.each(({ video, time_s, dropped: lost }) => {
      const own_s = time_s - start_s;
      if (own_s < -LEAD_S) return;
      if (own_s > 0) dropped += lost;
      canvas.width = video.videoWidth; canvas.height = video.videoHeight;
      g.drawImage(video, 0, 0);
      times.push(own_s);
      pictures.push(new Promise((ready) => canvas.toBlob(ready, "image/jpeg", .88)));
      said(own_s, dropped);
      if (own_s > piece.duration + Math.max(0, offset.delay_s) + .1) { clear(); finish().then(done, failed); }
    });
  });
  async function finish() {
    const blobs = await Promise.all(pictures);
    const header = new TextEncoder().encode(JSON.stringify({ times_s: times, sizes: blobs.map((blob) => blob.size), dropped, offset_s: offset.delay_s, offset_from: offset.from }));
    const length = new DataView(new ArrayBuffer(4));
    length.setUint32(0, header.length);
    return { blob: new Blob([length.buffer, header, ...blobs]), frames: times.length, dropped };
  }
}
