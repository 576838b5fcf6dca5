"""Does the music follow people? A measure without labels, on videos of people who move to music.

    uv run python benchmarks/people.py FOLDER [--adaptor A] [--systems DIR] [--takes 8] [--prompts CSV]

FOLDER holds videos; MediaPipe's models must be pulled (`expotion models pull mediapipe_person`). For every video
music is made `--takes` times with the same prompt and seeds for all, and once more by the text alone; `--prompts`
(a table with the columns clip and prompt) makes a second table with a prompt for each video. `--systems` holds
NAME/CLIP.* sounds that others made. What is scored is the decoder's own sound.

  alignment   of the beats (core's tracker, whatever EXPOTION_BEAT_TRACKER says) with movement events, sigma 50 ms
  level       correlation of the level with movement energy; density: that of the onset strength
  agreement   beat F1 (70 ms) between takes, of one video and of different ones

A gain is what a clip's own music scores on its own movement, minus the mean of what it scores on other people's
and other people's music on its own. person_1 and person_2, perhaps one person, are never paired. A clip beats time
where random orders of its intervals are more regular in fewer than 1 of 100 (`expotion_person_landmarks.events`);
alignment, tracker, agreement and tempo are means over those, `*_all` over all. Intervals are 95 %, percentile
bootstrap over clips and takes. Before that the measure tests itself: music on a clip's own beats, and on another's.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import mir_eval.beat
import numpy as np
from numpy.typing import NDArray

import expotion
from expotion.beats import FRAME_RATE_HZ, TRACKER, TRACKER_RATE_HZ, fit_tempo_bpm, follow, track_beats
from expotion.errors import ExpotionError
from expotion.video.audio import load_audio
from expotion.video.clip import FileClip
from expotion_person_landmarks.events import BEATS_P, Movement, alignment, chance_of_regularity
from expotion_person_landmarks.measure import correlation, density, energy_db, level_db, movement_of

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
APART = ({"person_1", "person_2"},)
PROMPT = "a happy piece played on piano"
"""Words that the tiny text encoder knows as well."""
N_DRAWN = 2000
Floats = NDArray[np.float64]
Measured = dict[str, float | None]


@dataclass(frozen=True)
class Person:
    """A clip's movement, and what the movement beats itself."""

    name: str
    path: Path
    duration_s: float
    moves: Movement
    chance: float
    tracked_s: Floats
    seen: str

    @property
    def beats(self) -> bool:
        """Whether the movement beats time."""
        return self.chance < BEATS_P


@dataclass(frozen=True)
class Take:
    """What is measured of one sound."""

    beats_s: Floats
    level: Floats
    density: Floats

    @staticmethod
    def of(samples: NDArray[np.float32]) -> Take:
        """Of a mono sound float32 [n] at 32 kHz."""
        beats_s = track_beats(samples, TRACKER_RATE_HZ).beats_s
        return Take(beats_s, level_db(samples, TRACKER_RATE_HZ), density(samples))


def look(path: Path) -> Person:
    """The movement of the person in a video."""
    clip = FileClip(path)
    moves = movement_of(clip)
    known = np.flatnonzero(moves.known)
    tracked = np.zeros(0)
    if len(known):
        tracked = follow(moves.braking[known[0] : known[-1] + 1]).beats_s + known[0] / FRAME_RATE_HZ
    seen = f"shoulders known in {100 * moves.known.mean():.0f} % of the time, {len(moves.events_s)} events"
    return Person(path.stem, path, clip.duration_s, moves, chance_of_regularity(moves), tracked, seen)


def others(people: Sequence[Person], one: Person) -> list[int]:
    """Numbers of the clips that show other people."""
    return [
        k for k, p in enumerate(people) if p is not one and not any({p.name, one.name} <= pair for pair in APART)
    ]


def align(person: Person, take: Take) -> float | None:
    """Alignment of a take's beats with a person's events."""
    return alignment(person.moves.events_s, take.beats_s)


