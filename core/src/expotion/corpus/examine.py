"""One file looked at closely: does it decode, do picture and sound fit, how loud is it, where are its clips?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.corpus.fingerprint import RATE_HZ, Print, fingerprint
from expotion.corpus.sources import Item
from expotion.data.audio import load_audio, resample
from expotion.data.clip import file_sha256
from expotion.data.loudness import loudness_lufs
from expotion.data.probe import check, probe
from expotion.data.scan import scan
from expotion.data.video import FileVideo
from expotion.errors import ExpotionError

SOUND_HZ = 32_000
SILENCE = 10 ** (-60 / 20)
_BLOCK_S = 0.1


@dataclass(frozen=True)
class Settings:
    """How clips are cut and kept; seconds. Picture and sound may begin `max_offset_s` apart."""

    clip_s: float = 10.0
    hop_s: float = 10.0
    min_s: float = 3.0
    max_offset_s: float = 0.5
    max_silent: float = 0.9


@dataclass
class Examined:
    """What came of one item: clips as plain values, what was dropped and why, the fingerprint of the sound."""

    clips: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sha256: str = ""
    print: Print = field(default_factory=lambda: Print(np.zeros(0, np.int64), np.zeros(0, np.int32)))


def examine(settings: Settings, item: Item) -> Examined:
    """Probe, decode three frames and the sound, cut by time. An unusable file is dropped with its reason."""
    out = Examined()
    try:
        _examine(settings, item, out)
    except ExpotionError as error:
        out.clips = []
        out.dropped.append({"where": item.where, "reason": str(error)})
    return out


def _drop(out: Examined, item: Item, reason: str, start_s: float | None = None) -> None:
    out.dropped.append(
        {"where": item.where, "reason": reason} | ({} if start_s is None else {"start_s": start_s})
    )


def _examine(settings: Settings, item: Item, out: Examined) -> None:
    info = probe(item.path, require="video")
    source = scan(item.path)
    check(source, "audio")
    picture, sound = source.picture, source.sound
    assert info.video is not None and picture is not None and sound is not None
    out.sha256 = file_sha256(item.path)
    first_s = float(picture.times_s[0])
    late_s, short_s = sound.start_s - first_s, sound.end_s - picture.end_s
    if abs(late_s) > settings.max_offset_s:
        return _drop(out, item, f"sound begins {late_s:+.2f} s after the picture")
    if abs(short_s) > settings.max_offset_s:
        out.warnings.append(f"{item.where}: sound ends {short_s:+.2f} s after the picture; cut to both")
    begin_s = max(item.start_s, first_s, sound.start_s)
    if item.start_s <= max(first_s, sound.start_s) <= item.start_s + 0.1:
        begin_s = item.start_s  # an encoder's delay is no gap
    end_s = min(source.duration_s, picture.end_s, sound.end_s)
    if item.duration_s is not None:
        if item.start_s + item.duration_s > source.duration_s + 0.1:
            wanted_s = item.start_s + item.duration_s
            out.warnings.append(f"{item.where}: asks for {wanted_s:.2f} s of {source.duration_s:.2f} s")
        end_s = min(end_s, item.start_s + item.duration_s)
    if end_s - begin_s < settings.min_s:
        return _drop(out, item, f"{max(end_s - begin_s, 0):.2f} s usable, shorter than {settings.min_s:g} s")
    end_s = min(end_s, _decodes_until(item, out))
    samples = load_audio(item.path, SOUND_HZ, 0.0, end_s, scanned=source)
    assert samples is not None
    out.print = fingerprint(resample(samples[int(begin_s * SOUND_HZ) :], SOUND_HZ, RATE_HZ))
    for start_s, length_s in cut(begin_s, end_s, settings):
        piece = samples[round(start_s * SOUND_HZ) : round((start_s + length_s) * SOUND_HZ)]
        silent = silent_fraction(piece)
        if silent > settings.max_silent:
            _drop(out, item, f"{silent:.0%} silent", start_s)
            continue
        out.clips.append(
            {
                "start_s": start_s,
                "duration_s": length_s,
                "whole": start_s == 0.0 and length_s >= source.duration_s - 1e-6,
                "loudness_lufs": loudness_lufs(piece, SOUND_HZ),
                "silent_fraction": round(silent, 4),
                "width": info.video.width,
                "height": info.video.height,
                "fps": round(info.video.fps, 4),
                "sample_rate_hz": sound.sample_rate_hz,
            }
        )


def _decodes_until(item: Item, out: Examined) -> float:
    """Seconds up to which the picture decodes, by its first, middle and last frame."""
    video = FileVideo(item.path)
    try:
        times_s = video.frame_times_s
        video.frames_at(times_s[[0, len(times_s) // 2, -1]], shorter_side=32)
        until_s = video.decodable_until_s
    finally:
        video.close()
    if np.isfinite(until_s):
        out.warnings.append(f"{item.where}: the picture stops decoding at {until_s:.2f} s; cut there")
    return until_s


def cut(begin_s: float, end_s: float, settings: Settings) -> list[tuple[float, float]]:
    """(start, duration) of the clips of a stretch: one each `hop_s`, `clip_s` long, the last at least `min_s`."""
    starts = begin_s + settings.hop_s * np.arange(int((end_s - begin_s) / settings.hop_s) + 1)
    pieces = [(float(s), min(settings.clip_s, end_s - float(s))) for s in starts]
    return [(round(s, 6), round(d, 6)) for s, d in pieces if d >= settings.min_s]


def silent_fraction(samples: NDArray[np.float32]) -> float:
    """Fraction of 0.1 s blocks whose RMS is below -60 dB full scale; 1 for no samples."""
    size = int(_BLOCK_S * SOUND_HZ)
    if len(samples) < size:
        return float(not len(samples) or float(np.sqrt(np.mean(samples**2))) < SILENCE)
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    return float((np.sqrt((blocks**2).mean(axis=1)) < SILENCE).mean())
