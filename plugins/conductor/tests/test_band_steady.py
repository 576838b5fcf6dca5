"""The band's steady pieces: beats that stand out, so that they can be followed."""

from __future__ import annotations

import dataclasses

import numpy as np

from expotion_conductor.band.piece import make_piece
from expotion_conductor.band.score import DRUMS
from expotion_conductor.plan import DEVELOPMENT_SEEDS


def test_steady_music_marks_its_beats_more_than_their_halves() -> None:
    """Against the same beats played freely."""
    for seed in range(DEVELOPMENT_SEEDS + 700, DEVELOPMENT_SEEDS + 703):
        piece = make_piece(seed, 6.0, style="bossa nova", steady=True)
        piece = dataclasses.replace(piece, intensity=np.full_like(piece.intensity, 0.6))
        strengths = []
        for one in (piece, dataclasses.replace(piece, steady=False)):
            notes = one.performed
            drums = notes.voice == DRUMS
            phase = (notes.onset_s[drums] - piece.beats_s[0]) / piece.first_period_s
            half = np.abs(phase - np.floor(phase) - 0.5) < 0.2
            strengths.append((notes.velocity[drums][half].mean(), notes.velocity[drums][~half].mean()))
        (weak, strong), (weak_free, strong_free) = strengths
        assert weak < 0.85 * weak_free and strong > 0.95 * strong_free
