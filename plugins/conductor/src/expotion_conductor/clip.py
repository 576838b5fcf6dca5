"""A clip of the conductor world: picture, sound, caption and truth, made when asked for.

Nothing is stored. Frames are drawn on request and the last ones kept in a cache that all clips share; sound
is synthesised anew each time.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, Truth
from expotion.errors import ExpotionError
from expotion_conductor.figure import Figure
from expotion_conductor.plan import Plan
from expotion_conductor.scene import Scene
from expotion_conductor.sensors import SensorFiles

if TYPE_CHECKING:
    from expotion_conductor.people.mover import Mover

WORLD_VERSION = 1
"""Part of every content hash: raise it when the same plan gives other pictures or sounds."""

DEFAULT_SIZE_PX = 192
SIZE_RANGE_PX = (64, 1024)
CACHE_BYTES = 64 * 2**20
"""Drawn frames kept in memory, all clips together (about 600 at the default size)."""

TIME_TOLERANCE_S = 1e-6
"""A frame counts as shown this much before its timestamp, so that rounding never picks its predecessor."""

FRAME_RATES_HZ = (24.0, 25.0, 30000 / 1001, 30.0)

Image = NDArray[np.uint8]


def frame_times(seed: int, duration_s: float) -> NDArray[np.float64]:
    """Timestamps of a clip's frames [n] from 0 on: 24, 25, 29.97 or 30 fps, or (one in ten) variable.

    A variable rate switches between 1/30, 1/25 and 1/20 s from frame to frame, as telephones record in poor
    light.
    """
    rng = np.random.default_rng([seed, 5])
    kind = float(rng.random())
    if kind < 0.1:
        steps_s = rng.choice([1 / 30, 1 / 25, 1 / 20], int(duration_s * 30) + 2)
        times_s = np.concatenate([[0.0], np.cumsum(steps_s)])
    else:
        rate_hz = FRAME_RATES_HZ[int(rng.integers(len(FRAME_RATES_HZ)))]
        times_s = np.arange(int(duration_s * rate_hz) + 2) / rate_hz
    return np.asarray(times_s[times_s < duration_s])


class _FrameCache:
    """The most recently used frames of all clips, bounded in bytes; safe under threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._frames: OrderedDict[tuple[object, int], Image] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, owner: object, index: int) -> Image | None:
        with self._lock:
            frame = self._frames.get((owner, index))
            if frame is not None:
                self._frames.move_to_end((owner, index))
            return frame

    def put(self, owner: object, index: int, frame: Image) -> None:
        with self._lock:
            if (owner, index) in self._frames:
                return
            self._frames[owner, index] = frame
            self._bytes += frame.nbytes
            while self._bytes > self._limit_bytes and len(self._frames) > 1:
                self._bytes -= self._frames.popitem(last=False)[1].nbytes

    def drop(self, owner: object) -> None:
        with self._lock:
            for key in [key for key in self._frames if key[0] == owner]:
                self._bytes -= self._frames.pop(key).nbytes


_CACHE = _FrameCache(CACHE_BYTES)


