"""Is the best of n takes better, by another measure than the one that chose it?

    uv run --with librosa python benchmarks/best_of.py --state STATE [--people FOLDER] [--clips 40] [--limit K]

A choice is judged by what it did not see. On the conductor world (development clips, the shipped adaptor): chosen
by `beat_alignment` (the picture's flow, core's tracker) or `likelihood`; judged by the F1 (70 ms) of the beats that
librosa hears with the true ones. On people's videos (`--people`; MediaPipe's models are needed): chosen by
`movement_alignment`, `movement_level` or `likelihood`; judged by the alignment of librosa's beats with the flow's
motion beats.

For each clip `--takes` are made once and everything is measured of them. For n = 1, 2, 4, .. they are split into
groups of n in the order of their seeds; a gain is the mean judgement of what was chosen in each group, less that of
all takes, which is what a random take is worth. Means over clips with 95 % intervals (BCa bootstrap over clips,
paired by clip). `taste` says what the likelihood goes with, within a clip over its takes: Pearson's r with level in
dB, onsets a second, and repetition (the share of stretches of ten codes of the first codebook that were there
before).

STATE keeps a JSON for each clip: what is there is not made again, and `--limit K` ends after K clips that were
missing, so it can run in parts. The last line is JSON over all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mir_eval.beat
import numpy as np
from numpy.typing import NDArray

import expotion
from expotion import plugins
from expotion.beats import onset_strength
from expotion.contracts import Clip
from expotion.evaluate.motion import alignment, motion_beats
from expotion.evaluate.statistics import mean_interval
from expotion.evaluate.trackers import VARIABLE, beats_of, measured_with
from expotion.files import write_json
from expotion.music.best import metric_score
from expotion.music.composer import Composer
from expotion.music.piece import Music
from expotion.video.clip import FileClip
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import DEVELOPMENT_SEEDS, make_plan

FIRST_SEED = DEVELOPMENT_SEEDS + 700
WORLD = ("beat_alignment", "likelihood")
PEOPLE = ("movement_alignment", "movement_level", "likelihood")
PROMPT = "a happy piece played on piano"
SIZES = (1, 2, 4, 8, 16)
OTHER = "librosa"
Floats = NDArray[np.float64]
Judge = Callable[[Music], float | None]


def other_beats(music: Music) -> Floats:
    """Beats in seconds by the tracker that no choice has used."""
    os.environ[VARIABLE] = OTHER
    try:
        return np.asarray(beats_of(music.samples, music.sample_rate_hz).beats_s)
    finally:
        os.environ[VARIABLE] = "core"


def taste(music: Music) -> dict[str, float]:
    """Level in dB, onsets a second, repetition of a take."""
    level_db = 10 * np.log10(float(np.mean(music.samples.astype(np.float64) ** 2)) + 1e-10)
    strength = onset_strength(music.samples)
    inner = strength[1:-1]
    peaks = (inner > strength[:-2]) & (inner >= strength[2:]) & (inner > strength.mean() + strength.std())
    codes = music.codes[0].tolist()
    stretches = [tuple(codes[i : i + 10]) for i in range(len(codes) - 9)]
    repeated = 1 - len(set(stretches)) / max(1, len(stretches))
    return {
        "level_db": level_db,
        "onsets_hz": float(peaks.sum() * music.sample_rate_hz / len(music.samples)),
        "repetition": repeated,
    }


def measured(
    composer: Composer, clip: Clip, prompt: str, metrics: Sequence[str], n: int, judge: Judge
) -> list[dict[str, float | None]]:
    """Every take's scores, judgement and taste, in the order of its seed."""
    scorers = {
        name: metric_score(plugins.discover().metric(name), clip, prompt, composer.backbone.sample_rate_hz)
        for name in metrics
        if name != "likelihood"
    }
    piece = composer._prepare(clip, composer.resolved(None, {"prompt": prompt}), None)
    likely = composer._likelihood(piece)
    rows: list[dict[str, float | None]] = []
    for music in composer._takes(piece, range(n)):
        row: dict[str, float | None] = {name: score(music).value for name, score in scorers.items()}
        rows.append({**row, "likelihood": likely(music).value, "judged": judge(music), **taste(music)})
    return rows


def world(n: int) -> Iterator[tuple[str, Callable[[], tuple[Clip, str, Judge]]]]:
    """The world's clips with their true beats."""

    def opened(seed: int) -> tuple[Clip, str, Judge]:
        clip = ConductorClip(make_plan(seed))
        true_s = np.asarray(clip.truth.beats_s)
        return clip, clip.caption, lambda music: float(mir_eval.beat.f_measure(true_s, other_beats(music)))

    for seed in range(FIRST_SEED, FIRST_SEED + n):
        yield f"world_{seed}", lambda seed=seed: opened(seed)


