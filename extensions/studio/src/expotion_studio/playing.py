"""The process of a live session: frames come over its pipe, music goes back (`python -m expotion_studio.playing`).

In:   words {"steering", "folder", "asked", "osc", "midi_port"} at first; then frames as bytes: time as float64, big
      end first, and a JPEG; and words {"say": PROMPT}, {"strength": [NAME, VALUE]}, {"stop": true}
Out:  words with an "event": stage, ready, said, now, note, wrong, ended; and music as bytes: how many frames
      nothing before it was computed with (uint16, big end first), their times (float64 each), then 16-bit samples,
      little end first
"""

from __future__ import annotations

import math
import os
import queue
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expotion.errors import FAULTS, ExpotionError, Problem, in_short
from expotion.files import write_json
from expotion_studio.keeping import Keeping
from expotion_web.talk import Wire

if TYPE_CHECKING:
    from expotion_live.loop import Clock, Made
    from expotion_live.session import LiveSession
    from expotion_live.signals import Signals

TIME = struct.Struct(">d")
SIZE, FPS = (360, 480), 30.0
"""What the page sends, about."""
WAITS_S = 0.3
"""How much music the page lets wait (`jitter.js`)."""
EVERY_S = 0.5
"""How often it is told how things stand."""
LONGEST_GAP_S = 2.0


