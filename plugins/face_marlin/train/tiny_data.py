"""Face windows of conductors and people, cut as the encoder cuts them: tracked and sampled at 80 Hz."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.clip import ConductorClip
from expotion_conductor.people.cast import people_plan
from expotion_conductor.plan import Plan, make_plan
from expotion_face_marlin.crops import crop_squares, useful_shorter_side
from expotion_face_marlin.faces import CascadeDetector
from expotion_face_marlin.geometry import GEOMETRIES
from expotion_face_marlin.tracking import find_path
from expotion_face_marlin.windows import place_windows, regular_starts_s

STYLES: dict[str, Callable[[int, float], Plan]] = {"conductor-1": make_plan, "people": people_plan}


@dataclass(frozen=True)
class Windows:
    """Windows of many clips.

    `crops` uint8 [m, S, S, 3]: every frame once; `index` int64 [n, 16]: the frames of each window;
    `clip` int64 [n]; `times_s` float64 [n]; `intensity` float64 [n]: the world's (people's arousal), for the
    probe only;
    `average` float32 [clips, S, S, 3]: each clip's mean crop, 0..1.
    """

    crops: NDArray[np.uint8]
    index: NDArray[np.int64]
    clip: NDArray[np.int64]
    times_s: NDArray[np.float64]
    intensity: NDArray[np.float64]
    average: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Keep them for another run."""
        with path.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Windows:
        """What `save` kept."""
        with np.load(path, allow_pickle=False) as kept:
            return cls(**{field.name: kept[field.name] for field in fields(cls)})

    def with_those(self, other: Windows) -> Windows:
        """These windows and others, whose clips are counted on."""
        return Windows(
            np.concatenate([self.crops, other.crops]),
            np.concatenate([self.index, other.index + len(self.crops)]),
            np.concatenate([self.clip, other.clip + len(self.average)]),
            np.concatenate([self.times_s, other.times_s]),
            np.concatenate([self.intensity, other.intensity]),
            np.concatenate([self.average, other.average]),
        )


def collect(seeds: Iterable[int], every: int, clip_s: float = 10.0, style: str = "conductor-1") -> Windows:
    """Render, track and crop clips of `clip_s` seconds. `every`: keep one window in so many of each clip."""
    geometry = GEOMETRIES["tiny"]
    size = (geometry.image_height, geometry.image_width)
    detector = CascadeDetector()
    crops: list[NDArray[np.uint8]] = []
    index, clip_of, times, intensity, average = [], [], [], [], []
    n_crops, started_s = 0, time.monotonic()
    for number, seed in enumerate(seeds):
        clip = ConductorClip(STYLES[style](seed, clip_s))
        path = find_path(clip.video, detector)
        starts_s = regular_starts_s(clip.duration_s, 5.0)[seed % every :: every]
        windows = place_windows(clip.video, starts_s, geometry.n_frames, clip.duration_s)
        rows = np.flatnonzero(windows.seen & path.at(windows.times_s)[2])
        if len(rows):
            needed, inverse = np.unique(windows.frame[rows], return_inverse=True)
            times_s = clip.video.frame_times_s[needed]
            centre, side, _ = path.at(times_s)
            scale_to = useful_shorter_side(float(np.median(side)), max(size), min(clip.video.size))
            frames = clip.video.frames_at(times_s, shorter_side=scale_to)
            crops.append(crop_squares(frames, centre, side, size))
            index.append(inverse.reshape(len(rows), -1) + n_crops)
            n_crops += len(needed)
            clip_of.append(np.full(len(rows), len(average)))
            times.append(windows.times_s[rows])
            plan = clip.plan
            intensity.append(np.interp(windows.times_s[rows], plan.intensity_times_s, plan.intensity))
            average.append(crops[-1].mean(axis=0, dtype=np.float32) / 255)
        clip.close()
        if number % 50 == 0:
            print(f"{style}, clip {number}: {n_crops} crops, {time.monotonic() - started_s:.0f} s", flush=True)
    return Windows(
        np.concatenate(crops),
        np.concatenate(index).astype(np.int64),
        np.concatenate(clip_of),
        np.concatenate(times),
        np.concatenate(intensity),
        np.stack(average),
    )