def levels(person: Person, take: Take) -> float | None:
    """Correlation of a take's level with a person's movement energy."""
    return correlation(energy_db(person.moves), take.level)


def densities(person: Person, take: Take) -> float | None:
    """Correlation of a take's density with a person's movement energy."""
    return correlation(energy_db(person.moves), take.density)


def gains(
    people: Sequence[Person], takes: Sequence[Sequence[Take]], score: Callable[[Person, Take], float | None]
) -> Floats:
    """Own score minus that of others [clips, takes]; NaN where it is not defined. `takes` are by clip and seed."""
    n_takes = min(len(row) for row in takes)
    table = np.full((len(people), len(people), n_takes), np.nan)  # [movement, music, take]
    for i, person in enumerate(people):
        for j, row in enumerate(takes):
            for s in range(n_takes):
                value = score(person, row[s])
                table[i, j, s] = np.nan if value is None else value
    out = np.full((len(people), n_takes), np.nan)
    for i, person in enumerate(people):
        if foreign := others(people, person):
            chance = np.concatenate([table[i, foreign], table[foreign, i]])
            out[i] = table[i, i] - _mean(chance, axis=0)
    return out


def _mean(values: Floats, axis: int | None = None) -> Any:
    """The mean of what is no NaN; NaN of nothing."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(known.sum(axis=axis) > 0, total / np.maximum(known.sum(axis=axis), 1), np.nan)


def interval(values: Floats) -> tuple[float | None, float | None]:
    """95 % interval of the mean of values [clips, takes], clips drawn and takes within each."""
    values = values[np.isfinite(values).any(axis=1)]
    if not len(values):
        return None, None
    rng = np.random.default_rng(0)
    n, k = values.shape
    clips = rng.integers(n, size=(N_DRAWN, n))
    drawn = rng.integers(k, size=(N_DRAWN, n, k))
    means = _mean(_mean(values[clips[..., None], drawn], axis=2), axis=1)
    low, high = np.nanpercentile(means, [2.5, 97.5])
    return round(float(low), 3), round(float(high), 3)


def agreement(people: Sequence[Person], takes: Sequence[Sequence[Take]]) -> tuple[Floats, Floats]:
    """By clip: beat F1 between its takes less that to other people's; share of its pairs within 4 % in tempo."""

    def f1(a: Take, b: Take) -> float:
        return float(mir_eval.beat.f_measure(a.beats_s, b.beats_s, 0.07))

    gain, tempo = np.full(len(people), np.nan), np.full(len(people), np.nan)
    for i, person in enumerate(people):
        pairs = list(combinations(takes[i], 2))
        foreign = [
            f1(takes[i][a], takes[j][b])
            for j in others(people, person)
            for a, b in combinations(range(len(takes[i])), 2)
        ]
        if pairs and foreign:
            gain[i] = np.mean([f1(a, b) for a, b in pairs]) - np.mean(foreign)
        tempi = [[fit_tempo_bpm(take.beats_s) for take in pair] for pair in pairs]
        if pairs:
            tempo[i] = np.mean([bool(a and b and abs(a - b) <= 0.04 * b) for a, b in tempi])
    return gain, tempo