def people(folder: Path) -> Iterator[tuple[str, Callable[[], tuple[Clip, str, Judge]]]]:
    """Videos of people with the flow's motion beats."""

    def opened(path: Path) -> tuple[Clip, str, Judge]:
        clip = FileClip(path)
        moved_s = motion_beats(clip)

        def judge(music: Music) -> float | None:
            heard_s = other_beats(music)
            if moved_s is None or not len(moved_s):
                return None
            return alignment(moved_s, heard_s) if len(heard_s) else 0.0

        return clip, PROMPT, judge

    for path in sorted(folder.glob("*.mp4")):
        yield f"people_{path.stem}", lambda path=path: opened(path)


def interval(values: list[float]) -> dict[str, Any]:
    """Their mean with a 95 % interval, rounded; without one where all are equal."""
    if min(values) == max(values):  # a group of one gains nothing, whatever the clip
        return {"mean": round(values[0], 4), "ci_low": None, "ci_high": None, "n": len(values)}
    found = mean_interval(values).as_dict()
    return {key: None if value is None else round(value, 4) for key, value in found.items()}


def gains(clips: Sequence[list[dict[str, Any]]], metric: str) -> dict[str, Any]:
    """Mean gain over a random take by group size, with intervals over clips."""
    table: dict[str, Any] = {}
    for size in SIZES:
        found = []
        for rows in clips:
            known = [row for row in rows if row["judged"] is not None]
            groups = [known[i : i + size] for i in range(0, len(known) - size + 1, size)]
            if groups:
                chosen = [max(g, key=lambda row: -np.inf if row[metric] is None else row[metric]) for g in groups]
                average = np.mean([row["judged"] for row in known])
                found.append(float(np.mean([row["judged"] for row in chosen]) - average))
        if found:
            table[str(size)] = interval(found)
    return table


def tastes(clips: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
    """Pearson's r of the likelihood with each taste within a clip, mean over clips."""
    table = {}
    for name in ("level_db", "onsets_hz", "repetition"):
        found = []
        for rows in clips:
            a, b = (np.array([row[key] for row in rows], dtype=np.float64) for key in ("likelihood", name))
            if np.ptp(a) > 0 and np.ptp(b) > 0:
                found.append(float(np.corrcoef(a, b)[0, 1]))
        table[name] = interval(found)
    return table


def main() -> None:
    """Make what is missing, then tell what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="a folder of its own")
    parser.add_argument("--people", type=Path, default=None, help="a folder of videos")
    parser.add_argument("--clips", type=int, default=40, help="of the world")
    parser.add_argument("--takes", type=int, default=16)
    parser.add_argument("--limit", type=int, default=None, help="end after so many clips that were missing")
    asked = parser.parse_args()
    os.environ[VARIABLE] = "core"
    sources = {"world": (WORLD, world(asked.clips))}
    if asked.people is not None:
        sources["people"] = (PEOPLE, people(asked.people))
    composer: Composer | None = None
    found: dict[str, list[list[dict[str, Any]]]] = {}
    made = 0
    asked.state.mkdir(parents=True, exist_ok=True)
    for name, (metrics, clips) in sources.items():
        for clip_name, opened in clips:
            path = asked.state / f"{clip_name}_{asked.takes}.json"
            if not path.exists() and (asked.limit is None or made < asked.limit):
                composer = composer or expotion.load("pixels")
                clip, prompt, judge = opened()
                write_json(path, measured(composer, clip, prompt, metrics, asked.takes, judge))
                made += 1
                print(f"{clip_name}: done", file=sys.stderr, flush=True)
            if path.exists():
                found.setdefault(name, []).append(json.loads(path.read_text(encoding="utf-8")))
    os.environ[VARIABLE] = OTHER
    told: dict[str, Any] = {"judged_by": measured_with(), "takes": asked.takes}
    for name, clips_found in found.items():
        told[name] = {
            "clips": len(clips_found),
            "gain": {metric: gains(clips_found, metric) for metric in sources[name][0]},
            "taste": tastes(clips_found),
        }
        for metric, table in told[name]["gain"].items():
            for size, row in table.items():
                text = f"{name}: best of {size} by {metric}: {row['mean']} [{row['ci_low']}, {row['ci_high']}]"
                print(text, file=sys.stderr)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
