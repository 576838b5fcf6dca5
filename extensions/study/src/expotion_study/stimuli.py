"""The media of a study: one loudness for all, the clip's own picture under every system's sound."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip
from expotion.errors import ExpotionError, Problem
from expotion.video.audio import fit
from expotion.video.clip import FileClip
from expotion.video.loudness import DEFAULT_CEILING_DBTP, loudness_lufs, true_peak_dbtp
from expotion.video.mux import mux_video
from expotion.video.scan import scan
from expotion.video.sound_files import write_sound
from expotion.video.writing import plain_name, write_video

RATE_HZ = 48_000
"""Of every sound that is played, whatever its system's own rate: none is told apart by it."""

SHORT_S = 0.5
"""A sound that ends this much before its clip is mentioned."""

_IN_MP4, _IN_WEBM = frozenset({"h264"}), frozenset({"vp8", "vp9", "av1"})
_PLAYED_PIXELS = frozenset({"yuv420p", "yuvj420p"})


@dataclass(frozen=True)
class System:
    """A system under test: its clips' ids, and its sound for one of them, float32 [n] at RATE_HZ."""

    name: str
    clip_ids: tuple[str, ...]
    load: Callable[[str], NDArray[np.float32]]


def match_levels(
    systems: Sequence[System],
    clips: Sequence[Clip],
    wanted_lufs: float,
    *,
    note: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> tuple[float, dict[tuple[int, int], float]]:
    """Highest common loudness up to `wanted_lufs` that needs no limiting, and gains in dB by (system, clip) index.

    One gain per sound changes nothing but its level; a limiter would treat systems differently. Silence has none.
    """
    measured: dict[tuple[int, int], float] = {}
    highest, done = wanted_lufs, 0
    for s, system in enumerate(systems):
        for c, clip in enumerate(clips):
            samples = _sound(system, clip, note)
            loudness, peak = loudness_lufs(samples, RATE_HZ), true_peak_dbtp(samples, RATE_HZ)
            if loudness is None or peak is None:
                note(f"{system.name}: {clip.id} is silent")
            else:
                highest = min(highest, loudness + DEFAULT_CEILING_DBTP - peak)
            if loudness is not None:
                measured[s, c] = loudness
            done += 1
            progress(done, len(systems) * len(clips))
    if highest < wanted_lufs - 0.05:
        note(f"all at {highest:.1f} LUFS instead of {wanted_lufs:g}: the peaks of one sound allow no more")
    target_lufs = round(highest, 2)
    return target_lufs, {key: target_lufs - loudness for key, loudness in measured.items()}


def has_picture(clip: Clip) -> bool:
    """Whether a clip has a picture, without decoding it where it is a file."""
    return clip.has_video if isinstance(clip, FileClip) else clip.video is not None


def write_clip(
    folder: Path, clip: Clip, systems: Sequence[System], gains_db: Sequence[float | None], *, with_picture: bool
) -> Iterator[tuple[str, str, str]]:
    """Write one clip's file per system to `folder`; (token, file name, type) of each as it is there.

    The picture is copied under each sound; it is encoded once before where browsers would not play it as it is.
    """
    with contextlib.closing(clip), contextlib.ExitStack() as stack:
        source = stack.enter_context(_browser_picture(clip)) if with_picture else None
        for system, gain_db in zip(systems, gains_db, strict=True):
            samples, token = _sound(system, clip, lambda _text: None), secrets.token_hex(12)
            if gain_db is not None:
                samples = samples * np.float32(10 ** (gain_db / 20))
            if source is None:
                name, media_type = f"{token}.flac", "audio/flac"
                write_sound(folder / name, samples, RATE_HZ)
            else:
                suffix = source.suffix if source.suffix == ".webm" else ".mp4"
                name, media_type = f"{token}{suffix}", f"video/{suffix[1:]}"
                mux_video(source, samples, RATE_HZ, folder / name, duration_s=clip.duration_s, must_copy=True)
            yield token, name, media_type


def _sound(system: System, clip: Clip, note: Callable[[str], None]) -> NDArray[np.float32]:
    """A system's sound for a clip, as long as the clip."""
    samples = system.load(clip.id)
    if not bool(np.isfinite(samples).all()):
        raise ExpotionError(Problem(f"{system.name}: {clip.id}", "finite samples", "NaN or infinity"))
    missing_s = clip.duration_s - len(samples) / RATE_HZ
    if missing_s > SHORT_S:
        note(f"{system.name}: {clip.id} ends {missing_s:.1f} s before its clip; silence stands there")
    return fit(samples, timeline.n_samples(clip.duration_s, RATE_HZ))


@contextlib.contextmanager
def _browser_picture(clip: Clip) -> Iterator[Path]:
    """A file whose picture browsers play: the clip's own where it is one, else a copy encoded once."""
    if isinstance(clip, FileClip) and _playable(clip):
        yield clip.path
        return
    video = clip.video
    if video is None:
        raise ExpotionError(Problem(clip.id, "a picture", "none"))
    times_s = video.frame_times_s.copy()
    times_s[0] = 0.0
    frames = (frame for t in times_s for frame in video.frames_at(np.array([t])))
    with tempfile.TemporaryDirectory(prefix="expotion-") as folder:
        path = Path(folder) / "picture.mp4"
        write_video(path, frames, times_s, duration_s=clip.duration_s)
        yield path


def _playable(clip: FileClip) -> bool:
    """Whether browsers play the clip's file, and the clip is the whole of it."""
    picture = scan(clip.path).picture
    if picture is None or picture.damage is not None or not picture.seekable:
        return False
    whole = clip.start_s <= timeline.EPSILON_S and clip.duration_s >= picture.end_s - timeline.EPSILON_S
    codec, is_webm = plain_name(picture.codec), clip.path.suffix.lower() == ".webm"
    held = codec in _IN_MP4 or (codec in _IN_WEBM and is_webm)
    return whole and held and picture.pixel_format in _PLAYED_PIXELS
