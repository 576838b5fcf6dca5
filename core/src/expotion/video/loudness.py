"""Loudness by ITU-R BS.1770-4, true peak, and bringing sound to a loudness under a ceiling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.video.audio import resample

DEFAULT_CEILING_DBTP = -1.0
"""True peak that normalised sound stays under (EBU R 128)."""

GATE_BLOCK_S = 0.4
MAX_LIMITING_DB = 6.0
"""Peaks are turned down by at most this much; sound that would need more stays quieter than asked."""

_LOOK_AHEAD_S = 0.005
_RELEASE_S = 0.08
_OVERSAMPLING = 4
_BLOCK = 1 << 20
_MARGIN = 256


@dataclass(frozen=True)
class Normalised:
    """Sound after normalisation; loudness in LUFS and true peak in dBTP are those of `samples`.

    `samples` float32 [n]; `gain_db` was applied to all of it; `limited_db` is the most that a peak was turned
    down; `note` says why the loudness was not reached, or is None. Silence has None for numbers.
    """

    samples: NDArray[np.float32]
    before_lufs: float | None
    loudness_lufs: float | None
    true_peak_dbtp: float | None
    gain_db: float
    limited_db: float
    note: str | None


def loudness_lufs(samples: NDArray[np.float32], sample_rate_hz: int) -> float | None:
    """Integrated loudness of samples float32 [n] or [n, 2] (BS.1770-4, gated), or None for silence.

    Sound shorter than one gating block of 0.4 s is measured as one block of its own length.
    """
    import pyloudnorm  # noqa: PLC0415

    if len(samples) == 0 or not samples.any():
        return None
    short = len(samples) <= GATE_BLOCK_S * sample_rate_hz
    block_s = (len(samples) - 0.5) / sample_rate_hz if short else GATE_BLOCK_S
    meter = pyloudnorm.Meter(sample_rate_hz, block_size=block_s)
    loudness = float(meter.integrated_loudness(samples.astype(np.float64)))
    return loudness if np.isfinite(loudness) else None


def true_peak_dbtp(samples: NDArray[np.float32], sample_rate_hz: int) -> float | None:
    """Highest level between and on the samples, by 4x oversampling (BS.1770-4 annex 2); None for silence."""
    peak = float(_peaks(samples, sample_rate_hz).max(initial=0.0))
    return 20.0 * float(np.log10(peak)) if peak > 0 else None


def normalise(
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    target_lufs: float,
    *,
    ceiling_dbtp: float = DEFAULT_CEILING_DBTP,
) -> Normalised:
    """Bring samples float32 [n] or [n, 2] to a loudness, with no true peak above the ceiling.

    One gain for all; peaks that pass the ceiling are turned down by a limiter that looks 5 ms ahead and recovers
    in 80 ms. Where that would take more than MAX_LIMITING_DB the gain is lowered instead, and `note` says so.
    """
    before = loudness_lufs(samples, sample_rate_hz)
    if before is None:
        return Normalised(samples, None, None, None, 0.0, 0.0, "silence has no loudness to change")
    peaks = _peaks(samples, sample_rate_hz)
    ceiling = 10.0 ** (ceiling_dbtp / 20.0)
    highest_db = 20.0 * float(np.log10(peaks.max()))
    most_db = ceiling_dbtp + MAX_LIMITING_DB - highest_db
    gain_db = min(target_lufs - before, most_db)
    made, loudness = samples, before
    for _ in range(6):  # limiting costs some loudness, which a little more gain gives back
        gain = 10.0 ** (gain_db / 20.0)
        made = (samples.T * gain * _limiter(peaks * gain, ceiling, sample_rate_hz)).T.astype(np.float32)
        loudness = loudness_lufs(made, sample_rate_hz) or before
        missing_db = target_lufs - loudness
        if abs(missing_db) < 0.02 or (missing_db > 0 and gain_db >= most_db):
            break
        gain_db = min(gain_db + missing_db, most_db)
    peak = true_peak_dbtp(made, sample_rate_hz)
    assert peak is not None
    if peak > ceiling_dbtp:  # what the limiter's own steps add between the samples
        made = (made * 10.0 ** ((ceiling_dbtp - peak) / 20.0)).astype(np.float32)
        loudness, peak = loudness + ceiling_dbtp - peak, ceiling_dbtp
    note = None
    if target_lufs - loudness > 0.1:
        note = (
            f"{loudness:.1f} LUFS instead of {target_lufs:g}: the peaks would pass {ceiling_dbtp:g} dBTP "
            f"by more than {MAX_LIMITING_DB:g} dB"
        )
    limited_db = max(0.0, gain_db + highest_db - ceiling_dbtp)
    return Normalised(made, before, loudness, peak, gain_db, limited_db, note)


def _peaks(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Highest absolute level of any channel from each sample to the next, float32 [n]. In blocks, for memory."""
    out = _loudest(samples).astype(np.float32)
    for begin in range(0, len(samples), _BLOCK):
        left = max(0, begin - _MARGIN)
        part = samples[left : begin + _BLOCK + _MARGIN]
        fine = _loudest(resample(part, sample_rate_hz, _OVERSAMPLING * sample_rate_hz))
        between = fine.reshape(-1, _OVERSAMPLING).max(axis=1)[begin - left :][:_BLOCK]
        out[begin : begin + _BLOCK] = np.maximum(out[begin : begin + _BLOCK], between)
    return out


def _loudest(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Absolute level of the louder channel, [n], of samples [n] or [n, 2]."""
    level: NDArray[np.float32] = np.abs(samples)
    return level if level.ndim == 1 else level.max(axis=1)


def _limiter(peaks: NDArray[np.float32], ceiling: float, sample_rate_hz: int) -> NDArray[np.float64]:
    """Gain float64 [n] in 0..1 that keeps peaks under the ceiling: smooth, and down before each peak comes."""
    gain = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-12)).astype(np.float64)
    if gain.min() >= 1.0:
        return gain
    from scipy.ndimage import minimum_filter1d, uniform_filter1d  # noqa: PLC0415
    from scipy.signal import lfilter  # noqa: PLC0415

    reach = max(1, round(_LOOK_AHEAD_S * sample_rate_hz))
    held = minimum_filter1d(gain, 2 * reach + 1, mode="nearest")
    # Recovery: reduction in dB decays; it may never be less than what is held at this moment.
    decay = float(np.exp(-1.0 / (_RELEASE_S * sample_rate_hz)))
    reduction = -np.log(held)
    spread = lfilter([1.0 - decay], [1.0, -decay], reduction)
    held = np.exp(-np.maximum(reduction, np.minimum(spread, reduction.max())))
    smooth: NDArray[np.float64] = uniform_filter1d(held, 2 * reach + 1, mode="nearest")
    return smooth
