"""Clips of any data source as video files with sound, in the layout that `prepare` reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, Video
from expotion.errors import MediaError, Problem
from expotion.files import write_json, write_text
from expotion.video.writing import write_video

SOUND_HZ = 32_000
_AT_ONCE = 32


def export_clip(job: tuple[Clip, Path]) -> Path:
    """Write NAME.mp4, NAME.txt (the caption) and NAME.json (recording, truth where known) of (clip, folder).

    A file that is there already is kept. Raises MediaError for a clip without picture or sound.
    """
    clip, folder = job
    name = re.sub(r"[^\w.-]+", "_", clip.id).lstrip(".") or "clip"
    path = folder / f"{name}.mp4"
    if path.is_file():
        return path
    try:
        video, samples = clip.video, clip.audio(SOUND_HZ)
        if video is None or samples is None:
            lacking = "no picture" if video is None else "no sound"
            raise MediaError(Problem(clip.id, "a clip with picture and sound", lacking))
        about: dict[str, object] = {"recording": clip.id}
        if (truth := clip.truth) is not None:
            beats_s = [round(float(beat), 4) for beat in truth.beats_s]
            about["truth"] = {"tempo_bpm": truth.tempo_bpm, "beats_s": beats_s}
        write_json(folder / f"{name}.json", about)
        if clip.caption:
            write_text(folder / f"{name}.txt", clip.caption + "\n")
        times_s = np.asarray(video.frame_times_s, dtype=np.float64)
        write_video(path, _frames(video, times_s), times_s, samples, SOUND_HZ, duration_s=clip.duration_s)
    finally:
        clip.close()
    return path


def _frames(video: Video, times_s: NDArray[np.float64]) -> Iterator[NDArray[np.uint8]]:
    for at in range(0, len(times_s), _AT_ONCE):
        yield from video.frames_at(times_s[at : at + _AT_ONCE])
