"""Which instrument leads a piece: a linear classifier on mel levels, fitted on the band's own sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from codec_loss import mel_bank, spectra
from numpy.typing import NDArray

from expotion_conductor.band.instruments import INSTRUMENTS
from expotion_conductor.band.piece import make_piece
from expotion_conductor.band.render import render_piece

RATE_HZ = 32_000
PIECE_S = 6.0
PER_INSTRUMENT = 12
RIDGE = 30.0


def features(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean, spread and mean change of log levels in 80 mel bands, loudness taken off: float64 [240]."""
    magnitude = spectra(torch.from_numpy(sound)[None], 2048, torch.hann_window(2048))[0]
    levels = torch.log(magnitude @ mel_bank(RATE_HZ, 2048, 80) + 1e-4).numpy().astype(np.float64)
    loud = levels[levels.mean(1) > np.quantile(levels.mean(1), 0.2)]
    mean = loud.mean(0)
    return np.concatenate([mean - mean.mean(), loud.std(0), np.abs(np.diff(levels, axis=0)).mean(0)])


@dataclass(frozen=True)
class Timbres:
    """The classifier: standardised features times a matrix."""

    names: list[str]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def fitted(cls, first_seed: int, font: Path | None) -> Timbres:
        """By ridge regression on pieces that each pitched instrument leads."""
        names = list(INSTRUMENTS)
        rows, labels = _led_by_each(names, PER_INSTRUMENT, first_seed, font)
        centre, spread = rows.mean(0), rows.std(0) + 1e-6
        x = np.concatenate([(rows - centre) / spread, np.ones((len(rows), 1))], 1)
        wanted = np.eye(len(names))[labels]
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ wanted)
        return cls(names, centre, spread, weights)

    def hear(self, sound: NDArray[np.float32]) -> str:
        """The instrument that leads."""
        row = np.append((features(sound) - self.centre) / self.spread, 1.0)
        return self.names[int((row @ self.weights).argmax())]

    def held_out(self, first_seed: int, font: Path | None, per_instrument: int = 3) -> float:
        """Share of pieces of other seeds whose leading instrument is heard."""
        rows, labels = _led_by_each(self.names, per_instrument, first_seed, font)
        x = np.concatenate([(rows - self.centre) / self.spread, np.ones((len(rows), 1))], 1)
        return float(((x @ self.weights).argmax(1) == labels).mean())


def _led_by_each(
    names: list[str], n: int, first_seed: int, font: Path | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features [len(names) n, 240] of pieces, and which name leads each."""
    rows, labels = [], []
    for number, name in enumerate(names):
        for i in range(n):
            seed = first_seed + number * n + i
            piece = make_piece(seed, duration_s=PIECE_S, fixed={"lead": name})
            rows.append(features(render_piece(piece, font=font)))
            labels.append(number)
    return np.stack(rows), np.array(labels)
