"""Are the joins of a long piece heard? Onsets, loudness and beats at the joins against elsewhere.

    uv run python benchmarks/joins.py                      # four clips of 60 s of the conductor world, tiny model
    uv run python benchmarks/joins.py --clips 2 --seconds 40 --overlap 2.0
    uv run python benchmarks/joins.py --change-every 7.3   # at changes of the prompt

Windows of the trained length continue each other, so a join is where a new window begins to be heard. Within
0.25 s of each join the mean onset strength (mel flux), the largest step of the level between neighbouring 50
ms, and beat F1 (in 2 s around the join) are compared with as many places as possible away from joins. Last
line: JSON with `onset_ratio`, `level_step_ratio` (at joins / elsewhere, 1 is unheard), each with a bootstrap
interval over places, `beat_f1_at_joins`, `beat_f1_elsewhere`, `n_joins`, `peak_memory_growth_mib` (of the
longest clip over a clip of half its length), `notes`. With `--change-every 7.3` the prompt changes so often and the
places are those changes, inside windows and not at their joins.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
from typing import Any

import mir_eval
import numpy as np
from numpy.typing import NDArray

import expotion
from expotion.beats import track_beats
from expotion.music.windows import Windows
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import MOODS, make_plan

FIRST_SEED = 5_000_300
NEAR_S = 0.25
RATE_HZ = 50


def flux(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float64]:
    """Positive change of the log spectrum, summed over bins, 100 frames per second."""
    hop, size = sample_rate_hz // 100, 1024
    padded = np.pad(samples, size // 2)
    starts = np.arange(0, len(samples), hop)
    frames = padded[starts[:, None] + np.arange(size)[None, :]] * np.hanning(size)
    log = np.log1p(100 * np.abs(np.fft.rfft(frames, axis=1)))
    return np.concatenate([[0.0], np.maximum(np.diff(log, axis=0), 0).sum(axis=1)])


def level_steps(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float64]:
    """Absolute difference of the level in dB between neighbouring 50 ms, 20 per second."""
    size = sample_rate_hz // 20
    blocks = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    level_db = 10 * np.log10((blocks**2).mean(axis=1) + 1e-6)
    return np.abs(np.diff(level_db, prepend=level_db[:1]))


def around(values: NDArray[np.float64], rate_hz: float, at_s: float, reduce: str) -> float:
    """Mean or largest value within `NEAR_S` of a time."""
    low, high = int((at_s - NEAR_S) * rate_hz), int((at_s + NEAR_S) * rate_hz) + 1
    return float(getattr(values[max(low, 0) : high], reduce)())


def ratio(joins: list[float], others: list[float], rng: np.random.Generator) -> list[float]:
    """Mean at joins over mean elsewhere, with a bootstrap 95% interval."""
    a, b = np.array(joins), np.array(others)
    draws = [rng.choice(a, len(a)).mean() / rng.choice(b, len(b)).mean() for _ in range(2000)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return [round(float(x), 3) for x in (a.mean() / b.mean(), low, high)]


def f1_within(found_s: NDArray[np.float64], true_s: NDArray[np.float64], spans: list[tuple[float, float]]) -> float:
    """Beat F1 (70 ms) over the beats inside some spans."""

    def inside(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        keep = [any(low <= t < high for low, high in spans) for t in times_s]
        return times_s[np.array(keep, dtype=bool)]

    return float(mir_eval.beat.f_measure(inside(true_s), inside(found_s)))


def main() -> None:
    """Compose, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--change-every", type=float, default=None, help="seconds; look at changes of the prompt")
    parser.add_argument("--overlap", type=float, default=None, help="seconds of a window that continue the last")
    asked = parser.parse_args()
    composer = expotion.load("pixels")
    rng = np.random.default_rng(0)
    onset: tuple[list[float], list[float]] = ([], [])
    step: tuple[list[float], list[float]] = ([], [])
    f1: tuple[list[float], list[float]] = ([], [])
    composer.compose(ConductorClip(make_plan(FIRST_SEED - 1, asked.seconds / 2)), overlap_s=asked.overlap)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(FIRST_SEED, FIRST_SEED + asked.clips):
        clip = ConductorClip(make_plan(seed, asked.seconds))
        later: list[dict[str, Any]] = []
        if asked.change_every is not None:
            times_s = np.arange(asked.change_every, asked.seconds - 1.0, asked.change_every)
            moods = (f"{mood} music" for mood in itertools.cycle(MOODS))
            later = [{"at_s": float(at_s), "prompt": prompt} for at_s, prompt in zip(times_s, moods, strict=False)]
        music = composer.compose(clip, prompt=clip.caption, prompt_at=later, seed=seed, overlap_s=asked.overlap)
        windows = Windows(music.notes["window_frames"], music.notes["overlap_frames"]).cover(music.codes.shape[-1])
        joins = [(window.start + window.n_prompt) / RATE_HZ for window in windows[1:]]
        joins = [each["at_s"] for each in later] or joins
        others = [t for t in np.arange(1.0, asked.seconds - 1.0, 0.5) if min(abs(t - j) for j in joins) > 1.0]
        strength, steps = (
            flux(music.samples, music.sample_rate_hz),
            level_steps(music.samples, music.sample_rate_hz),
        )
        for places, into in ((joins, 0), (others, 1)):
            onset[into].extend(around(strength, 100, t, "mean") for t in places)
            step[into].extend(around(steps, 20, t, "max") for t in places)
        beats_s = np.asarray(track_beats(music.samples, music.sample_rate_hz).beats_s)
        near = [(t - 1.0, t + 1.0) for t in joins]
        far = [(a + 1.0, b - 1.0) for a, b in zip([0.0, *joins], [*joins, asked.seconds], strict=True)]
        for spans, into in ((near, 0), (far, 1)):
            f1[into].append(f1_within(beats_s, clip.truth.beats_s, spans))
        print(f"clip {seed}: F1 near joins {f1[0][-1]:.2f}, elsewhere {f1[1][-1]:.2f}", file=sys.stderr, flush=True)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "onset_ratio": ratio(*onset, rng),
                "level_step_ratio": ratio(*step, rng),
                "beat_f1_at_joins": round(float(np.mean(f1[0])), 3),
                "beat_f1_elsewhere": round(float(np.mean(f1[1])), 3),
                "n_joins": len(onset[0]),
                "peak_memory_growth_mib": round((after - before) / 1024, 1),
                "notes": [],
            }
        )
    )


if __name__ == "__main__":
    main()
