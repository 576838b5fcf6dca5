"""A live session in the studio for some time, alone or in a crowd: how late is its music, does it drop out?

    uv run python benchmarks/studio_live.py --seconds 600                            # nobody else
    uv run python benchmarks/studio_live.py --seconds 600 --readers 20 --uploads 4   # in a crowd
    uv run python benchmarks/studio_live.py --seconds 60 --browser                   # in Chromium, on these cores

Starts a studio in a folder that goes afterwards, with an adaptor of `--recipe` (by default the landmarks of
recipes/person.yaml) whose weights are of a seed, or with `--adaptor` (a folder, or `shipped`). The camera shows a
person of the drawn world, 360 x 360 pixels at 30 frames a second. Without `--browser` a script sends its frames
over the WebSocket and hears by the same rules as the page (`jitter.js`); with it Chromium does both, on the same
cores.

`latency_engine_s` and its 95th percentile are those that the page shows: by the server's clock, from a frame's last
byte to the first sample computed with it being handed on. `camera_to_speaker_s` is the page's, by the browser's
clocks. `dropouts`: how often there was nothing to play; `left_out`: frames, because somebody was behind; `late_s`:
how much later than the earliest a piece of music came, by its place in the music: at the median, for 99 in 100, at
most. A player that waits for so much has no dropouts.

Every reader holds the stream of jobs open, and once a second asks for the page, its files, the lists and a part of
a clip's picture; an uploader gives a clip of 10 s again as soon as the one before was opened, and deletes it. They
stand for other machines, and run here on what is left of the processor. `asked_ms`: how long a small question takes
meanwhile, at the median, for 95 in 100 and at most. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from live_latency import HEAD, person, untrained
from own_gestures import the_studio
from own_gestures_camera import opened
from websockets.sync.client import connect

import expotion
from expotion.adaptor.checkpoint import save_adaptor
from expotion.video.writing import write_video
from expotion_web.limited import stand_back

CLIP_S = 10.0
START_S, MORE_S, MOST_S = 0.3, 0.05, 0.6
WATCHED_S, SPARE_S, KEPT_S = 5.0, 0.35, 0.25
"""What `jitter.js` goes by."""
PAUSE_S, LONGEST_S, WAIT_S = 1.0, 120.0, 180.0
PAGE = ("live", "static/main.js", "static/studio.css", "static/live.js", "static/page.js", "static/api.js")
LISTS = ("api/about", "api/clips", "api/songs", "api/recordings", "api/runs", "api/sessions", "api/jobs")


class Heard:
    """What a player hears of music that comes in pieces: times are those of a clock."""

    def __init__(self, music_s_per_byte: float) -> None:
        self._s_per_byte = music_s_per_byte
        self._start_s, self._waits_s, self._ends_s = START_S, 0.0, None
        self._least_s, self._watched_s = np.inf, 0.0
        self._music_s = 0.0
        self.late_s: list[float] = []
        self.dropouts_s: list[float] = []

    def come(self, n_bytes: int, now_s: float) -> None:
        """A piece is there."""
        piece_s = n_bytes * self._s_per_byte
        self.late_s.append(now_s - self._music_s)
        self._music_s += piece_s
        if self._ends_s is not None and now_s > self._ends_s:
            self.dropouts_s.append(now_s)
            self._start_s, self._ends_s = min(MOST_S, self._start_s + MORE_S), None
            self._least_s, self._watched_s = np.inf, now_s
        if self._ends_s is None:
            self._waits_s += piece_s
            if self._waits_s >= self._start_s:
                self._ends_s, self._waits_s, self._watched_s = now_s + self._waits_s, 0.0, now_s
            return
        self._least_s = min(self._least_s, self._ends_s - now_s)
        self._ends_s += piece_s
        if now_s >= self._watched_s + WATCHED_S:
            if self._least_s > SPARE_S:
                self._ends_s -= self._least_s - KEPT_S
            self._least_s, self._watched_s = np.inf, now_s


def film(folder: Path) -> tuple[Path, list[float], list[bytes]]:
    """Somebody who beats time, as a file, and as frames' times and JPEGs."""
    clip = person()
    times_s = clip.video.frame_times_s
    frames = list(clip.video.frames_at(times_s))
    write_video(folder / "person.mp4", frames, times_s, duration_s=clip.duration_s)
    turned = (cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in frames)
    jpegs = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes() for frame in turned]
    return folder / "person.mp4", times_s.tolist(), jpegs


