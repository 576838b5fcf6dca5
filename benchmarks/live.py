"""Live music from a clip of the conductor world played in real time: does it keep up, and how late is the music?

    uv run python benchmarks/live.py                # 30 s, tiny model, the shipped adaptor's pixel encoders

Frames come when their time has come on the wall clock, and are looked at in a thread of their own, as in `expotion
live`. Last line: JSON with `latency_s` (mean and largest wall time from a moment to the sample that belongs to it
being ready), `real_time_factor` (time to make a hop / its length), `dropouts` (as `expotion live` counts them),
`beat_f1`, `notes`.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import expotion
from expotion.contracts import Scored
from expotion.evaluate.beat_metrics import BEAT_F1
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan
from expotion_live.loop import Clock, Delay, music
from expotion_live.session import LiveSession, Looking


def main() -> None:
    """Play, make music, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--hop", type=float, default=0.08)
    parser.add_argument("--window", type=float, default=10.0)
    asked = parser.parse_args()
    clip = ConductorClip(make_plan(5_000_500, asked.seconds))
    times_s = clip.video.frame_times_s
    frames = clip.video.frames_at(times_s)
    composer = expotion.load("pixels")
    LiveSession(composer, hop_s=asked.hop, window_s=asked.window).rehearse((360, 360), 25.0)  # compiles
    look_s, work_s = LiveSession(composer, hop_s=asked.hop, window_s=asked.window).rehearse((360, 360), 25.0)
    session = LiveSession(composer, prompt=clip.caption, hop_s=asked.hop, window_s=asked.window)
    delay = Delay(session.hop_s, look_s, work_s, session.behind_s)
    clock = Clock(session.sample_rate_hz, time.monotonic(), delay.player_s)

    def paced() -> Iterator[tuple[NDArray[np.uint8], float]]:
        for frame, time_s in zip(frames, times_s.tolist(), strict=True):
            time.sleep(max(0.0, clock.started_s + time_s - time.monotonic()))
            yield frame, time_s

    with Looking(session, paced()) as looking:
        samples = [made.samples for made in music(session, looking, clock, threading.Event())]
    pieces = np.concatenate([*samples, session.finish()])
    score = BEAT_F1.build()(Scored(pieces, session.sample_rate_hz, clip))
    print(
        json.dumps(
            {
                "latency_s": {
                    "mean": round(float(np.mean(clock.latencies_s)), 3),
                    "largest": round(max(clock.latencies_s), 3),
                },
                "real_time_factor": round(clock.busy_s / clock.busy_for_s, 3),
                "dropouts": len(clock.late_s),
                "beat_f1": None if score.value is None else round(score.value, 3),
                "notes": [
                    f"hop {asked.hop:g} s, window {asked.window:g} s; a player {delay.player_s:.2f} s behind"
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
