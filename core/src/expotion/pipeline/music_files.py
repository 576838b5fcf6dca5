"""A composed piece as files: sound, video with the picture copied, and the record last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from expotion.data.containers import fitting_suffix
from expotion.data.loudness import DEFAULT_CEILING_DBTP, loudness_lufs, normalise
from expotion.data.mux import can_be_copied, mux_video
from expotion.data.scan import scan
from expotion.data.sound_files import Depth, write_sound
from expotion.pipeline.music_options import ANY_VIDEO, SOUND_FORMATS, Output
from expotion.pipeline.record import write_record
from expotion.pipeline.targets import Target

Warn = Callable[[str], None]


def write_files(
    target: Target,
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    duration_s: float,
    output: Output,
    asked: Mapping[str, Any],
    notes: Mapping[str, Any],
    warn: Warn,
) -> list[Path]:
    """Write every format and the record; returns the files. `samples` float32 [n] last as long as the clip.

    A format that is there already is replaced, each file whole or not at all; the old record goes first, so that a
    record never speaks of files of another piece.
    """
    target.record.unlink(missing_ok=True)
    made: dict[str, Any] = {
        "duration_s": duration_s,
        "sample_rate_hz": sample_rate_hz,
        "loudness_lufs": _rounded(loudness_lufs(samples, sample_rate_hz)),
        **notes,
    }
    if output.loudness_lufs is not None:
        normalised = normalise(samples, sample_rate_hz, output.loudness_lufs)
        samples = normalised.samples
        made["normalised"] = {
            "before_lufs": _rounded(normalised.before_lufs),
            "loudness_lufs": _rounded(normalised.loudness_lufs),
            "true_peak_dbtp": _rounded(normalised.true_peak_dbtp),
            "ceiling_dbtp": DEFAULT_CEILING_DBTP,
            "gain_db": _rounded(normalised.gain_db),
            "limited_db": _rounded(normalised.limited_db),
        }
        made["loudness_lufs"] = _rounded(normalised.loudness_lufs)
        if normalised.note is not None:
            warn(f"loudness: {normalised.note}")
    depth = cast(Depth, output.depth)
    files: list[Path] = []
    for name in output.formats:
        if name in SOUND_FORMATS:
            file = target.file(f".{name}")
            write_sound(file, samples, sample_rate_hz, depth=depth)
            files.append(file)
    files += _videos(target, samples, sample_rate_hz, duration_s, output, warn)
    return [*files, write_record(target, asked, files, made)]


def _videos(
    target: Target,
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    duration_s: float,
    output: Output,
    warn: Warn,
) -> list[Path]:
    wanted = [name for name in output.formats if name not in SOUND_FORMATS]
    source = scan(target.clip)
    if not wanted or source.picture is None:
        if wanted:
            warn("no picture: the sound alone is written")
        return []
    files: list[Path] = []
    for name in wanted:
        suffix = f".{name}"
        if name == ANY_VIDEO:
            suffix = fitting_suffix(source.picture.codec) or ".mp4"
        if not can_be_copied(source, suffix):
            why = source.picture.damage or f"{suffix[1:]} does not hold {source.picture.codec} as it is here"
            warn(f"the picture is encoded anew ({why})")
        if output.keep_original_sound and source.sound is None:
            warn("the clip has no sound of its own to keep")
        file = target.file(suffix)
        mux_video(
            target.clip,
            samples,
            sample_rate_hz,
            file,
            duration_s=duration_s,
            keep_original_sound=output.keep_original_sound,
            must_copy=name != ANY_VIDEO,
            bits=16 if output.depth == "16" else 24,
        )
        files.append(file)
    return files


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
