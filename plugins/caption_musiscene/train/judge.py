"""Fit the judge of captions on the world's music: `uv run python plugins/caption_musiscene/train/judge.py`.

Ridge regression from how the bands are filled to mood and instruments, on pieces with the seeds of the encoders'
training; how often it is right, on others (development seeds), goes into the same file.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import resample_poly

from expotion_caption_musiscene.judge import WEIGHTS, Judge, heard, tempo_class
from expotion_conductor.music import render_music
from expotion_conductor.plan import DEVELOPMENT_SEEDS, ENCODER_SEEDS, MOODS, TIMBRES, Plan, make_plan

N_FITTED, N_TESTED, PIECE_S, RIDGE = 480, 240, 10.0, 50.0
LABELS = [("mood", mood) for mood in MOODS] + [("instrument", timbre) for timbre in TIMBRES]
KINDS = ("tempo", "mood", "instrument")


def sound_of(plan: Plan) -> np.ndarray:
    """The piece at 16 kHz."""
    return np.asarray(resample_poly(render_music(plan), 1, 2), dtype=np.float32)


def true_of(plan: Plan) -> set[tuple[str, str]]:
    """What its plan says of a piece."""
    return {("mood", plan.mood), ("instrument", plan.timbre), ("tempo", tempo_class(plan.tempo_bpm))}


def main() -> None:
    """Fit, measure, write."""
    plans = [make_plan(ENCODER_SEEDS + 10_000 + i, PIECE_S) for i in range(N_FITTED)]
    inputs = np.stack([heard(sound_of(plan)) for plan in plans])
    targets = np.array([[float(label in true_of(plan)) for label in LABELS] for plan in plans])
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    rows = np.concatenate([(inputs - mean) / scale, np.ones((len(inputs), 1))], axis=1)
    weights = np.linalg.solve(rows.T @ rows + RIDGE * np.eye(rows.shape[1]), rows.T @ targets)
    kept = {"mean": mean, "scale": scale, "weights": weights}
    kept = {name: array.astype(np.float32) for name, array in kept.items()}

    def write(right: list[float]) -> None:
        np.savez(WEIGHTS, **kept, labels=np.array(LABELS), kinds=np.array(KINDS), right=np.array(right))

    write([0.0] * len(KINDS))
    judge, right = Judge(), np.zeros((N_TESTED, len(KINDS)))
    for i in range(N_TESTED):
        plan = make_plan(DEVELOPMENT_SEEDS + 20_000 + i, PIECE_S)
        found = judge.truths(sound_of(plan))
        for column, kind in enumerate(KINDS):
            wanted = {claim for claim in true_of(plan) if claim[0] == kind}
            right[i, column] = wanted == {claim for claim in found if claim[0] == kind}
    write([round(float(share), 3) for share in right.mean(axis=0)])
    print(dict(zip(KINDS, right.mean(axis=0).round(3).tolist(), strict=True)), WEIGHTS.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