class ConductorVideo:
    """The picture of a plan as `contracts.Video`; square, `size_px` pixels a side, every frame decodable."""

    def __init__(self, plan: Plan, frame_times_s: NDArray[np.float64], size_px: int) -> None:
        self._plan = plan
        self._frame_times_s = frame_times_s
        self._size_px = size_px
        self._owner = object()  # key in the shared cache; a copy in another process gets its own

    @cached_property
    def _scene(self) -> Scene:
        if self._plan.people:
            from expotion_conductor.people.scene import PeopleScene  # noqa: PLC0415 - only where there are people

            return PeopleScene(self._plan, self._size_px)
        return Scene(self._plan, self._size_px)

    @property
    def frame_times_s(self) -> NDArray[np.float64]:
        """Timestamps of the frames [n] in seconds from the clip's start."""
        return self._frame_times_s

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._size_px, self._size_px

    @property
    def decodable_until_s(self) -> float:
        """Infinity: a drawn picture never breaks off."""
        return float("inf")

    @property
    def figure(self) -> Figure:
        """The true motion: `joints(times_s)`, `face_boxes(times_s)` in pixels of the full-size frame."""
        figure = self._scene.figure
        assert isinstance(figure, Figure), "people have a mover"
        return figure

    @property
    def mover(self) -> Mover:
        """The true motion of whom a clip of people is about."""
        from expotion_conductor.people.mover import Mover  # noqa: PLC0415

        mover = self._scene.figure
        assert isinstance(mover, Mover), "a conductor has a figure"
        return mover

    def frames_at(self, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> Image:
        """RGB frames shown at `times_s` [m]: uint8 [m, H, W, 3], scaled by area averaging if asked.

        The frame of a time is the last one whose timestamp is not later; before the first frame, the first.
        """
        times_s = np.asarray(times_s, dtype=np.float64).reshape(-1)
        found = np.searchsorted(self._frame_times_s, times_s + TIME_TOLERANCE_S, side="right") - 1
        indices = np.clip(found, 0, len(self._frame_times_s) - 1)
        side = self._size_px if shorter_side is None else shorter_side
        if side < 1:
            raise ExpotionError(f"shorter_side must be at least 1 pixel, got {side}")
        result = np.empty((len(indices), side, side, 3), np.uint8)
        wanted, places = np.unique(indices, return_inverse=True)
        chunk = 64
        for start in range(0, len(wanted), chunk):
            part = wanted[start : start + chunk]
            for offset, frame in enumerate(self._frames(part)):
                result[places == start + offset] = _scaled(frame, side)
        return result

    def iter_frames(self, chunk: int = 64) -> Iterator[tuple[float, Image]]:
        """Every frame in order as (time in seconds, uint8 [H, W, 3]), at most `chunk` in memory at a time."""
        for start in range(0, len(self._frame_times_s), chunk):
            part = np.arange(start, min(start + chunk, len(self._frame_times_s)))
            yield from zip(self._frame_times_s[part].tolist(), self._frames(part), strict=True)

    def release(self) -> None:
        """Free this clip's frames and layers; asking again draws them again."""
        _CACHE.drop(self._owner)
        vars(self).pop("_scene", None)

    def _frames(self, indices: NDArray[np.int64]) -> list[Image]:
        """Full-size frames by number, from the cache where possible."""
        cached = [_CACHE.get(self._owner, int(index)) for index in indices]
        missing = [int(index) for index, frame in zip(indices, cached, strict=True) if frame is None]
        drawn = iter(self._scene.draw(self._frame_times_s[missing]) if missing else ())
        frames: list[Image] = []
        for index, known in zip(indices, cached, strict=True):
            if known is not None:
                frames.append(known)
                continue
            frame: Image = next(drawn).copy()  # its own memory, so that the cache frees frame by frame
            frame.flags.writeable = False
            _CACHE.put(self._owner, int(index), frame)
            frames.append(frame)
        return frames


def _scaled(frame: Image, side: int) -> Image:
    if side == frame.shape[0]:
        return frame
    import cv2  # noqa: PLC0415 - only where frames are scaled

    method = cv2.INTER_AREA if side < frame.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (side, side), interpolation=method), dtype=np.uint8)


