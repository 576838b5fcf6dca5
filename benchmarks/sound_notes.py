"""Notes read off sound by `basic-pitch`, and how they compare with notes that were played."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mir_eval.transcription import match_notes, precision_recall_f1_overlap
from numpy.typing import NDArray

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10, 11)
"""The natural minor scale and its leading tone."""


@dataclass(frozen=True)
class Played:
    """Notes: onsets and offsets in seconds and MIDI pitches, arrays [n]."""

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    pitch: NDArray[np.int64]

    @property
    def intervals(self) -> NDArray[np.float64]:
        """Onset and offset of each, at least a millisecond apart: [n, 2]."""
        return np.stack([self.onset_s, np.maximum(self.offset_s, self.onset_s + 1e-3)], 1)

    @property
    def pitches_hz(self) -> NDArray[np.float64]:
        """Frequencies [n]."""
        return np.asarray(440.0 * 2.0 ** ((self.pitch - 69) / 12.0))


def transcriber() -> Callable[[NDArray[np.float32], int], Played]:
    """Makes notes of mono samples [n] and their rate, with `basic-pitch`'s ONNX model and its own settings."""
    logging.getLogger().setLevel(logging.ERROR)
    try:
        from basic_pitch import FilenameSuffix, build_icassp_2022_model_path  # noqa: PLC0415
        from basic_pitch.inference import Model, predict  # noqa: PLC0415
    except ImportError as error:
        raise SystemExit(f"{error}: run this as `uv run --group sound python benchmarks/sound.py`") from error
    import soundfile  # noqa: PLC0415

    model = Model(build_icassp_2022_model_path(FilenameSuffix.onnx))

    def read(sound: NDArray[np.float32], rate_hz: int) -> Played:
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
            path = Path(folder) / "sound.wav"
            soundfile.write(path, sound, rate_hz, subtype="FLOAT")
            with contextlib.redirect_stdout(nowhere):
                _, _, events = predict(path, model)
        rows = np.array([event[:3] for event in events], np.float64).reshape(-1, 3)
        return Played(rows[:, 0], rows[:, 1], rows[:, 2].astype(np.int64))

    return read


def note_f1(truth: Played, found: Played) -> float:
    """F1 of notes with the same semitone whose onsets are within 50 ms; 0 where one side is empty."""
    if not len(truth.pitch) or not len(found.pitch):
        return 0.0
    _, _, f1, _ = precision_recall_f1_overlap(
        truth.intervals, truth.pitches_hz, found.intervals, found.pitches_hz, offset_ratio=None
    )
    return float(f1)


def recall(truth: Played, found: Played) -> float:
    """Share of the true notes that were found, by the same rule; nan where there are none."""
    if not len(truth.pitch):
        return float("nan")
    if not len(found.pitch):
        return 0.0
    matched = match_notes(truth.intervals, truth.pitches_hz, found.intervals, found.pitches_hz, offset_ratio=None)
    return len(matched) / len(truth.pitch)


def in_key(notes: Played) -> float:
    """Share of the notes in the major or minor key that fits best; nan where there are none."""
    if not len(notes.pitch):
        return float("nan")
    classes = np.bincount(notes.pitch % 12, minlength=12)
    fits = [classes[[(tonic + d) % 12 for d in scale]].sum() for tonic in range(12) for scale in (MAJOR, MINOR)]
    return float(max(fits) / classes.sum())


def random_notes(notes: Played) -> Played:
    """The same notes with pitches drawn evenly from their range."""
    if not len(notes.pitch):
        return notes
    rng = np.random.default_rng(0)
    drawn = rng.integers(notes.pitch.min(), notes.pitch.max() + 1, len(notes.pitch))
    return Played(notes.onset_s, notes.offset_s, drawn)