def seeded_adaptor(recipe: Path, folder: Path) -> Path:
    """An adaptor of a recipe's controls that was not trained; what it costs is the same."""
    composer = expotion.load()
    untrained(composer, recipe)
    metadata = {
        "recipe": composer.recipe.to_dict(),
        "backbone_hash": composer.backbone.weights_hash,
        "encoder_hashes": {name: encoder.weights_hash for name, encoder in composer.encoders.items()},
        "window_frames": composer.window_frames,
    }
    save_adaptor(folder, composer.adaptor, metadata)
    return folder


def by_script(
    studio: str, adaptor: str, times_s: list[float], jpegs: list[bytes], seconds: float
) -> dict[str, Any]:
    """A session whose frames are sent at their times."""
    told: list[dict[str, Any]] = []
    with connect(f"{studio.replace('http', 'ws')}api/live", max_size=None) as page:
        page.send(json.dumps({"adaptor": adaptor}))
        while (ready := json.loads(page.recv()))["event"] == "stage":
            pass
        assert ready["event"] == "ready", ready
        heard = Heard(1.0 / (2 * ready["channels"] * ready["rate_hz"]))
        pusher = threading.Thread(target=push, args=(page, times_s, jpegs, seconds), daemon=True)
        began_s = time.monotonic()
        pusher.start()
        while True:
            message = page.recv()
            if isinstance(message, bytes):
                heard.come(len(message) - 2 - 8 * int.from_bytes(message[:2], "big"), time.monotonic())
                continue
            words = json.loads(message)
            if words["event"] == "now":
                told.append(words)
            elif words["event"] in ("ended", "wrong"):
                break
    assert words["event"] == "ended" and told, words
    late_s = np.array(heard.late_s) - min(heard.late_s)
    return {
        **engine(told),
        "dropouts": len(heard.dropouts_s),
        "late_s": [round(float(np.percentile(late_s, share)), 3) for share in (50, 99, 100)],
        "dropouts_at_s": [round(at_s - began_s, 1) for at_s in heard.dropouts_s],
        "left_out": told[-1]["left_out"] + told[-1]["refused"],
        "about": words["text"],
    }


def push(page: Any, times_s: list[float], jpegs: list[bytes], seconds: float) -> None:
    """The frames over and over, each when it is time."""
    began_s, turn = time.monotonic(), 0
    while turn * CLIP_S < seconds:
        for own_s, jpeg in zip(times_s, jpegs, strict=True):
            at_s = turn * CLIP_S + own_s
            if at_s >= seconds:
                break
            time.sleep(max(0.0, at_s - (time.monotonic() - began_s)))
            page.send(HEAD.pack(at_s, len(jpeg))[:8] + jpeg)
        turn += 1
    page.send('{"stop": true}')


