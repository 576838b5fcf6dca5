"""Render clips of the worlds once and keep what training needs: pictures, their flow, an analysis of the rhythm."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rhythm
from numpy.typing import NDArray

from expotion.contracts import Clip
from expotion_conductor.clip import ConductorClip
from expotion_conductor.people.cast import people_plan
from expotion_conductor.plan import make_plan
from expotion_motion_synchformer.encoder import pictures_at
from expotion_motion_synchformer.options import Geometry

FPS = 25.0
AUDIO_HZ = 32_000
TUBELET = 2
MOTION_CELLS = 16
"""Cells of the motion targets on each side of a picture."""
DURATION_S = 10.0
STYLES: dict[str, Callable[[int, float], ConductorClip]] = {
    "conductor-1": lambda seed, s: ConductorClip(make_plan(seed, s)),
    "people": lambda seed, s: ConductorClip(people_plan(seed, s, performed=False)),
    "beating": lambda seed, s: ConductorClip(
        people_plan(seed, s, performed=False, role="beats", change="as drawn")
    ),
}
"""Conductors; people as they come, to steady music; people who beat time, as drawn, whose marks are the beats."""


@dataclass(frozen=True)
class Truth:
    """What the probes compare with; training never reads it."""

    beats_s: NDArray[np.float64]
    tempo_bpm: float
    intensity_times_s: NDArray[np.float64]
    intensity: NDArray[np.float64]


@dataclass
class World:
    """`frames` uint8 [N, n, S, S, 3] at 25 Hz from 0 s; `motion` float16 [N, n / 2, 2, 16, 16] the DIS flow within
    each tubelet in pixels, averaged over cells; one Sound and one Truth per clip. `framed`: each clip has a framing
    of its own already."""

    frames: NDArray[np.uint8]
    motion: NDArray[np.float16]
    sounds: list[rhythm.Sound]
    truths: list[Truth]
    framed: bool = False

    def part(self, first: int, last: int) -> World:
        """Clips first .. last - 1."""
        return World(
            self.frames[first:last], self.motion[first:last], self.sounds[first:last], self.truths[first:last],
            self.framed,
        )  # fmt: skip


def grid_frames(clip: Clip, geometry: Geometry) -> NDArray[np.uint8]:
    """All frames of a clip on the 25 Hz grid, of this geometry's size, uint8 [n, S, S, 3]."""
    video = clip.video
    assert video is not None
    grid_s = np.arange(round(clip.duration_s * FPS)) / FPS
    return np.asarray(pictures_at(video, grid_s, geometry, between=geometry.between).numpy())


def tubelet_motion(frames: NDArray[np.uint8]) -> NDArray[np.float16]:
    """DIS flow from the first to the second frame of every tubelet: [n, S, S, 3] -> [n / 2, 2, 16, 16]."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    found = np.stack(
        [method.calc(a, b, None) for a, b in zip(grey[0::2], grey[1::2], strict=False)]
    )  # [m, S, S, 2]
    cell = found.shape[1] // MOTION_CELLS
    pooled = found.reshape(-1, MOTION_CELLS, cell, MOTION_CELLS, cell, 2).mean((2, 4))
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


def truth_of(clip: ConductorClip) -> Truth:
    """Of who beats time the marks that are seen, of others the music's beats."""
    truth = clip.truth
    assert truth.tempo_bpm is not None
    beats_s, tempo_bpm = truth.beats_s, truth.tempo_bpm
    if clip.plan.people is not None and truth.ictus_s is not None and len(truth.ictus_s) > 2:
        beats_s, tempo_bpm = truth.ictus_s, 60.0 / float(np.median(np.diff(truth.ictus_s)))
    return Truth(beats_s, tempo_bpm, truth.intensity_times_s, truth.intensity)


def render(
    seeds: Sequence[int],
    folder: Path,
    geometry: Geometry,
    *,
    style: str = "conductor-1",
    duration_s: float = DURATION_S,
    with_motion: bool = True,
    say: Callable[[str], None] = print,
) -> World:
    """Clips of these seeds, from the folder where they are complete, else rendered (and kept) one by one.

    Without motion `motion` is a stand-in of zeros. Clips are written in order: a run that was stopped goes on.
    """
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    size = geometry.frame_px
    name = f"{style}_{seeds[0]}_{len(seeds)}_{size}_{duration_s:g}"
    shape = (len(seeds), round(duration_s * FPS), size, size, 3)
    path, notes = folder / f"{name}.u8", folder / f"{name}.npz"
    records = read_records(notes) if notes.exists() else []
    frames: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r+" if path.exists() else "w+", shape=shape)
    cells = MOTION_CELLS if with_motion else 1
    flow_path = folder / f"{name}.f16"
    motion: NDArray[np.float16] = np.memmap(
        flow_path if with_motion else folder / "none.f16",
        dtype=np.float16,
        mode="r+" if with_motion and flow_path.exists() else "w+",
        shape=(len(seeds), shape[1] // TUBELET, 2, cells, cells),
    )
    for number in range(len(records), len(seeds)):
        clip = STYLES[style](seeds[number], duration_s)
        frames[number] = grid_frames(clip, geometry)
        if with_motion:
            motion[number] = tubelet_motion(frames[number])
        samples = clip.audio(AUDIO_HZ)
        assert samples is not None
        records.append((rhythm.listen(samples, AUDIO_HZ), truth_of(clip)))
        clip.close()
        if (number + 1) % 20 == 0 or number + 1 == len(seeds):
            write_records(notes, records)
            say(f"{style}: rendered {number + 1} of {len(seeds)} clips")
    sounds, truths = [record[0] for record in records], [record[1] for record in records]
    return World(frames, motion, sounds, truths, framed=style == "people")
