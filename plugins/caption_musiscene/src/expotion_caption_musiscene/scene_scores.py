"""Score scenes by the truth of their pieces: are they right, told apart from others, not always the same.

What a scene says is read by the fixed reader of `classes.py`; what is true is the clip's own truth. All are
made of one row for each sound: the numbers of the four true values, those of the four that are said (-1 for
none), and two numbers that stand for the words themselves.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Rows, Score, Scored
from expotion_caption_musiscene.classes import KINDS, Classes, read, true_of
from expotion_caption_musiscene.lexicon import VALUES

OUT_OF = 10
"""Pieces among which a scene's own has to be found."""
NONE = -1
N = len(KINDS)


def build_rows() -> Callable[[Scored], Rows | Score]:
    """A function from a captioned sound to its row float32 [1, 10]."""

    def rows(scored: Scored) -> Rows | Score:
        true = true_of(scored.clip.truth)
        if lacks := [kind for kind in KINDS if kind not in true]:
            return Score(None, f"the clip's truth does not tell {', '.join(lacks)}")
        return row_of(true, scored.prompt or "")

    return rows


def row_of(true: Classes, text: str) -> Rows:
    """The row of words about a piece of known truth."""
    digest = zlib.crc32(text.strip().encode())
    return np.array([[*numbers(true), *numbers(read(text)), digest >> 16, digest & 0xFFFF]], np.float32)


def numbers(classes: Classes) -> list[int]:
    """Numbers of the values of each kind, -1 for none."""
    return [VALUES[kind].index(classes[kind]) if kind in classes else NONE for kind in KINDS]


def _stacked(sounds: Sequence[Rows]) -> NDArray[np.int64]:
    return np.concatenate(list(sounds)).astype(np.int64) if len(sounds) else np.zeros((0, 2 * N + 2), np.int64)


def balanced(kind: str) -> Callable[[Sequence[Rows], Sequence[Rows]], Score]:
    """Balanced accuracy of a kind: the mean, over its true values, of the share that is said right."""
    column = KINDS.index(kind)

    def statistic(sounds: Sequence[Rows], reference: Sequence[Rows]) -> Score:
        del reference
        rows = _stacked(sounds)
        if not len(rows):
            return Score(None, "no scene whose piece has a truth")
        true, said = rows[:, column], rows[:, N + column]
        return Score(float(np.mean([(said[true == value] == value).mean() for value in np.unique(true)])))

    return statistic


def distinct(sounds: Sequence[Rows], reference: Sequence[Rows]) -> Score:
    """Different scenes for every hundred pieces."""
    del reference
    rows = _stacked(sounds)
    if not len(rows):
        return Score(None, "no scene")
    return Score(100.0 * len(np.unique(rows[:, 2 * N :], axis=0)) / len(rows))


def retrieval(sounds: Sequence[Rows], reference: Sequence[Rows]) -> Score:
    """Chance that a scene's piece is the one, of itself and nine others, of which most that it says is true.

    Exact over all choices of nine others; pieces of which as much is true share the chance.
    """
    del reference
    rows = _stacked(sounds)
    if len(rows) < OUT_OF:
        return Score(None, f"it needs at least {OUT_OF} pieces")
    fits = (rows[:, None, N : 2 * N] == rows[None, :, :N]).sum(axis=2)  # [scene, piece]
    own = np.diagonal(fits)
    better, level = (fits > own[:, None]).sum(axis=1), (fits == own[:, None]).sum(axis=1) - 1
    return Score(float(np.mean([chance(int(b), int(e), len(rows)) for b, e in zip(better, level, strict=True)])))


def chance(n_better: int, n_level: int, n: int) -> float:
    """Chance to be chosen among nine others of n - 1, where so many fit better and so many as well.

    = sum over k of P(none that is better, k that are level) / (k + 1), hypergeometric.
    """
    worse, drawn = n - 1 - n_better - n_level, OUT_OF - 1
    most = min(n_level, drawn)
    ways = sum(comb(n_level, k) * comb(worse, drawn - k) / (k + 1) for k in range(most + 1))
    return ways / comb(n - 1, drawn)
