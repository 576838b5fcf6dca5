"""One file looked at closely: does it decode, do picture and sound fit, how loud is it, where are its clips?"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError
from expotion.files import file_sha256
from expotion.video.audio import hear, resample
from expotion.video.decoders import PyAvDecoder
from expotion.video.frames import FileVideo
from expotion.video.loudness import loudness_lufs
from expotion.video.scan import Scan, check, scan
from expotion_corpus.match import EMPTY, RATE_HZ, Print, fingerprint, joined
from expotion_corpus.tables import Item

VERSION = 3
"""Part of what is kept of a file: raise it when the same file gives other clips or numbers."""
SOUND_HZ = 32_000
SILENCE = 10 ** (-60 / 20)
CLIPPED = 0.999
CANCELLED_DB = 30.0
"""Channels that lose as much in their mean are each other's opposite; unlike ones lose 3 dB for each doubling."""
_NOTABLE_S = 0.5
"""Picture and sound that begin or end so far apart are worth a word."""
STILL = 0.5
"""A picture that changes by less, of 255 levels in a second, stands still."""
_BLOCK_S = 0.1
_PART_S = 300.0
"""Sound is held in memory for so long at a time."""
SIDE_PX, _AT_ONCE = 32, 256


@dataclass(frozen=True)
class Look:
    """`times_s` float64 [n] of the frames looked at, `changes` float64 [n - 1] between neighbours (mean absolute
    difference, 0..255), and the time from which the picture does not decode (infinity for none)."""

    times_s: NDArray[np.float64]
    changes: NDArray[np.float64]
    until_s: float

    def change(self, begin_s: float, end_s: float) -> float:
        """Mean change within a stretch; -1 where fewer than two frames were looked at in it."""
        inside = (self.times_s[:-1] >= begin_s - 0.5) & (self.times_s[1:] <= end_s + 0.5)
        return float(self.changes[inside].mean()) if inside.any() else -1.0


def look(source: Scan, begin_s: float, end_s: float) -> Look:
    """Decode the frames shown each second of a stretch, the last one included. Raises MediaError for no picture."""
    with contextlib.closing(FileVideo(source.path, scanned=source)) as video:
        last_s = float(video.frame_times_s[video.frame_times_s < end_s][-1])
        times_s = np.append(np.arange(begin_s, last_s, 1.0), last_s)
        changes: list[NDArray[np.float64]] = []
        before: NDArray[np.float32] | None = None
        for at in range(0, len(times_s), _AT_ONCE):
            frames = video.frames_at(times_s[at : at + _AT_ONCE], shorter_side=SIDE_PX).astype(np.float32)
            joined = frames if before is None else np.concatenate([before, frames])
            changes.append(np.abs(np.diff(joined, axis=0)).mean(axis=(1, 2, 3), dtype=np.float64))
            before = frames[-1:]
        return Look(times_s, np.concatenate(changes), video.decodable_until_s)


@dataclass(frozen=True)
class Settings:
    """How clips are cut and kept; seconds. A file whose picture and sound begin further apart
    than `max_offset_s`, where that is given, is dropped."""

    clip_s: float = 10.0
    hop_s: float = 10.0
    min_s: float = 3.0
    max_offset_s: float | None = None
    max_silent: float = 0.9


@dataclass
class Examined:
    """What came of one item: clips as plain values, what was dropped and why, the fingerprint of the sound.

    `dropped` holds `reason` and, for a clip of a file, `start_s`; `warnings` are sentences about the file.
    """

    clips: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sha256: str = ""
    print: Print = EMPTY

    def drop(self, reason: str, start_s: float | None = None) -> None:
        """Note that the file, or its clip at `start_s`, is left out."""
        self.dropped.append({"reason": reason} | ({} if start_s is None else {"start_s": start_s}))


def examine(settings: Settings, item: Item) -> Examined:
    """Probe, decode a frame each second and all the sound, cut by time. An unusable file is dropped, and why."""
    out = Examined()
    try:
        _examine(settings, item, out)
    except ExpotionError as error:
        out.clips = []
        out.drop(str(error).removeprefix(f"{item.path}: "))
    return out


