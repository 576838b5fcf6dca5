"""Render clips of the conductor world once and keep what training needs: small pictures and an analysis of
the rhythm.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rhythm
from numpy.typing import NDArray

from expotion.contracts import Clip
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan
from expotion_motion_synchformer.encoder import pictures_at
from expotion_motion_synchformer.options import Geometry

FPS = 25.0
AUDIO_HZ = 32_000
TUBELET = 2
MOTION_CELL_PX = 3
"""Cells of the motion targets, in pixels of the small pictures. Flow itself is found at twice their size."""


@dataclass(frozen=True)
class Truth:
    """What the probes compare with; training never reads it."""

    beats_s: NDArray[np.float64]
    tempo_bpm: float
    intensity_times_s: NDArray[np.float64]
    intensity: NDArray[np.float64]


@dataclass
class World:
    """`frames` uint8 [N, n, S, S, 3] at 25 Hz from 0 s; `motion` float16 [N, n / 2, 2, S / 3, S / 3] the DIS
    flow within each tubelet in pixels of twice the size, averaged over cells; one Sound and one Truth per
    clip."""

    frames: NDArray[np.uint8]
    motion: NDArray[np.float16]
    sounds: list[rhythm.Sound]
    truths: list[Truth]

    def part(self, first: int, last: int) -> World:
        """Clips first .. last - 1."""
        return World(
            self.frames[first:last], self.motion[first:last], self.sounds[first:last], self.truths[first:last]
        )


def open_clip(seed: int, duration_s: float) -> Clip:
    """One clip of the world."""
    return ConductorClip(make_plan(seed, duration_s))


def grid_frames(clip: Clip, geometry: Geometry) -> NDArray[np.uint8]:
    """All frames of a clip on the 25 Hz grid as an encoder of this geometry sees them, uint8 [n, S, S, 3]."""
    video = clip.video
    assert video is not None
    grid_s = np.arange(round(clip.duration_s * FPS)) / FPS
    return np.asarray(pictures_at(video, grid_s, geometry, between=geometry.between).numpy())


def halve(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average blocks of 2 x 2 pixels: [n, 2 S, 2 S, 3] -> [n, S, S, 3], as area scaling to half the size does."""
    n, side = frames.shape[:2]
    blocks = frames.reshape(n, side // 2, 2, side // 2, 2, 3).astype(np.uint16).sum((2, 4))
    return ((blocks + 2) // 4).astype(np.uint8)


def tubelet_motion(frames: NDArray[np.uint8]) -> NDArray[np.float16]:
    """DIS flow from the first to the second frame of every tubelet: [n, 2 S, 2 S, 3] -> [n / 2, 2, S / 3, S /
    3].
    """
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    found = np.stack(
        [method.calc(a, b, None) for a, b in zip(grey[0::2], grey[1::2], strict=False)]
    )  # [m, 2 S, 2 S, 2]
    cell = 2 * MOTION_CELL_PX
    cells = found.shape[1] // cell
    pooled = found.reshape(-1, cells, cell, cells, cell, 2).mean((2, 4))
    return np.ascontiguousarray(pooled.transpose(0, 3, 1, 2)).astype(np.float16)


Record = tuple[rhythm.Sound, Truth]


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Sounds and truths of all clips as one npz of plain arrays, written beside and renamed."""
    arrays = {}
    for number, pair in enumerate(records):
        for value in pair:
            arrays |= {f"{number}/{key}": np.asarray(field) for key, field in vars(value).items()}
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, **arrays)
    os.replace(temporary, path)


def read_records(path: Path) -> list[Record]:
    """What `write_records` wrote."""
    with np.load(path, allow_pickle=False) as file:
        stored = {key: file[key] for key in file}

    def fields(number: int, kind: type) -> dict[str, Any]:
        values = {key: stored[f"{number}/{key}"] for key in kind.__dataclass_fields__}
        return {key: value if value.ndim else float(value) for key, value in values.items()}

    count = len({key.split("/")[0] for key in stored})
    return [(rhythm.Sound(**fields(i, rhythm.Sound)), Truth(**fields(i, Truth))) for i in range(count)]


def render(
    seeds: Sequence[int],
    folder: Path,
    geometry: Geometry,
    *,
    duration_s: float = 10.0,
    with_motion: bool = True,
    say: Callable[[str], None] = print,
) -> World:
    """Clips of these seeds, from the folder where they are complete, else rendered (and kept) one by one.

    Without motion the pictures are drawn at their own size and `motion` is a stand-in of zeros.

    Clips are written in order and counted in `done`, so that a second process may read a growing cache.
    """
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{seeds[0]}_{len(seeds)}_{geometry.image}_{duration_s:g}"
    shape = (len(seeds), round(duration_s * FPS), geometry.image, geometry.image, 3)
    path, notes = folder / f"{name}.u8", folder / f"{name}.npz"
    records = read_records(notes) if notes.exists() else []
    mode = "r+" if path.exists() else "w+"
    frames: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode=mode, shape=shape)
    cells = geometry.image // MOTION_CELL_PX if with_motion else 1
    flow_path = folder / f"{name}.f16"
    motion: NDArray[np.float16] = np.memmap(
        flow_path if with_motion else folder / "none.f16",
        dtype=np.float16,
        mode="r+" if with_motion and flow_path.exists() else "w+",
        shape=(len(seeds), shape[1] // TUBELET, 2, cells, cells),
    )
    for number in range(len(records), len(seeds)):
        clip = open_clip(seeds[number], duration_s)
        if with_motion:
            large = grid_frames(clip, replace(geometry, image=2 * geometry.image))
            frames[number], motion[number] = halve(large), tubelet_motion(large)
        else:
            frames[number] = grid_frames(clip, geometry)
        samples = clip.audio(AUDIO_HZ)
        truth = clip.truth
        assert samples is not None and truth is not None and truth.tempo_bpm is not None
        records.append(
            (
                rhythm.listen(samples, AUDIO_HZ),
                Truth(truth.beats_s, truth.tempo_bpm, truth.intensity_times_s, truth.intensity),
            )
        )
        clip.close()
        if (number + 1) % 20 == 0 or number + 1 == len(seeds):
            write_records(notes, records)
            say(f"rendered {number + 1} of {len(seeds)} clips")
    return World(frames, motion, [record[0] for record in records], [record[1] for record in records])
