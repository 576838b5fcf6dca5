"""Melody models: what they hear of a melody, and where it stands.

Chroma and text are rows in front of the music's steps, [chroma; text; music], with positions that count through
all of them and causal attention over all; there is no cross-attention. Rows of the adaptor's prefix belong to the
music's steps: row p to the step p of the music, however long text and chroma are.

A chroma row is one pitch class of twelve, the strongest: of the power spectrum of a Hann window of N samples, every
N / 4, bin f weighs in class c by how near its pitch is,

    w[c, f] = exp(-(2 (12 log2(f / C) - c mod 12) / b_f)^2 / 2) / |w[., f]| * exp(-((octave(f) - 5) / 2)^2 / 2)

with b_f the distance to the next bin in semitones, at least one, and distances taken around the circle of classes
(Ellis 2007, as librosa has it). A row's values are divided by their largest. A melody shorter than the model's rows
is repeated. No melody is silence, whose strongest class is the first; so it is in guidance's null branch, beside a
text of zeros: audiocraft's way (transformers has zeros there). audiocraft takes the chroma of separated stems
(without drums and bass); here it is that of the full mix.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expotion.errors import ExpotionError, Problem
from expotion.musicgen.geometry import Chroma, LMGeometry

CENTRE_OCTAVE, OCTAVE_WIDTH = 5.0, 2.0
A0_HZ = 440.0 / 16
LEAST = 1e-6


@functools.cache
def _filters(chroma: Chroma) -> Tensor:
    """Weights of the bins in the pitch classes, float32 [n, window / 2 + 1]; C is the first class."""
    n = chroma.width
    hz = np.arange(1, chroma.window) * chroma.sample_rate_hz / chroma.window
    pitch = n * np.log2(hz / A0_HZ)  # from the A below
    pitch = np.concatenate([[pitch[0] - 1.5 * n], pitch])  # a bin for 0 Hz, one and a half octaves lower
    width = np.concatenate([np.maximum(np.diff(pitch), 1.0), [1.0]])
    half = round(n / 2)
    apart = np.remainder(pitch[None] - np.arange(n)[:, None] + half + 10 * n, n) - half
    weights = np.exp(-0.5 * (2.0 * apart / width) ** 2)
    weights /= np.linalg.norm(weights, axis=0, keepdims=True)
    weights *= np.exp(-0.5 * ((pitch / n - CENTRE_OCTAVE) / OCTAVE_WIDTH) ** 2)
    weights = np.roll(weights, -3 * (n // 12), axis=0)
    return torch.from_numpy(weights[:, : 1 + chroma.window // 2].astype(np.float32))


def chroma_of(samples: NDArray[np.float32], chroma: Chroma) -> Tensor:
    """Chroma rows float32 [length, width] of a sound float32 [n] at the model's rate; ExpotionError for none."""
    wave = torch.as_tensor(samples, dtype=torch.float32)
    if wave.numel() == 0:
        raise ExpotionError(Problem("melody", "a sound", "no samples"))
    if (short := chroma.window - len(wave)) > 0:
        wave = nn.functional.pad(wave, (short // 2, short - short // 2))
    window = torch.hann_window(chroma.window)
    spectrum = torch.stft(wave, chroma.window, chroma.window // 4, window=window, return_complex=True)
    power = (spectrum / window.square().sum().sqrt()).abs().square()
    raw = _filters(chroma) @ power  # (n, frames)
    norm = raw / raw.abs().amax(dim=0).clamp_min(LEAST)
    rows = nn.functional.one_hot(norm.argmax(dim=0), chroma.width).float()
    return rows.repeat(-(-chroma.length // len(rows)), 1)[: chroma.length]


def in_front(geometry: LMGeometry, projection: nn.Linear, text: Tensor, melody: Tensor | None) -> Tensor:
    """What stands in front of the music: [B, length + L, d] of projected text [B, L, d].

    `melody` [B, length, width] holds chroma rows; None, and zeros for a clip, are silence.
    """
    assert geometry.chroma is not None
    length, width = geometry.chroma.length, geometry.chroma.width
    rows = torch.zeros(len(text), length, width, dtype=projection.weight.dtype, device=text.device)
    if melody is not None:
        rows.copy_(melody)
    silent = ~rows.ne(0).flatten(1).any(dim=1)
    rows[silent, :, 0] = 1.0
    return torch.cat([projection(rows).to(text.dtype), text], dim=1)


def null_front(geometry: LMGeometry, projection: nn.Linear, source: Tensor) -> Tensor:
    """The same for guidance's null branch: silence, and a text of zeros as long as that of `source`."""
    assert geometry.chroma is not None
    return in_front(geometry, projection, torch.zeros_like(source[:, geometry.chroma.length :]), None)
