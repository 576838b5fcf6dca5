"""The clock of the room Record: what it measures of a camera whose delay is known, in a real browser.

The camera is a canvas that lights up at times of the sound plus a set delay. What this harness adds by itself, from
a drawing to the time that the browser gives its frame, is measured without the studio and taken off.

`.ci/full studio` flashes at random times; the suite's few flashes are spread evenly over a frame instead.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600, func_only=True)]
FULL = bool(os.environ.get("EXPOTION_STUDIO_FULL"))
DELAYS_S = (0.0, 0.08, 0.25) if FULL else (0.0, 0.25)
APART_S, ABSOLUTE_S = 0.010, 0.020
"""Allowed error of differences between delays, and of each delay."""
FLASHES, TRIES = 20 if FULL else 8, 3
CAMERA = """
window.camera = (fps, lit, drawn = () => {}) => {
  const canvas = document.createElement('canvas'); canvas.width = 160; canvas.height = 120;
  const g = canvas.getContext('2d'), stream = canvas.captureStream(0);
  setInterval(() => {
    const now = lit();
    g.fillStyle = now ? '#fff' : '#111'; g.fillRect(0, 0, 160, 120);
    drawn(now);
    stream.getVideoTracks()[0].requestFrame();
  }, 1000 / fps);
  return stream;
};
const played = { context: null, starts: [] };
navigator.mediaDevices.getUserMedia = async () => window.camera(window.fake.fps, () => {
  if (!played.context) return false;
  const stamp = played.context.getOutputTimestamp();
  const now = stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000 - window.fake.delay;
  return played.starts.some((when) => now >= when && now < when + .12);
});
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, ...rest) {
  if (played.context !== this.context) { played.context = this.context; played.starts = []; }
  played.starts.push(when);
  return start.call(this, when, ...rest);
};
"""
HARNESS = """async ([fps, count]) => {
  const changes = [], delays = [];
  let light = false, until = 0;
  const stream = window.camera(fps, () => {
    const now = performance.now();
    if (now > until) { light = !light; until = now + 150 + 200 * Math.random(); changes.push([now, light]); }
    return light;
  });
  const video = document.createElement('video'); video.muted = true; video.srcObject = stream; await video.play();
  const g = new OffscreenCanvas(16, 12).getContext('2d', { willReadFrequently: true });
  let before = null;
  await new Promise((done) => {
    const frame = (now, about) => {
      g.drawImage(video, 0, 0, 16, 12);
      const lit = g.getImageData(8, 6, 1, 1).data[0] > 128;
      const time = about.captureTime ?? about.presentationTime ?? now;
      if (before !== null && lit !== before) {
        const own = changes.filter(([, how]) => how === lit).map(([at]) => time - at);
        delays.push(own.reduce((a, b) => Math.abs(a) < Math.abs(b) ? a : b)); // changes are far apart: the nearest
      }
      before = lit;
      if (delays.length < count) video.requestVideoFrameCallback(frame); else done();
    };
    video.requestVideoFrameCallback(frame);
  });
  for (const track of stream.getTracks()) track.stop();
  delays.sort((a, b) => a - b);
  return delays[delays.length >> 1] / 1000;
}"""
EVENLY = """(fps) => { // each flash is an eighth of a frame later in its frame than the one before
  const frames = Math.ceil(.46 * fps) + 1 / 8;
  Math.random = () => (frames / fps - .45) / .4;
}"""
CALIBRATE = """async ([delay, fps, count]) => {
  window.fake = { delay, fps };
  const { eye, calibrate } = await import('/static/clock.js');
  const context = new AudioContext(); await context.resume();
  const video = document.createElement('video'), screen = document.createElement('div');
  document.body.append(video);
  const camera = await eye(context, video);
  const found = await calibrate(context, camera, screen, count);
  camera.close(); await context.close(); video.remove();
  return found;
}"""


@pytest.mark.parametrize("fps", [30, 15])
def test_the_offset_between_sound_and_picture_is_measured(browser: Any, served: Any, fps: int) -> None:
    page = browser.new_page()
    page.add_init_script(CAMERA)
    page.goto(served[1])
    harness_s = page.evaluate(HARNESS, [fps, FLASHES])
    if not FULL:
        page.evaluate(EVENLY, fps)
    found: dict[float, float] = {}
    for delay_s in DELAYS_S:
        for _ in range(TRIES):  # a machine that is busy shows frames late
            found[delay_s] = page.evaluate(CALIBRATE, [delay_s, fps, FLASHES])["delay_s"]
            if abs(found[delay_s] - harness_s - delay_s) < APART_S / 2:
                break
    told = ", ".join(f"{1000 * set_s:.0f} ms: {1000 * one_s:.1f}" for set_s, one_s in found.items())
    print(f"{fps} fps, harness {1000 * harness_s:.1f} ms, measured {told}")
    for delay_s, measured_s in found.items():
        assert measured_s - harness_s == pytest.approx(delay_s, abs=ABSOLUTE_S)
        assert measured_s - found[0.0] == pytest.approx(delay_s, abs=APART_S)