class ConductorClip(Clip):
    """One clip of the world.

    `frame_times_s` overrides the timestamps (strictly increasing, from 0), so that one motion can be seen at
    any frame rate; `size_px` is the side of the square picture; with `sensors` the clip has the files of
    `expotion_conductor.sensors`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        frame_times_s: NDArray[np.float64] | None = None,
        size_px: int = DEFAULT_SIZE_PX,
        sensors: bool = False,
    ) -> None:
        if not SIZE_RANGE_PX[0] <= size_px <= SIZE_RANGE_PX[1]:
            raise ExpotionError(f"size_px must lie in {SIZE_RANGE_PX[0]}..{SIZE_RANGE_PX[1]}, got {size_px}")
        if frame_times_s is None and plan.people:
            frame_times_s = plan.people.frame_times_s
        elif frame_times_s is None:
            frame_times_s = frame_times(plan.person_seed, plan.duration_s)
        frame_times_s = np.array(frame_times_s, dtype=np.float64)
        if len(frame_times_s) == 0 or frame_times_s[0] < 0 or bool(np.any(np.diff(frame_times_s) <= 0)):
            raise ExpotionError("frame_times_s must hold at least one time, from 0 upwards, strictly increasing")
        frame_times_s.flags.writeable = False
        self.plan = plan
        style = "people" if plan.people else "band" if plan.piece else "conductor"
        self.id = f"{style}-{plan.seed}" + (f"-{plan.variant}" if plan.variant else "")
        self.duration_s = plan.duration_s
        self.caption = plan.caption
        self.path = None
        self.tracks: Mapping[str, Path] = SensorFiles(plan) if sensors else {}
        self._video = ConductorVideo(plan, frame_times_s, size_px)

    @cached_property
    def truth(self) -> Truth:  # type: ignore[override] # composed when it is first asked for
        """Beats and intensity; of a band's clip also valence, tempo curve, notes, joints, and where bars begin."""
        plan, piece = self.plan, self.plan.piece
        if plan.people:
            from expotion_conductor.people.truth import truth_of  # noqa: PLC0415 - only where there are people

            return truth_of(plan, self._video.mover, self._video.frame_times_s)
        changes = bool(plan.variant) or (piece is not None and not piece.steady)
        return Truth(
            beats_s=plan.beats_s,
            intensity_times_s=plan.intensity_times_s,
            intensity=plan.intensity,
            tempo_bpm=None if changes else plan.tempo_bpm,
            ictus_s=plan.beats_s,
            tempo_curve_bpm=piece.tempo_curve_bpm if piece else None,
            valence=piece.valence if piece else None,
            notes=piece.notes if piece else None,
            landmarks=self.figure.joints(plan.intensity_times_s) if piece else None,
            events_s=piece.events_s if piece else None,
            traits=plan.traits,
        )

    @property
    def content_hash(self) -> str:
        """SHA-256 of the world's version, the whole plan, the picture's size and its timestamps.

        Times count in microseconds and the intensity in 1/10000, so that the last bits of another machine's
        arithmetic do not matter.
        """
        plan, video = self.plan, self._video
        what = (
            f"conductor world {WORLD_VERSION}, seeds {plan.seed} {plan.music_seed} {plan.person_seed}, "
            f"{plan.duration_s:.6f} s, {plan.tempo_bpm:.6f} bpm in {plan.beats_per_bar}, {plan.timbre}, "
            f"{plan.mood}, {plan.caption}, {video.size[0]} px"
        )
        digest = hashlib.sha256(what.encode())
        if plan.variant:
            digest.update(f", {plan.variant}".encode())
        if plan.piece:
            from expotion_conductor.band.render import fingerprint  # noqa: PLC0415 - only where a band plays

            digest.update(fingerprint(plan.piece).encode())
        if plan.people:
            digest.update(plan.people.described.encode())
        digest.update(plan.beat_in_bar.astype("<i8").tobytes())
        for values, per_unit in ((plan.beats_s, 1e6), (plan.intensity, 1e4), (video.frame_times_s, 1e6)):
            digest.update(np.rint(values * per_unit).astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def video(self) -> ConductorVideo:
        """The picture; frames are drawn when they are asked for."""
        return self._video

    @property
    def figure(self) -> Figure:
        """The true motion of the body and the true place of the face."""
        return self._video.figure

    def audio(self, sample_rate_hz: int) -> NDArray[np.float32]:
        """The music, mono float32 [round(duration_s * sample_rate_hz)]; the world plays at 32 kHz."""
        from expotion_conductor.music import render_music  # noqa: PLC0415 - only where sound is wanted
        from expotion_conductor.music_bank import SAMPLE_RATE_HZ  # noqa: PLC0415

        if self.plan.piece:
            from expotion_conductor.band.render import render_piece  # noqa: PLC0415 - only where a band plays

            samples = render_piece(self.plan.piece)
        else:
            samples = np.asarray(render_music(self.plan), dtype=np.float32)
        if sample_rate_hz == SAMPLE_RATE_HZ:
            return samples
        return _resampled(samples, SAMPLE_RATE_HZ, sample_rate_hz, self.duration_s)

    def close(self) -> None:
        """Free drawn frames and layers."""
        self._video.release()


def _resampled(samples: NDArray[np.float32], from_hz: int, to_hz: int, duration_s: float) -> NDArray[np.float32]:
    from math import gcd  # noqa: PLC0415 - beside scipy, which is slow to import

    from scipy.signal import resample_poly  # noqa: PLC0415

    if to_hz < 1:
        raise ExpotionError(f"sample_rate_hz must be at least 1, got {to_hz}")
    common = gcd(from_hz, to_hz)
    n_samples = round(duration_s * to_hz)
    changed = np.asarray(resample_poly(samples, to_hz // common, from_hz // common), dtype=np.float32)
    return np.pad(changed, (0, max(0, n_samples - len(changed))))[:n_samples]