class Sent:
    """Frames that a page sends (`expotion_live.frames.Pictures`), each kept; words go to `words`."""

    name, size, fps = "the page's camera", SIZE, FPS
    end_s: float | None = None

    def __init__(self, wire: Wire, keeping: Keeping, live: LiveSession, clock: Clock) -> None:
        """`clock` starts with the first frame."""
        self._wire, self._keeping, self._live, self._clock = wire, keeping, live, clock
        self._shape: tuple[int, int] | None = None
        self.words: queue.Queue[dict[str, Any]] = queue.Queue()
        self.last_s = -1.0
        self.strange = 0

    def frames(self, stop: threading.Event) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Until the page says stop, or goes. Raises ExpotionError for times that leap."""
        for message in self._wire.heard():
            if stop.is_set() or (isinstance(message, dict) and message.get("stop")):
                return
            if isinstance(message, dict):
                if "say" in message:
                    self._live.composer.prompts[message["say"]]  # encoded here, so that the music goes on
                self.words.put(message)
            elif (found := self._frame(message)) is not None:
                yield found

    def close(self) -> None:
        """Nothing to close."""

    def _frame(self, message: bytes) -> tuple[NDArray[np.uint8], float] | None:
        import cv2

        from expotion.video.memory import resize_frame

        time_s, jpeg = float(TIME.unpack_from(message)[0]), message[TIME.size :]
        if not math.isfinite(time_s) or time_s > max(self.last_s, 0.0) + LONGEST_GAP_S:
            wanted = f"times without gaps of more than {LONGEST_GAP_S:g} s"
            raise ExpotionError(Problem("live frames", wanted, f"{time_s:.2f} s after {self.last_s:.2f} s"))
        try:
            decoded: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # larger than this process decodes
            decoded = None
        if decoded is None or time_s <= self.last_s:
            self.strange += 1
            return None
        if self.last_s < 0.0:
            self._clock.started_s = time.monotonic() - time_s
        self.last_s = time_s
        self._keeping.frame(time_s, jpeg)
        frame = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        self._shape = self._shape or (frame.shape[0], frame.shape[1])
        return resize_frame(np.asarray(frame, np.uint8), self._shape), time_s


class Player:
    """One session from its first words to its last."""

    def __init__(self, wire: Wire, given: dict[str, Any]) -> None:
        self._wire, self._folder = wire, Path(given["folder"])
        self._steering, self._asked = given["steering"], given["asked"]
        self._osc, self._midi_port = given.get("osc"), given.get("midi_port")
        self._told_s, self._note = 0.0, ""

    def play(self) -> None:
        """Load, rehearse, play until the page stops. Raises ExpotionError with what is wrong."""
        from expotion import plugins
        from expotion.music.composer import open_composer
        from expotion.music.steering import Steering
        from expotion_live.loop import Clock, Delay
        from expotion_live.session import LiveSession
        from expotion_live.signals import open_signals, signal_problems
        from expotion_live.watching import watch

        if problems := signal_problems(self._osc, self._midi_port):
            raise ExpotionError(problems)
        steering = Steering.of(**self._steering)
        self._wire.say({"event": "stage", "text": "loads the models"})
        composer = open_composer(steering.folder, plugins.discover(), steering.backbone)
        self._wire.say({"event": "stage", "text": "rehearses"})
        look_s, work_s = LiveSession(composer, steering).rehearse(SIZE, FPS)
        shared: dict[str, Any] = {}
        live = LiveSession(composer, steering, shared=shared)
        if self._osc or self._midi_port:
            live.eye.watch(watch(plugins.discover(), shared, self._say_note))
        delay = Delay(live.hop_s, look_s, work_s, live.behind_s)
        live.eye.ahead_s = behind_s = delay.ready_s + WAITS_S
        channels = composer.backbone.geometry.channels
        self._asked |= {"rate_hz": live.sample_rate_hz, "channels": channels, "behind_s": behind_s}
        self._asked["said"] = [(0.0, composer.resolved(steering, {}).prompt)]
        write_json(self._folder / "asked.json", self._asked)
        self._say_ready(live, delay, channels)
        clock = Clock(live.sample_rate_hz, 0.0, delay.player_s)
        with open_signals(self._osc, self._midi_port, clock) as signals:
            self._run(live, clock, signals)

    def _run(self, live: LiveSession, clock: Clock, signals: Signals) -> None:
        from expotion_live.frames import Arriving
        from expotion_live.loop import music
        from expotion_live.session import Looking

        keeping, stop = Keeping(self._folder), threading.Event()

        def give(made: Made) -> None:
            message = to_bytes(made)
            keeping.sound(message[2 + 8 * len(made.frames_s) :])
            self._wire.say(message)

        sent = Sent(self._wire, keeping, live, clock)
        with Arriving(sent) as arriving, Looking(live, arriving.until(stop), signals.tell) as looking:
            for made in music(live, looking, clock, stop):
                give(made)
                self._obey(live, sent.words, made.at_s)
                self._tell(live, clock, arriving.left_out + sent.strange, keeping)
            rest = live.finish(sent.last_s + 1.0 / FPS if clock.done else None)
            if len(rest):
                give(clock.made(rest))
        keeping.close()
        self._asked["about"] = told(clock, arriving.left_out + sent.strange)
        write_json(self._folder / "asked.json", self._asked)
        self._wire.say({"event": "ended", "text": self._asked["about"], "note": keeping.stopped})

    def _say_note(self, text: str) -> None:
        self._wire.say({"event": "note", "text": text})

    def _say_ready(self, live: LiveSession, delay: Any, channels: int) -> None:
        self._wire.say(
            {
                "event": "ready",
                "rate_hz": live.sample_rate_hz,
                "channels": channels,
                "hop_s": live.hop_s,
                "player_s": delay.player_s,
                "slow": delay.work_s > 0.8 * live.hop_s,
                "late": list(live.late),
                "without_frames": list(live.without_frames),
                "unknown": unknown(live.unknown_words),
            }
        )

    def _obey(self, live: LiveSession, words: queue.Queue[dict[str, Any]], at_s: float) -> None:
        """What the page has said since."""
        while not words.empty():
            said = words.get()
            if "say" in said:
                strange = live.say(said["say"])
                self._asked["said"].append((round(at_s, 2), said["say"]))
                write_json(self._folder / "asked.json", self._asked)
                self._wire.say({"event": "said", "prompt": said["say"], "unknown": unknown(strange)})
            elif "strength" in said:
                live.set_strength(*said["strength"])

    def _tell(self, live: LiveSession, clock: Clock, left_out: int, keeping: Keeping) -> None:
        """How things stand, now and then."""
        now_s = time.monotonic()
        if now_s < self._told_s + EVERY_S:
            return
        self._told_s = now_s
        at_s = round(clock.done / clock.rate_hz, 2)
        self._wire.say({"event": "now", "at_s": at_s, "left_out": left_out, "seen": live.seen})
        if keeping.stopped != self._note:
            self._note = keeping.stopped
            self._say_note(self._note)


def told(clock: Clock, left_out: int) -> str:
    """How a session went; what was heard of it the page knows."""
    work = clock.busy_s / clock.busy_for_s if clock.busy_for_s else 0.0
    made = f"{clock.done / clock.rate_hz:.1f} s of music, {work:.2f} s of work for each second"
    return f"{made}; {left_out} frames left out" if left_out else made


def to_bytes(made: Made) -> bytes:
    """Music as it travels."""
    from expotion_live.sink import to_s16le

    times = made.frames_s
    return struct.pack(f">H{len(times)}d", len(times), *times) + to_s16le(made.samples)


def unknown(words: Any) -> str:
    """What is said of words that the text encoder does not know; '' where it knows all."""
    from expotion.features.material import unknown_text

    return unknown_text(words) if words else ""


def main() -> None:
    """Play one session."""
    wire = Wire.own()
    try:
        given = next(wire.heard())
        assert isinstance(given, dict)
        Player(wire, given).play()
    except ExpotionError as error:
        wire.say({"event": "wrong", "problems": [str(problem) for problem in error.problems]})
    except FAULTS as error:
        traceback.print_exc()
        wire.say({"event": "wrong", "problems": [in_short(error)]})
    sys.stderr.flush()
    os._exit(0)  # threads of libraries must not keep it


if __name__ == "__main__":
    main()
