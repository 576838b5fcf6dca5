"""A theme to start from: the last seconds of a file, as the first codes of a piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.errors import MediaError, Problem
from expotion.musicgen.codec import Codec
from expotion.timeline import n_samples, n_steps
from expotion.video.audio import load_audio
from expotion.video.scan import check, scan

LEAST_THEME_S = 0.1
SILENT = 10 ** (-60 / 20)
"""Below -60 dB of full scale nothing is heard to go on from."""
LOOKED_AT_HZ = 16_000


def theme_of(path: Path, length_s: float, sample_rate_hz: int) -> NDArray[np.float32]:
    """The last seconds of a theme's sound, float32 [n]; of a shorter file all of it.

    Raises MediaError for a file without sound, and where the theme, or a tenth of it at the end, is silent.
    """
    source, where = scan(path), f"theme {path}"
    check(source, "audio")
    start_s = max(0.0, source.duration_s - length_s)
    samples = load_audio(path, sample_rate_hz, start_s)
    if samples is None or len(samples) < LEAST_THEME_S * sample_rate_hz:
        wanted = f"at least {LEAST_THEME_S:g} s of sound"
        raise MediaError(Problem(where, wanted, f"{source.duration_s:.2f} s"))
    for samples_of, what in ((samples, "it"), (samples[-len(samples) // 10 :], "its end")):
        if float(np.abs(samples_of).max()) < SILENT:
            got, fix = f"silence in {what}", "cut the silence off, or take another --theme-s"
            raise MediaError(Problem(where, f"sound in its last {length_s:g} s, up to the end", got, fix))
    return samples


@torch.inference_mode()
def theme_codes(path: Path | None, length_s: float, codec: Codec) -> Tensor | None:
    """Codes int64 [K, P] of a theme's last seconds, P whole frames; None without one. Raises MediaError."""
    if path is None:
        return None
    samples = theme_of(path, length_s, codec.sample_rate_hz)
    n_frames = n_steps(min(length_s, len(samples) / codec.sample_rate_hz), codec.frame_rate_hz)
    return codec.encode(samples[-n_samples(n_frames / codec.frame_rate_hz, codec.sample_rate_hz) :])[:, :n_frames]
