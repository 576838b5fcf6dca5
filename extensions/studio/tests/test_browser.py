"""The rooms in a real browser, from start to end on the tiny model."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pythonosc.osc_message import OscMessage

from expotion.video.audio import load_audio
from expotion.video.scan import scan
from expotion.video.sound_files import write_wav

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600, func_only=True)]
LONG_MS = 400_000


def test_compose_from_a_file_to_a_kept_take(opened: Any, clip: Path) -> None:
    screen = opened()
    page = screen.page
    screen.until("document.querySelector('textarea').value !== ''", 180)
    page.set_input_files("input[type=file]", clip)
    page.wait_for_selector(".lanes-of .track", timeout=LONG_MS)
    assert page.locator(".lanes-of h3").all_inner_texts() == ["face face_marlin", "motion motion_synchformer"]
    # by keyboard: a second point of the face's strength, pulled down
    page.locator(".handles button").first.focus()
    for key in ("Enter", *["ArrowDown"] * 4):
        page.keyboard.press(key)
    text = page.locator(".strength-box input").first.input_value()
    assert text == "0:1,0.75:0.8"
    page.fill("textarea", "calm marimba with zither")
    assert "zither" in page.locator("form .hint").first.inner_text()
    page.fill("input[name=samples]", "2")
    page.get_by_role("button", name="Make music").press("Enter")
    page.wait_for_selector(".take", timeout=LONG_MS)
    assert page.locator(".take").count() == 2
    page.locator(".take").nth(1).get_by_role("button", name="Keep").click()
    page.wait_for_selector(".take.kept")
    page.locator("input[name=heard]").first.check()
    screen.until("document.querySelector('audio').currentTime > 0.3")
    page.reload()
    page.wait_for_selector(".take.kept")
    screen.until("document.querySelector('.lanes-of .track') !== null")
    screen.looked_at("compose")
    assert screen.faults == []


def test_a_clip_from_the_camera(opened: Any) -> None:
    screen = opened(width=390, height=800)
    page = screen.page
    page.get_by_role("button", name="record one").click()
    page.get_by_role("button", name="Record", exact=True).click()
    screen.until("parseFloat(document.querySelector('.camera output').textContent) > 1.2")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".chosen option", state="attached", timeout=LONG_MS)
    assert "recording.webm" in page.locator(".chosen option").first.inner_text()
    assert screen.faults == []


def test_sounds_of_ones_own_come_together(opened: Any, served: Any, tmp_path: Path) -> None:
    studio, _ = served
    screen = opened("record")
    files = [tmp_path / f"{name}.wav" for name in ("one", "two", "none")]
    for file in files[:2]:
        write_wav(file, 0.1 * np.sin(np.arange(96_000) / 20).astype(np.float32), 32_000)
    files[2].write_bytes(b"no sound")
    screen.until("document.querySelector('input[type=file]').files.length === 0")
    screen.page.set_input_files("input[type=file]", files)
    screen.until("document.querySelector('#said').textContent.includes('none')", 240)
    assert sorted(job.title for job in studio.jobs.all()) == ["one through the codec", "two through the codec"]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Another program, which OSC messages come to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        found.settimeout(30.0)
        yield found


def test_live_from_the_camera_to_a_video(opened: Any, served: Any, listener: socket.socket) -> None:
    """Music comes for the browser's camera, which shows nobody; another prompt, a fader, another tab, an end.

    What moves in the picture goes to another program.
    """
    studio, _ = served
    screen = opened("live")
    page = screen.page
    screen.until("document.querySelector('textarea').value !== ''", 180)
    screen.press("Beats and values for other programs", tag="summary")
    screen.write("OSC to HOST:PORT", f"127.0.0.1:{listener.getsockname()[1]}")
    screen.press("Start")
    screen.until("document.querySelector('#room').textContent.includes('It plays.')", 180)
    message = OscMessage(listener.recv(1024))
    assert message.address == "/expotion/quantity_of_motion" and 0.0 < message.params[0] < 1.0
    page.evaluate(LOUDEST)
    screen.until("window.loudest > 0.001", 60)
    screen.until("Number.parseFloat(document.querySelector('.meters dd').textContent) > 0.2")
    screen.until("document.querySelector('.faders').textContent.includes('face sees nothing')")
    screen.reach("textarea", "Prompt")
    page.keyboard.press("Control+a")
    page.keyboard.type("calm marimba with zither")
    screen.press("Change the prompt")
    screen.until("document.querySelector('.asked .hint').textContent.includes('zither')")
    screen.press("face", "ArrowRight", "input")
    screen.until("document.querySelector('.faders output').textContent === '1.05'")
    screen.looked_at("live")
    other = opened("live")
    other.until("document.querySelector('textarea').value !== ''", 180)
    other.press("Start")
    other.until("document.querySelector('#said').textContent.includes('another tab')")
    screen.press("Stop")
    screen.until("document.querySelector('#room').textContent.includes('Its video is being written')", 120)
    screen.until("document.querySelector('.list video') !== null", 120)
    (session,) = studio.shelf.all_sessions()
    assert [text for _, text in session.said][1:] == ["calm marimba with zither"]
    source = scan(studio.shelf.sessions / session.id / f"{session.id}.mp4")
    assert source.picture is not None and source.sound is not None
    assert len(source.picture.times_s) == session.frames > 20
    samples = load_audio(source.path, 32_000)
    assert samples is not None and np.abs(samples).max() > 0.001
    assert len(samples) / 32_000 == pytest.approx(session.duration_s, abs=0.5)
    screen.looked_at("live-after")
    assert screen.faults == [] and other.faults == []


def test_a_camera_that_is_not_there_is_said(opened: Any) -> None:
    screen = opened("live")
    screen.until("document.querySelector('textarea').value !== ''", 180)
    screen.page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => "
        "{ throw new DOMException('x', 'NotFoundError') } }"
    )
    screen.press("Start")
    screen.until("document.querySelector('#said').textContent.includes('No camera was found')")
    assert screen.page.get_by_role("button", name="Start").is_visible()


@pytest.mark.parametrize("channels", [1, 2])
def test_the_buffer_between_network_and_speakers(opened: Any, channels: int) -> None:
    """What comes in pieces comes out whole; a gap counts once and the buffer grows; what is spare is cut."""
    found = opened().page.evaluate(JITTER, channels)
    assert found["early"] == 0 and found["same"]
    assert found["dropouts"] == 1 and found["silent"] and found["grown"] == pytest.approx(0.35)
    assert found["again"] == 128
    assert found["cut"] > 0.2 and 0.2 < found["level"] < 0.3 and found["jump"] < 0.03


LOUDEST = """() => {
  window.loudest = 0;
  const post = MessagePort.prototype.postMessage;
  MessagePort.prototype.postMessage = function (message, ...rest) {
    if (message instanceof Float32Array) window.loudest = Math.max(window.loudest, ...message.map(Math.abs));
    return post.call(this, message, ...rest);
  };
}"""
JITTER = """async (channels) => {
  const { Jitter } = await import('/static/jitter.js');
  const rate = 32000, jitter = new Jitter(channels, rate), found = {};
  const wave = (i) => Math.sin(i / 200), out = () => [new Float32Array(128), new Float32Array(128)];
  let made = 0;
  const push = (n) => {
    const piece = new Float32Array(n * channels);
    for (let i = 0; i < n * channels; i++) {
      piece[i] = wave(made + Math.floor(i / channels)) * (i % channels ? -1 : 1);
    }
    jitter.push(piece); made += n;
  };
  push(2560);
  found.early = jitter.pull(out());
  push(7000); push(100);
  let at = 0, same = true, last = out();
  while (jitter.level >= 128) {
    last = out(); jitter.pull(last);
    for (let i = 0; i < 128; i++, at++) {
      const right = channels === 2 ? -wave(at) : wave(at);
      same = same && Math.abs(last[0][i] - wave(at)) < 1e-6 && Math.abs(last[1][i] - right) < 1e-6;
    }
  }
  found.same = same;
  last = out(); jitter.pull(last);
  found.silent = last[0][127] === 0 && jitter.pull(out()) === 0;
  found.dropouts = jitter.dropouts; found.grown = jitter.start_s;
  push(6400); push(12800);
  found.again = jitter.pull(out());
  let before = null, jump = 0;
  for (let k = 0; k < 1500; k++) {
    if (k % 20 === 0) push(2560);
    last = out(); jitter.pull(last);
    for (const sample of last[0]) { jump = Math.max(jump, Math.abs(sample - (before ?? sample))); before = sample; }
  }
  return { ...found, cut: jitter.cut / rate, level: jitter.least / rate, jump };
}"""
