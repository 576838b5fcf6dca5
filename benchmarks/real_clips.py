"""`expotion generate` on files of any kind: does it work, is the length right, what memory, how do joins sound.

    uv run python benchmarks/real_clips.py talking_head.mp4 tennis.mp4 long.mp4 --adaptor runs/face_motion --seeds 3

Each clip is made by the command itself in a process of its own, once per seed. Joins are where one window continues
another: the largest step of the level between neighbouring 50 ms within 0.25 s of a join, and the largest third
difference of the samples within 20 ms (a click), each over the same at other places. Last line: JSON with `clips`
(length, length of the music, loudness, peak, clipped and undefined samples, peak memory, seconds) and `joins`
(ratios with their 95 % bootstrap intervals, or null where no clip is longer than a window).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from expotion.music.windows import Windows

MEASURES = ("level_step", "click")


def make(clip: Path, seed: int, adaptor: Path | None, folder: Path) -> tuple[dict[str, Any], Path]:
    """Run the command; returns what is known of it, and the sound file."""
    command = [sys.executable, "-c", "from expotion.cli.main import main; main()", "generate", str(clip)]
    command += ["--seed", str(seed), "--format", "wav", "--out", str(folder / f"{clip.stem}_{seed}.wav")]
    command += ["--adaptor", str(adaptor)] if adaptor is not None else []
    started = time.monotonic()
    said = folder / "said.txt"
    with said.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    lines = said.read_text().splitlines()
    assert process.returncode == 0, lines
    sound = folder / f"{clip.stem}_{seed}.wav"
    samples, rate_hz = soundfile.read(sound)
    made = json.loads(sound.with_suffix(".json").read_text())["made"]
    facts = {
        "clip": clip.name,
        "seed": seed,
        "clip_s": round(made["duration_s"], 3),
        "music_s": round(len(samples) / rate_hz, 3),
        "loudness_lufs": made["loudness_lufs"],
        "peak": round(float(np.abs(samples).max()), 3),
        "clipped": int((np.abs(samples) >= 0.999).sum()),
        "undefined": int((~np.isfinite(samples)).sum()),
        "peak_memory_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
        "seconds": round(time.monotonic() - started, 1),
        "warnings": [line for line in lines if line.startswith("warning")],
    }
    return facts, sound


def at_joins(sound: Path, rng: np.random.Generator) -> dict[str, tuple[list[float], list[float]]]:
    """Both measures at joins and at other places of one file."""
    samples, rate_hz = soundfile.read(sound)
    made = json.loads(sound.with_suffix(".json").read_text())["made"]
    windows = Windows(made["window_frames"], made["overlap_frames"]).cover(round(made["duration_s"] * 50))
    joins = [(window.start + window.n_prompt) / 50 for window in windows[1:]]
    block = rate_hz // 20
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    steps = np.abs(np.diff(20 * np.log10(np.sqrt((blocks**2).mean(axis=1)) + 1e-5)))
    bends = np.abs(np.diff(samples, 3))

    def largest(values: NDArray[np.float64], per_s: float, time_s: float, reach_s: float) -> float:
        first = max(0, int((time_s - reach_s) * per_s))
        return float(values[first : int((time_s + reach_s) * per_s)].max())

    others = [t for t in rng.uniform(1.0, made["duration_s"] - 1.0, 4000)] if joins else []
    others = [t for t in others if min(abs(t - join) for join in joins) > 0.6]
    return {
        "level_step": tuple([largest(steps, 20.0, t, 0.25) for t in each] for each in (joins, others)),
        "click": tuple([largest(bends, rate_hz, t, 0.02) for t in each] for each in (joins, others)),
    }  # type: ignore[return-value]


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--adaptor", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    rng, rows = np.random.default_rng(0), []
    here: dict[str, list[float]] = {name: [] for name in MEASURES}
    elsewhere: dict[str, list[float]] = {name: [] for name in MEASURES}
    with tempfile.TemporaryDirectory() as folder:
        for clip in asked.clips:
            for seed in range(asked.seeds):
                facts, sound = make(clip, seed, asked.adaptor, Path(folder))
                rows.append(facts)
                print(facts, flush=True)
                for name, (joins, others) in at_joins(sound, rng).items():
                    here[name] += joins
                    elsewhere[name] += others
    found: dict[str, Any] = {"n": len(here["click"])}
    for name in MEASURES:
        if here[name]:
            near, far = np.array(here[name]), float(np.mean(elsewhere[name]))
            drawn = [rng.choice(near, len(near)).mean() / far for _ in range(5000)]
            ends = np.percentile(drawn, [2.5, 97.5])
            found[f"{name}_ratio"] = [round(float(value), 2) for value in (near.mean() / far, *ends)]
    print(json.dumps({"clips": rows, "joins": found if here["click"] else None}))


if __name__ == "__main__":
    main()
