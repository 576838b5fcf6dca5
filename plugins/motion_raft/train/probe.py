"""What a linear map reads from the encoder's own tracks, under several options: the second table of TRAINING.md.

    uv run python plugins/motion_raft/train/probe.py --clips 40

Clips of the conductor world that nothing was trained on; one half fits the probe, the other half is scored. Each
given JSON of options is one row of the table; without any, the rows of TRAINING.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from expotion_conductor.plan import DEVELOPMENT_SEEDS
from expotion_motion_raft.encoder import FlowEncoder
from expotion_motion_raft.options import DisOptions, RaftOptions

sys.path.insert(0, str(Path(__file__).parents[2] / "motion_synchformer" / "train"))

from beat_probe import Example, probe
from world_clips import DURATION_S, STYLES

FIRST_SEED = DEVELOPMENT_SEEDS + 1000
ROWS: tuple[dict[str, Any], ...] = ({"geometry": "tiny", "weights": "seeded"}, {"cnn": "seeded"}, {})


def main() -> None:
    """Extract, probe, print one line for each options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "options", nargs="*", type=json.loads, help="options as JSON, a row each; RAFT's name a geometry"
    )
    parser.add_argument("--clips", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = given.options or ROWS
    encoders = [FlowEncoder((RaftOptions if "geometry" in row else DisOptions)(**row)) for row in rows]
    examples: list[list[Example]] = [[] for _ in encoders]
    for seed in range(FIRST_SEED, FIRST_SEED + given.clips):
        clip = STYLES["conductor-1"](seed, DURATION_S)
        truth = clip.truth
        assert truth is not None and truth.tempo_bpm is not None
        for encoder, found in zip(encoders, examples, strict=True):
            track = encoder.extract(clip)
            found.append(
                Example(
                    track.values,
                    track.times_s,
                    truth.beats_s,
                    truth.tempo_bpm,
                    truth.intensity_times_s,
                    truth.intensity,
                )
            )
        clip.close()
    print("phase r | beat F1 | log tempo r | intensity r | intensity r within a clip")
    for options, found in zip(rows, examples, strict=True):
        half = len(found) // 2
        print(f"{json.dumps(options)}: {probe(found[:half], found[half:]).row()}", flush=True)


if __name__ == "__main__":
    main()
