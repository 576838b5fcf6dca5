"""Frames of a video file by time: the reader behind every clip with a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.errors import MediaError, Problem
from expotion.video.container import DEFAULT_LIMITS, Limits
from expotion.video.decoders import Unsupported
from expotion.video.memory import Frame, FrameCache, Size, resize_frame, scaled_size
from expotion.video.read import Ahead, Backend, PictureSource
from expotion.video.scan import Picture, Scan, scan

CACHE_BYTES = 256 * 1024**2
"""Decoded frames that a reader keeps, those decoded ahead included. Its peak memory is this, one decoding batch
(8 MiB, at least one frame at the file's own size) and the array that is returned."""

AHEAD_PART = 4
"""A quarter of the cache may hold frames that were decoded ahead and not fetched yet."""

MAX_RESULT_BYTES = 4 * 1024**3
"""Largest array that one call of `frames_at` returns."""

_AT_ONCE_BYTES = 8 * 1024**2
"""Whoever asks for a frame waits at most until so many bytes are decoded ahead."""

_ROUNDING_S = 0.0005
"""mkv and webm round timestamps to 1 ms; a frame up to half of that later than asked for counts as shown."""


class FileVideo:
    """A stretch of a video file as a `contracts.Video`.

    `start_s` and `duration_s` are seconds of the file (default: all of it); all times that this object
    takes and gives count from `start_s`. decord decodes by default; PyAV takes over where decord is absent,
    refuses the file, or the stream is damaged. Frames come in the size after rotation metadata, reduced to
    `limits.work_shorter_side` where larger. Safe under threads, one of which decodes at a time.

    Raises MediaError where the file has no picture, fewer than `n_least` frames in the window, or breaks a limit.
    """

    def __init__(
        self,
        path: Path | str,
        start_s: float = 0.0,
        duration_s: float | None = None,
        *,
        backend: Backend = "auto",
        cache_bytes: int = CACHE_BYTES,
        limits: Limits = DEFAULT_LIMITS,
        scanned: Scan | None = None,
        n_least: int = 2,
    ) -> None:
        self.path = Path(path)
        source = scanned or scan(self.path, limits)
        picture = source.picture
        if picture is None:
            fix = "give a file with a picture"
            raise MediaError(Problem(str(path), "a video", "a file with sound only", fix))
        self._picture: Picture = picture
        self._start_s = start_s
        end_s = picture.end_s if duration_s is None else start_s + duration_s
        self.duration_s = end_s - start_s
        inside = (picture.times_s >= start_s - timeline.EPSILON_S) & (picture.times_s < end_s - timeline.EPSILON_S)
        self._first = int(np.argmax(inside))
        self._times_s = np.maximum(picture.times_s[inside] - start_s, 0.0)
        if len(self._times_s) < n_least:
            got = f"{len(self._times_s)} frame(s) between {start_s:.2f} s and {end_s:.2f} s"
            fix = "a single picture has no movement: give a video, or another start and duration"
            raise MediaError(Problem(str(path), "a video of at least two frames", got, fix))
        self._source = PictureSource(source, picture, backend, limits)
        self._sizes: list[int | None] = []
        self._cache = FrameCache(cache_bytes)
        self._coming: dict[int, int] = {}
        self._ahead = Ahead(self._decode_ahead, cache_bytes // AHEAD_PART)

    @property
    def backend(self) -> str:
        """Name of the decoder in use: decord or pyav."""
        return self._source.decoder.name

    @property
    def damage(self) -> str | None:
        """What is wrong with the stream, or None."""
        return self._picture.damage

    @property
    def changes_size(self) -> bool:
        """Whether frames read so far had several sizes; they were scaled to that of the first one."""
        return self._source.changes_size

    @property
    def frame_times_s(self) -> NDArray[np.float64]:
        """Presentation time of every frame, float64 [n], strictly increasing."""
        return self._times_s

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of delivered frames: after rotation, reduced to the limit of the working size."""
        with self._ahead:  # the first frame is decoded for it
            return self._source.size

    @property
    def decodable_until_s(self) -> float:
        """Frames at and after this time could not be decoded; infinity when none failed so far.

        Known from the start where the container shows damage, else found while decoding.
        """
        until_s = self._source.until_s - self._start_s
        return max(0.0, until_s) if until_s < self.duration_s else math.inf

    @property
    def decoded_frames(self) -> int:
        """Frames converted to RGB so far: a measure of how much work was repeated."""
        return self._source.decoded_frames

    @property
    def cached_bytes(self) -> int:
        """Memory held by decoded frames, fetched or not; at most the reader's cache size."""
        return self._cache.n_bytes

    def request_sizes(self, *shorter_sides: int | None) -> None:
        """Announce sizes that will be asked for: a frame is then scaled to all of them when it is decoded."""
        for side in shorter_sides:
            if side not in self._sizes:
                self._sizes.append(side)

    def read_ahead(self, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> None:
        """Decode in the background what `frames_at` will be asked for, in this order: `contracts.read_ahead`.

        Replaces what was announced before. At most a quarter of the cache holds frames not fetched yet.
        """
        size = scaled_size(self.size, shorter_side)
        self.request_sizes(shorter_side)
        frame_bytes = 3 * self.size[0] * self.size[1]
        with self._ahead:
            order = dict.fromkeys(self._indices(times_s).tolist())
            for index in [index for index in self._coming if index not in order]:
                self._ahead.taken((), self._take(index))
            if 2 * frame_bytes > self._cache.limit_bytes // AHEAD_PART:
                return
            plan = [index for index in order if index not in self._coming and not self._has(index, size)]
            at_once_bytes = min(_AT_ONCE_BYTES, self._cache.limit_bytes // (2 * AHEAD_PART))
            self._ahead.plan(plan, at_once=max(1, at_once_bytes // frame_bytes))

    def frames_at(self, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> Frame:
        """RGB frames shown at these times, uint8 [m, H, W, 3]; see `contracts.Video`.

        Raises MediaError where the result would exceed 4 GiB.
        """
        size = scaled_size(self.size, shorter_side)
        if len(times_s) * size[0] * size[1] * 3 > MAX_RESULT_BYTES:
            got = f"{len(times_s)} frames of {size[1]} x {size[0]}"
            fix = "ask in smaller batches"
            raise MediaError(Problem(str(self.path), "at most 4 GiB of frames at once", got, fix))
        self.request_sizes(shorter_side)
        with self._ahead:
            try:
                return self._gather(self._indices(times_s), size)
            except Unsupported:
                self._source.verify()
                return self.frames_at(times_s, shorter_side=shorter_side)

    def close(self) -> None:
        """Free decoded frames and the file handle; the reader can still be used."""
        self._ahead.stop()
        with self._ahead:
            self._cache.clear()
            self._coming.clear()
            self._source.close()

    def _indices(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Indices in the file of the frames shown at these times, damaged ones replaced."""
        asked_s = np.asarray(times_s, dtype=np.float64) + _ROUNDING_S
        return self._source.standing_for(timeline.shown_at(self._times_s, asked_s) + self._first)

    def _gather(self, wanted: NDArray[np.int64], size: Size) -> Frame:
        """Frames of these indices of the file at one size: decoded ahead, kept, or decoded now."""
        out = np.empty((len(wanted), *size, 3), np.uint8)
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(wanted.tolist()):
            rows.setdefault(index, []).append(row)
        missing, fetched = [], 0
        for index in sorted(rows):
            fetched += self._take(index)
            frame = self._recall(index, size)
            if frame is None:
                missing.append(index)
            else:
                out[rows[index]] = frame
        self._ahead.taken(rows, fetched)
        for index, frames in self._decode(missing):
            out[rows[index]] = frames[size]
            self._keep(index, frames)
        return out

    def _decode(self, indices: Sequence[int]) -> Iterator[tuple[int, dict[Size, Frame]]]:
        """Decode these frames and scale them to every size asked for so far."""
        work = self.size
        sizes = {scaled_size(work, side) for side in self._sizes}
        if len(self._times_s) * work[0] * work[1] * 3 <= self._cache.limit_bytes // 2:
            sizes.add(work)  # the whole clip fits: a size that is asked for later needs no decoding
        for index, full in self._source.read(indices):
            scaled = {size: resize_frame(full, size) for size in sizes}
            yield index, scaled

    def _decode_ahead(self, indices: Sequence[int]) -> int:
        """Decode frames that will be asked for soon; returns their bytes."""
        n_bytes = 0
        for index, frames in self._decode(indices):
            for frame in frames.values():
                self._cache.put(index, frame, pinned=True)
            self._coming[index] = sum(frame.nbytes for frame in frames.values())
            n_bytes += self._coming[index]
        return n_bytes

    def _take(self, index: int) -> int:
        """What was decoded ahead of a frame is from now on kept like any other; returns its bytes."""
        self._cache.unpin(index)
        return self._coming.pop(index, 0)

    def _has(self, index: int, size: Size) -> bool:
        return self._cache.get(index, size) is not None or self._cache.get(index, self.size) is not None

    def _recall(self, index: int, size: Size) -> Frame | None:
        frame = self._cache.get(index, size)
        if frame is None:
            full = self._cache.get(index, self.size)
            if full is not None:
                frame = resize_frame(full, size)
                self._keep(index, {size: frame})
        return frame

    def _keep(self, index: int, frames: Mapping[Size, Frame]) -> None:
        for frame in frames.values():
            self._cache.put(index, frame)
