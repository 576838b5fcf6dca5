"""Is an instrument that a negative prompt names heard less?

    uv run python benchmarks/negative.py --state STATE [--pieces 48] [--limit K]

Pieces of 10 s by a prompt that names no instrument, on development clips of the conductor world (the shipped
adaptor); each without a negative prompt and with each instrument of the world as one, from the same seed. The
world's listener says which instrument it hears. For each instrument: the share of pieces in which it is heard
without and with its name in the negative prompt, and over all instruments the ratio of both (`heard_ratio`, 95 %
interval by bootstrap over pieces). Half or less is what a negative prompt is for. `rows`: what it costs, in rows of
the batch.

STATE keeps a JSON for each piece: what is there is not made again; `--limit K` ends after K that were missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import expotion
from expotion.files import write_json
from expotion.music.composer import Composer
from expotion.music.guidance import plan
from expotion_conductor.clip import ConductorClip
from expotion_conductor.listener import Listener
from expotion_conductor.plan import DEVELOPMENT_SEEDS, MOODS, TIMBRES, make_plan

FIRST_SEED = DEVELOPMENT_SEEDS + 800


def heard(composer: Composer, listener: Listener, number: int) -> dict[str, str]:
    """The instrument that is heard in a piece, by the negative prompt ('' without one)."""
    clip = ConductorClip(make_plan(FIRST_SEED + number))
    prompt = f"{MOODS[number % len(MOODS)]} music"
    return {
        negative: listener.hear(
            composer.compose(clip, prompt=prompt, seed=number, negative=negative or None).samples
        )[0]
        for negative in ("", *TIMBRES)
    }


def ratio(pieces: list[dict[str, str]]) -> float:
    """How often an instrument is heard that is named, over how often it is without."""
    with_it = sum(piece[name] == name for piece in pieces for name in TIMBRES)
    without = sum(piece[""] == name for piece in pieces for name in TIMBRES)
    return with_it / max(1, without)


def main() -> None:
    """Make what is missing, then tell what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=Path, required=True, help="a folder of its own")
    parser.add_argument("--pieces", type=int, default=48)
    parser.add_argument("--limit", type=int, default=None, help="end after so many pieces that were missing")
    asked = parser.parse_args()
    asked.state.mkdir(parents=True, exist_ok=True)
    models: tuple[Composer, Listener] | None = None
    pieces: list[dict[str, str]] = []
    made = 0
    for number in range(asked.pieces):
        path = asked.state / f"piece_{number}.json"
        if not path.exists() and (asked.limit is None or made < asked.limit):
            models = models or (expotion.load("pixels"), Listener())
            write_json(path, heard(*models, number))
            made += 1
            print(f"piece {number}: done", file=sys.stderr, flush=True)
        if path.exists():
            pieces.append(json.loads(path.read_text(encoding="utf-8")))
    told: dict[str, Any] = {"pieces": len(pieces), "instruments": {}}
    for name in TIMBRES:
        without, with_it = (float(np.mean([piece[key] == name for piece in pieces])) for key in ("", name))
        told["instruments"][name] = {"without": round(without, 3), "with": round(with_it, 3)}
    rng = np.random.default_rng(0)
    draws = [ratio([pieces[i] for i in rng.integers(0, len(pieces), len(pieces))]) for _ in range(2000)]
    told["heard_ratio"] = [round(float(x), 3) for x in (ratio(pieces), *np.percentile(draws, [2.5, 97.5]))]
    controls, scales = ("face", "motion"), (3.0, 4.0)
    told["rows"] = [len(plan(controls, *scales, {}, negative=negative)) for negative in (False, True)]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