def engine(told: list[dict[str, Any]]) -> dict[str, float]:
    """The median of what was said of the last frames now and then, and the worst that was said of 95 in 100."""
    settled = told[len(told) // 10 :]
    middle = float(np.median([one["engine_s"] for one in settled]))
    return {
        "latency_engine_s": round(middle, 3),
        "latency_engine_p95_s": max(one["engine_p95_s"] for one in settled),
    }


READ = """() => [...document.querySelectorAll('.meters dd')].map((one) => one.textContent)"""


def by_chromium(
    studio: str, adaptor: str, times_s: list[float], jpegs: list[bytes], seconds: float
) -> dict[str, Any]:
    """A session of the page; what it shows is read once a second."""
    about = json.dumps({"times_s": times_s, "sizes": [len(jpeg) for jpeg in jpegs]}).encode()
    pictures = len(about).to_bytes(4, "big") + about + b"".join(jpegs)
    told: list[dict[str, Any]] = []
    heard_s: list[float] = []
    with opened(pictures, 0.0, {"width": 1280, "height": 900}) as page:
        page.set_default_timeout(1000 * WAIT_S)
        page.goto(f"{studio}live")
        page.get_by_label("Adaptor").select_option(adaptor)
        page.wait_for_selector(".faders input")
        page.evaluate(f"setInterval(() => {{ window.fake.still = (performance.now() / 1000) % {CLIP_S}; }}, 15)")
        page.get_by_role("button", name="Start").click()
        page.get_by_text("It plays.").wait_for()
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            page.wait_for_timeout(1000)
            speaker, made, _, dropouts, lost = page.evaluate(READ)
            if "95" not in made or "s" not in speaker:
                continue
            middle, most = (float(part.split()[0]) for part in made.split(", "))
            told.append({"engine_s": middle, "engine_p95_s": most})
            heard_s.append(float(speaker.split()[0]))
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("of work for each second").first.wait_for()
        text = page.locator("p.hint[aria-live]").first.inner_text()
    return {
        **engine(told),
        "camera_to_speaker_s": round(float(np.median(heard_s)), 3),
        "camera_to_speaker_p95_s": round(float(np.percentile(heard_s, 95)), 3),
        "dropouts": int(dropouts),
        "left_out": int(lost),
        "about": text,
    }


def asked(address: str, method: str = "GET", body: bytes | None = None, part: str | None = None) -> bytes:
    """What is answered. Raises OSError where nothing is, or a refusal."""
    headers = {"Content-Type": "video/mp4"} | ({"Range": part} if part else {})
    request = urllib.request.Request(address, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=LONGEST_S) as answer:
        content: bytes = answer.read()
    return content


def upload(studio: str, clip: bytes) -> None:
    """A clip comes, and goes again."""
    found: dict[str, Any] = json.loads(asked(f"{studio}api/clips?name=crowd.mp4", "PUT", clip))
    with contextlib.suppress(urllib.error.HTTPError):
        asked(f"{studio}api/jobs/{found['job']['id']}/stop", "POST", b"")
        asked(f"{studio}api/clips/{found['clip']['id']}", "DELETE")
        asked(f"{studio}api/jobs/{found['job']['id']}", "DELETE")


def read(studio: str) -> None:
    """What a page asks for when a room is opened."""
    for path in (*PAGE, *LISTS):
        asked(studio + path)
    for clip in json.loads(asked(f"{studio}api/clips"))[:1]:
        with contextlib.suppress(urllib.error.HTTPError):  # it may not have been looked at yet
            asked(f"{studio}api/clips/{clip['id']}/picture", part="bytes=0-65535")
    time.sleep(PAUSE_S)


def listen(studio: str) -> None:
    """Hold the stream of jobs open."""
    with urllib.request.urlopen(f"{studio}api/jobs/events", timeout=LONGEST_S) as events:
        for _ in events:
            pass


def crowd(studio: str, clip: Path, readers: int, uploads: int, over: Any, out: Any) -> None:
    """Everybody at once until `over`; says what was done, and how long a small question took."""
    stand_back()
    content, done, took_s = clip.read_bytes(), Counter[str](), []

    def again(what: str, work: Callable[[], None]) -> None:
        while not over.is_set():
            try:
                work()
                done[what] += 1
            except OSError:
                done[f"{what} failed"] += 1

    work: list[tuple[str, Callable[[], None]]] = [("uploads", lambda: upload(studio, content))] * uploads
    work += [("reads", lambda: read(studio)), ("streams", lambda: listen(studio))] * readers
    for one in work:
        threading.Thread(target=again, args=one, daemon=True).start()
    while not over.is_set():
        began = time.monotonic()
        asked(f"{studio}api/about")
        took_s.append(time.monotonic() - began)
        over.wait(0.25)
    quantiles = [round(1000 * float(np.percentile(took_s, share)), 1) for share in (50, 95, 100)]
    out.put({**done, "asked_ms": quantiles})
    out.close()
    out.join_thread()
    os._exit(0)  # streams are still open


def main() -> None:
    """Start the studio, play, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/person.yaml"))
    parser.add_argument("--adaptor", help="a folder, or shipped")
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--readers", type=int, default=0)
    parser.add_argument("--uploads", type=int, default=0)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, times_s, jpegs = film(folder)
        given = Path(options.adaptor) if options.adaptor else None
        if given is None:
            given = seeded_adaptor(options.recipe, folder / "seeded")
        shipped = options.adaptor == "shipped"
        with the_studio(folder / "studio", *(() if shipped else (given,))) as studio:
            over, out = context.Event(), context.Queue()
            there = context.Process(
                target=crowd, args=(studio, clip, options.readers, options.uploads, over, out), daemon=True
            )
            there.start()
            play = by_chromium if options.browser else by_script
            found = play(studio, "" if shipped else given.resolve().name, times_s, jpegs, options.seconds)
            over.set()
            found["crowd"] = out.get(timeout=LONGEST_S)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