def measured(people: Sequence[Person], takes: Sequence[Sequence[Take]]) -> dict[str, Any]:
    """Every number of one source of sounds, printed by clip."""
    beating = np.array([person.beats for person in people])
    aligned, level, dense = (gains(people, takes, score) for score in (align, levels, densities))
    agreed, tempo = agreement(people, takes)
    for i, person in enumerate(people):
        low, high = interval(aligned[i : i + 1])
        print(
            f"  {person.name:14} {'beats' if person.beats else '     '} alignment {_mean(aligned[i]):+.3f} "
            f"[{low}, {high}] level {_mean(level[i]):+.3f} density {_mean(dense[i]):+.3f} "
            f"agreement {agreed[i]:+.3f} tempo {tempo[i]:.2f}",
            flush=True,
        )

    def told(values: Floats) -> float | None:
        value = float(_mean(values))
        return round(value, 3) if np.isfinite(value) else None

    return {
        "alignment_gain": told(aligned[beating]),
        "alignment_gain_ci_low": interval(aligned[beating])[0],
        "alignment_gain_all": told(aligned),
        "alignment_gain_all_ci": interval(aligned),
        "take_agreement_gain": told(agreed[beating]),
        "take_agreement_gain_all": told(agreed),
        "tempo_agreement": told(tempo[beating]),
        "tempo_agreement_all": told(tempo),
        "level_gain": told(level),
        "level_gain_ci_low": interval(level)[0],
        "density_gain": told(dense),
    }


def self_test(people: Sequence[Person]) -> list[str]:
    """Music of the conductor world on each clip's own events, and on another's: what is wrong with the measure.

    The first must score more than 0.5, the second gain within 0.1 of 0 over all.
    """
    from expotion_conductor.music import render_music  # noqa: PLC0415
    from expotion_conductor.plan import DEVELOPMENT_SEEDS, GRID_S, make_plan  # noqa: PLC0415

    def played(beats_s: Floats, duration_s: float, seed: int) -> Take:
        plan = make_plan(DEVELOPMENT_SEEDS + 900 + seed, duration_s)
        beats_s = np.round(beats_s / GRID_S) * GRID_S
        tempo_bpm = 60.0 / float(np.median(np.diff(beats_s)))
        bar = np.arange(len(beats_s), dtype=np.int64) % plan.beats_per_bar
        even = np.full_like(plan.intensity, 0.7)
        return Take.of(
            render_music(replace(plan, beats_s=beats_s, beat_in_bar=bar, tempo_bpm=tempo_bpm, intensity=even))
        )

    usable = [person for person in people if len(person.moves.events_s) > 3]
    if len(usable) < 2:
        return ["the self-test needs two people who move"]
    sounds = [played(person.moves.events_s, person.duration_s, 0) for person in usable]
    own = [align(person, sound) or 0.0 for person, sound in zip(usable, sounds, strict=True)]
    foreign = []
    for k, person in enumerate(usable):
        group = [usable[j] for j in others(usable, person)]
        if len(group) > 1:  # music on the events of one of the others, against the rest of them
            scores = [align(p, played(group[k % len(group)].moves.events_s, person.duration_s, 0)) or 0.0
                      for p in (person, *(q for q in group if q is not group[k % len(group)]))]  # fmt: skip
            foreign.append(scores[0] - float(np.mean(scores[1:])))
    told = ", ".join(f"{person.name} {value:.2f}" for person, value in zip(usable, own, strict=True))
    print(f"self-test: music on a clip's own events scores {told}; on another's gains {np.mean(foreign):+.2f}")
    wrong = [
        f"self-test: music on {person.name}'s own events scores {value:.2f}, not above 0.5"
        for person, value in zip(usable, own, strict=True)
        if value <= 0.5
    ]
    if not abs(float(np.mean(foreign))) <= 0.1:
        wrong.append(f"self-test: music on another's events gains {np.mean(foreign):.2f}, not within 0.1 of 0")
    return wrong


def made(
    composer: Any, people: Sequence[Person], n_takes: int, prompts: Mapping[str, str], *, with_video: bool
) -> list[list[Take]]:
    """Takes [clips][seeds] of the adaptor's music, or of the text's alone."""
    rows: list[list[Take]] = []
    for person in people:
        row = []
        for seed in range(n_takes):
            steered = {} if with_video else {"strength": {c.name: 0.0 for c in composer.recipe.conditions}}
            prompt = prompts.get(person.name, PROMPT)
            music = composer.compose(str(person.path), prompt=prompt, seed=seed, **steered)
            row.append(Take.of(resampled(music.samples, music.sample_rate_hz)))
        rows.append(row)
        print(f"  made: {person.name}", file=sys.stderr, flush=True)
    return rows


