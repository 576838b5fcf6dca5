"""Live music from a clip of the conductor world played in real time: does it keep up, and how late is the music?

    uv run python benchmarks/live.py                # 30 s, tiny model, the shipped adaptor's pixel encoders

Frames are pushed when their time has come on the wall clock. Last line: JSON with `latency_s` (mean and
largest wall time from a moment to the sample that belongs to it being ready), `real_time_factor` (time to
make a hop / its length), `dropouts` (hops that were ready later than a player that starts `latency` after the
first hop would need them), `notes`.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

import expotion
from expotion.contracts import Scored
from expotion.evaluate.beat_metrics import BEAT_F1
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan
from expotion_live.session import LiveSession


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
    session = LiveSession(composer, prompt=clip.caption, hop_s=asked.hop, window_s=asked.window)
    latencies, works, samples, ready_at = [], [], [], []
    started = time.monotonic()
    for frame, time_s in zip(frames, times_s, strict=True):
        time.sleep(max(0.0, time_s - (time.monotonic() - started)))
        before = session.made_s
        session.push_frames(frame[None], np.array([time_s]))
        made = session.read()
        if len(made):
            now_s = time.monotonic() - started
            first = sum(map(len, samples)) / session.sample_rate_hz
            latencies.append(now_s - first)  # the oldest sample of the chunk has waited longest
            ready_at.append((first, now_s))
        if session.made_s > before:
            works.append(session.work_s)
        samples.append(made)
    music = np.concatenate([*samples, session.finish()])
    lead_s = max(latencies[: max(3, len(latencies) // 5)])
    late = sum(now_s > first + lead_s + 0.05 for first, now_s in ready_at)
    score = BEAT_F1.build()(Scored(music, session.sample_rate_hz, clip))
    print(
        json.dumps(
            {
                "latency_s": {"mean": round(float(np.mean(latencies)), 3), "largest": round(max(latencies), 3)},
                "real_time_factor": round(float(np.mean(works)) / asked.hop, 3),
                "dropouts": late,
                "hops": len(works),
                "beat_f1": None if score.value is None else round(score.value, 3),
                "notes": [f"hop {asked.hop:g} s, window {asked.window:g} s; the player starts {lead_s:.2f} s late"],
            }
        )
    )


if __name__ == "__main__":
    main()