def _examine(settings: Settings, item: Item, out: Examined) -> None:
    source = scan(item.path)
    check(source, "video")
    height, width = PyAvDecoder(source).size
    check(source, "audio")
    out.warnings += source.notes
    assert source.picture is not None and source.sound is not None
    known = {
        "width": width,
        "height": height,
        "fps": round(source.picture.fps, 4),
        "sample_rate_hz": source.sound.sample_rate_hz,
    }
    out.sha256 = file_sha256(item.path)
    span = _span(settings, item, source, out)
    if span is None:
        return
    begin_s, end_s = span
    seen = look(source, begin_s, end_s)
    if seen.until_s < end_s:
        end_s = seen.until_s
        out.warnings.append(f"the picture stops decoding at {end_s:.2f} s; cut there")
    if 0 <= seen.change(begin_s, end_s) < STILL:
        out.warnings.append("the picture stands still")
    pieces = cut(begin_s, end_s, settings)
    if not pieces:
        out.drop(f"{max(end_s - begin_s, 0.0):.2f} s usable, shorter than {settings.min_s:g} s")
    prints: list[tuple[float, Print]] = []
    part_s, not_numbers = begin_s, 0
    while part_s < end_s - 1e-6:
        next_s = min(part_s + _PART_S, end_s)
        heard = hear(source, SOUND_HZ, part_s, min(next_s + settings.clip_s, end_s) - part_s)
        assert heard is not None
        samples = heard.samples
        not_numbers += heard.not_numbers
        own = samples[: round((next_s - part_s) * SOUND_HZ)]
        prints.append((part_s - begin_s, fingerprint(resample(own, SOUND_HZ, RATE_HZ))))
        for start_s, length_s in pieces:
            if part_s <= start_s < next_s:
                first = round((start_s - part_s) * SOUND_HZ)
                piece = samples[first : first + round(length_s * SOUND_HZ)]
                silent = silent_fraction(piece)
                if silent > settings.max_silent:
                    why = f"{silent:.0%} silent"
                    if heard.cancelled_db > CANCELLED_DB:
                        why += " as mono: its channels cancel each other "
                        why += "(one is inverted: invert it back, or keep one channel)"
                    out.drop(why, start_s)
                    continue
                change, loudness = seen.change(start_s, start_s + length_s), loudness_lufs(piece, SOUND_HZ)
                measured = {
                    "start_s": start_s,
                    "duration_s": length_s,
                    "whole": start_s == 0.0 and length_s >= source.duration_s - 1e-6,
                    "loudness_lufs": None if loudness is None else round(loudness, 2),
                    "silent_fraction": round(silent, 4),
                    "clipped_fraction": round(float((np.abs(piece) >= CLIPPED).mean()), 6),
                    "picture_change": None if change < 0 else round(change, 2),
                }
                out.clips.append(measured | known)
        part_s = next_s
    if not_numbers:
        out.warnings.append(f"{not_numbers} samples of the sound are no finite numbers and are taken as 0")
    out.print = joined(prints)


def _span(settings: Settings, item: Item, source: Scan, out: Examined) -> tuple[float, float] | None:
    """(begin, end) in seconds of what picture, sound and the item share; None where the item is dropped."""
    picture, sound = source.picture, source.sound
    assert picture is not None and sound is not None
    first_s = float(picture.times_s[0])
    late_s, short_s = sound.start_s - first_s, sound.end_s - picture.end_s
    if settings.max_offset_s is not None and abs(late_s) > settings.max_offset_s:
        out.drop(f"sound begins {late_s:+.2f} s after the picture, more than --max-offset allows")
        return None
    if picture.damage is not None:
        out.warnings.append(f"the file is damaged ({picture.damage})")
    if abs(late_s) > _NOTABLE_S:
        out.warnings.append(f"sound begins {late_s:+.2f} s after the picture; cut to what both have")
    if abs(short_s) > _NOTABLE_S and picture.damage is None:
        out.warnings.append(f"sound ends {short_s:+.2f} s after the picture; cut to what both have")
    begin_s = max(item.start_s, first_s, sound.start_s)
    if item.start_s <= max(first_s, sound.start_s) <= item.start_s + 0.1:
        begin_s = item.start_s  # an encoder's delay is no gap
    end_s = min(source.duration_s, picture.end_s, sound.end_s)
    if item.duration_s is not None:
        wanted_s = item.start_s + item.duration_s
        if wanted_s > source.duration_s + 0.1:
            out.warnings.append(f"the list asks for {wanted_s:.2f} s of {source.duration_s:.2f} s")
        end_s = min(end_s, wanted_s)
    if end_s - begin_s < settings.min_s:
        out.drop(f"{max(end_s - begin_s, 0.0):.2f} s usable, shorter than {settings.min_s:g} s")
        return None
    return begin_s, end_s


def cut(begin_s: float, end_s: float, settings: Settings) -> list[tuple[float, float]]:
    """(start, duration) of the clips of a stretch: one each `hop_s`, `clip_s` long, the last at least `min_s`."""
    starts = begin_s + settings.hop_s * np.arange(int((end_s - begin_s) / settings.hop_s + 1e-6) + 1)
    pieces = [(float(s), min(settings.clip_s, end_s - float(s))) for s in starts]
    return [(round(s, 6), round(d, 6)) for s, d in pieces if d >= settings.min_s - 1e-6]


def silent_fraction(samples: NDArray[np.float32]) -> float:
    """Fraction of 0.1 s blocks whose RMS is below -60 dB full scale; 1 for no samples."""
    size = int(_BLOCK_S * SOUND_HZ)
    if len(samples) < size:
        return float(not len(samples) or float(np.sqrt(np.mean(samples**2))) < SILENCE)
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    return float((np.sqrt((blocks**2).mean(axis=1)) < SILENCE).mean())
