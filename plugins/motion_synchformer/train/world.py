"""Render clips of the conductor world once and keep what training needs: small pictures and an analysis of the sound."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import sound
import torch
from expotion.contracts import Clip
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan
from expotion_motion_synchformer import segments
from expotion_motion_synchformer.encoder import fetch
from expotion_motion_synchformer.options import Geometry
from numpy.typing import NDArray

FPS = 25.0
AUDIO_HZ = 32_000


@dataclass(frozen=True)
class Truth:
    """What the probes compare with; training never reads it."""

    beats_s: NDArray[np.float64]
    tempo_bpm: float
    intensity_times_s: NDArray[np.float64]
    intensity: NDArray[np.float64]


@dataclass
class World:
    """`frames` uint8 [N, n, S, S, 3] at 25 Hz from 0 s; one Sound and one Truth per clip."""

    frames: NDArray[np.uint8]
    sounds: list[sound.Sound]
    truths: list[Truth]

    def part(self, first: int, last: int) -> World:
        """Clips first .. last - 1."""
        return World(self.frames[first:last], self.sounds[first:last], self.truths[first:last])


def open_clip(seed: int, duration_s: float) -> Clip:
    """One clip of the world."""
    return ConductorClip(make_plan(seed, duration_s))


def small_frames(clip: Clip, geometry: Geometry) -> NDArray[np.uint8]:
    """All frames of a clip on the 25 Hz grid as the encoder sees them, uint8 [n, S, S, 3]."""
    video = clip.video
    assert video is not None
    grid_s = np.arange(round(clip.duration_s * FPS)) / FPS
    times_s = segments.nearest_frame_times(video.frame_times_s, grid_s)
    unique, index = np.unique(times_s, return_inverse=True)
    return np.asarray(fetch(video, unique + 1e-6, geometry)[torch.from_numpy(index)].numpy())


def render(
    seeds: Sequence[int],
    folder: Path,
    geometry: Geometry,
    *,
    duration_s: float = 10.0,
    say: Callable[[str], None] = print,
) -> World:
    """Clips of these seeds, from the folder where they are complete, else rendered (and kept) one by one.

    Clips are written in order and counted in `done`, so that a second process may read a growing cache.
    """
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{seeds[0]}_{len(seeds)}_{geometry.image}_{duration_s:g}"
    shape = (len(seeds), round(duration_s * FPS), geometry.image, geometry.image, 3)
    path, notes = folder / f"{name}.u8", folder / f"{name}.pickle"
    records: list[tuple[sound.Sound, Truth]] = pickle.loads(notes.read_bytes()) if notes.exists() else []
    mode = "r+" if path.exists() else "w+"
    frames: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode=mode, shape=shape)
    for number in range(len(records), len(seeds)):
        clip = open_clip(seeds[number], duration_s)
        frames[number] = small_frames(clip, geometry)
        samples = clip.audio(AUDIO_HZ)
        truth = clip.truth
        assert samples is not None and truth is not None and truth.tempo_bpm is not None
        records.append(
            (
                sound.listen(samples, AUDIO_HZ),
                Truth(truth.beats_s, truth.tempo_bpm, truth.intensity_times_s, truth.intensity),
            )
        )
        clip.close()
        if (number + 1) % 20 == 0 or number + 1 == len(seeds):
            temporary = notes.with_suffix(".part")
            temporary.write_bytes(pickle.dumps(records))
            os.replace(temporary, notes)
            say(f"rendered {number + 1} of {len(seeds)} clips")
    return World(frames, [record[0] for record in records], [record[1] for record in records])