def resampled(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """A sound at 32 kHz."""
    from scipy.signal import resample_poly  # noqa: PLC0415

    if rate_hz == TRACKER_RATE_HZ:
        return samples
    return np.asarray(resample_poly(samples, TRACKER_RATE_HZ, rate_hz), dtype=np.float32)


def systems(folder: Path, people: Sequence[Person]) -> dict[str, list[list[Take]]]:
    """Sounds that other systems made, one take for each clip; systems that lack a clip are left out."""
    found = {}
    for system in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [next(iter(sorted(system.glob(f"{person.name}.*"))), None) for person in people]
        sounds = [None if file is None else load_audio(file, TRACKER_RATE_HZ) for file in files]
        if all(sound is not None for sound in sounds):
            found[system.name] = [[Take.of(sound)] for sound in sounds if sound is not None]
    return found


def main() -> None:
    """Look, test the measure, make music, score it, tell."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--adaptor", default="pixels", help="a run folder or adaptor, or one that ships")
    parser.add_argument("--systems", type=Path, default=None, help="folders of sounds that others made")
    parser.add_argument("--takes", type=int, default=8)
    parser.add_argument("--prompts", type=Path, default=None, help="a second table: a CSV with clip and prompt")
    asked = parser.parse_args()
    os.environ["EXPOTION_BEAT_TRACKER"] = "core"
    for path in filter(None, (asked.folder, asked.systems)):
        if not path.is_dir():
            print(f"{path}: a folder, got nothing there", file=sys.stderr)
            raise SystemExit(2)
    paths = sorted(path for path in asked.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(paths) < 2:
        print(f"{asked.folder}: at least two videos of people, got {len(paths)}", file=sys.stderr)
        raise SystemExit(2)
    print(f"beats tracked by {TRACKER}")
    try:
        people = [look(path) for path in paths]
    except ExpotionError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    for person in people:
        answer = "yes" if person.beats else "no"
        print(f"{person.name:14} {person.seen}; beats time: {answer} (p = {person.chance:.3f})")
    notes = self_test(people)
    beating = np.array([person.beats for person in people])
    own = gains(people, [[Take(p.tracked_s, np.zeros(0), np.zeros(0))] for p in people], align)
    for person, value in zip(people, own[:, 0], strict=True):
        print(f"  {person.name:14} the tracker's own beats, no music: {value:+.3f}")
    tables: dict[str, dict[str, Any]] = {}
    for name, sounds in (systems(asked.systems, people) if asked.systems else {}).items():
        print(name)
        tables[name] = measured(people, sounds)
    composer = expotion.load(asked.adaptor)
    prompts: list[tuple[str, dict[str, str]]] = [("", {})]
    if asked.prompts is not None:
        with asked.prompts.open(encoding="utf-8", newline="") as file:
            prompts.append((", its own prompt", {row["clip"]: row["prompt"] for row in csv.DictReader(file)}))
    for suffix, by_clip in prompts:
        for name, with_video in (("adaptor", True), ("text only", False)):
            print(name + suffix)
            takes = made(composer, people, asked.takes, by_clip, with_video=with_video)
            tables[name + suffix] = measured(people, takes)
    rounded = {
        "tracker_gain": round(float(_mean(own[beating])), 3) if beating.any() else None,
        "tracker_gain_all": round(float(_mean(own)), 3),
    }
    print(
        json.dumps(
            tables["adaptor"]
            | rounded
            | {
                "text_only": tables["text only"],
                "tables": {name: table for name, table in tables.items() if name not in ("adaptor", "text only")},
                "tracker": TRACKER,
                "beating": [person.name for person in people if person.beats],
                "n_clips": len(people),
                "n_takes": asked.takes,
                "notes": notes,
            }
        )
    )


if __name__ == "__main__":
    main()
