"""How often the captioner that listens is right about instrument and mood, on pieces that it was not fitted on.

    uv run python benchmarks/listener.py

The last line is one JSON object: `instrument_fraction` and `mood_fraction` of `pieces` pieces of 10 s.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from expotion_conductor.listener import PIECE_S, Listener
from expotion_conductor.music import render_music
from expotion_conductor.plan import DEVELOPMENT_SEEDS, make_plan

FIRST_SEED = DEVELOPMENT_SEEDS + 1_000


def main() -> None:
    """Fit, listen, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=int, default=120)
    n_pieces = parser.parse_args().pieces
    listener = Listener()
    plans = [make_plan(FIRST_SEED + i, PIECE_S) for i in range(n_pieces)]
    heard = [listener.hear(np.asarray(render_music(plan))) for plan in plans]
    right = np.array([(timbre == p.timbre, mood == p.mood) for (timbre, mood), p in zip(heard, plans, strict=True)])
    instrument, mood = right.mean(axis=0).round(3).tolist()
    print(json.dumps({"instrument_fraction": instrument, "mood_fraction": mood, "pieces": n_pieces}))


if __name__ == "__main__":
    main()
