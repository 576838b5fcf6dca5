"""Clips of any data source as video files with sound, in the layout that `prepare` reads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from expotion.contracts import Clip
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
        parts = (times_s[at : at + _AT_ONCE] for at in range(0, len(times_s), _AT_ONCE))
        frames = (frame for part in parts for frame in video.frames_at(part))
        write_video(path, frames, times_s, samples, SOUND_HZ, duration_s=clip.duration_s)
    finally:
        clip.close()
    return path
