"""A pool of rendered pieces on disk: made once, memory-mapped, cut into training crops.

A folder holds shards: `000000.npy`, int16 [pieces, samples] at 32 kHz, and beside it `000000.notes.npy`, float32
[notes, 5]: piece in the shard, onset and offset in seconds, MIDI pitch, and 1 for a drum, else 0.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RATE_HZ = 32_000
FRAME = 640
"""Samples to a frame of the codec: 50 frames a second."""
LOWEST, N_PITCHES = 24, 84
"""Pitches of the roll: C1 to B7."""
GAIN_DB = (-14.0, 5.0)
"""Crops are played softer or louder by up to this much, never so loud that they clip."""


@dataclass(frozen=True)
class Batch:
    """Crops [b, 1, samples] in -1..1 and which pitches sound in which frame, float32 [b, frames, pitches]."""

    sound: Tensor
    roll: Tensor


class Pool:
    """The first `n_pieces` of a folder of shards; all where it is None."""

    def __init__(self, folder: Path, n_pieces: int | None = None) -> None:
        paths = sorted(p for p in folder.glob("[0-9]*.npy") if not p.name.endswith(".notes.npy"))
        if not paths:
            raise SystemExit(f"{folder}: no shards of rendered pieces; make them with train/render_pool.py")
        self.pieces: list[NDArray[np.int16]] = []
        self.notes: list[NDArray[np.float32]] = []
        for path in paths:
            shard = np.load(path, mmap_mode="r")
            notes = np.load(path.with_suffix(".notes.npy"))
            for i, piece in enumerate(shard):
                self.pieces.append(piece)
                self.notes.append(notes[notes[:, 0] == i])
        if n_pieces is not None:
            if n_pieces > len(self.pieces):
                raise SystemExit(f"{folder}: holds {len(self.pieces)} pieces, {n_pieces} are wanted")
            del self.pieces[n_pieces:], self.notes[n_pieces:]

    def batch(self, size: int, frames: int, seed: tuple[int, ...]) -> Batch:
        """Random crops; the same for the same seed. Cuts lie anywhere, not on frames."""
        rng = np.random.default_rng(seed)
        length = frames * FRAME
        sound = np.empty((size, 1, length), np.float32)
        roll = np.zeros((size, frames, N_PITCHES), np.float32)
        for row in range(size):
            at = int(rng.integers(len(self.pieces)))
            piece = self.pieces[at]
            start = int(rng.integers(len(piece) - length + 1))
            cut = piece[start : start + length].astype(np.float32) / 32767.0
            gain = 10.0 ** (rng.uniform(*GAIN_DB) / 20.0) * (1.0 if rng.random() < 0.5 else -1.0)
            peak = float(np.abs(cut).max())
            sound[row, 0] = cut * (gain if abs(gain) * peak < 0.99 else np.sign(gain) * 0.99 / peak)
            roll[row] = sounding(self.notes[at], start / RATE_HZ, frames)
        return Batch(torch.from_numpy(sound), torch.from_numpy(roll))

    def excerpts(self, frames: int) -> Batch:
        """From the middle of every piece, as it is: what held-out measures are taken on."""
        length = frames * FRAME
        starts = [(len(piece) - length) // 2 for piece in self.pieces]
        sound = np.stack([piece[s : s + length] for piece, s in zip(self.pieces, starts, strict=True)])
        rolls = [sounding(n, s / RATE_HZ, frames) for n, s in zip(self.notes, starts, strict=True)]
        wave = torch.from_numpy(sound.astype(np.float32) / 32767.0)
        return Batch(wave[:, None], torch.from_numpy(np.stack(rolls)))


def sounding(notes: NDArray[np.float32], start_s: float, frames: int) -> NDArray[np.float32]:
    """Which pitches are held in which frame from `start_s` on, drums left out: float32 [frames, pitches]."""
    roll = np.zeros((frames, N_PITCHES), np.float32)
    rate = RATE_HZ / FRAME
    for _, onset_s, offset_s, pitch, drum in notes:
        first, last = round((onset_s - start_s) * rate), round((offset_s - start_s) * rate)
        row = int(pitch) - LOWEST
        if not drum and last > 0 and first < frames and 0 <= row < N_PITCHES:
            roll[max(0, first) : max(first + 1, last), row] = 1.0
    return roll


def write_shard(folder: Path, first: int, sound: NDArray[np.int16], notes: NDArray[np.float32]) -> None:
    """One shard, the notes first, each file moved to its place when whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{first:06d}.notes.npy", notes), (f"{first:06d}.npy", sound)):
        beside = folder / f".{name}.{os.getpid()}"
        with beside.open("wb") as file:
            np.save(file, array)
        os.replace(beside, folder / name)
