"""Frames of a video file by time: the reader behind every clip with a picture."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.data.decoders import DecordDecoder, PyAvDecoder, Unsupported
from expotion.data.limits import DEFAULT_LIMITS, Limits
from expotion.data.memory import resize_frame, scaled_size
from expotion.data.scan import Picture, Scan, scan
from expotion.errors import MediaError, Problem

Backend = Literal["auto", "decord", "pyav"]

CACHE_BYTES = 256 * 1024**2
"""Decoded frames that a reader keeps. Its peak memory is this, one decoding batch (64 MiB, at least one
frame at the file's own size) and the array that is returned."""

MAX_RESULT_BYTES = 4 * 1024**3
"""Largest array that one call of `frames_at` returns."""


_ROUNDING_S = 0.0005
"""mkv and webm round timestamps to 1 ms; a frame up to half of that later than asked for counts as shown."""


class FileVideo:
    """A stretch of a video file as a `contracts.Video`.

    `start_s` and `duration_s` are seconds of the file (default: all of it); all times that this object
    takes and gives count from `start_s`. decord decodes by default; PyAV takes over where decord is absent,
    refuses the file, or the stream is damaged. Frames come in the size after rotation metadata, reduced to
    `limits.work_shorter_side` where larger. Not for concurrent use by several threads.

    Raises MediaError where the file has no picture, fewer than two frames in the window, or breaks a limit.
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
    ) -> None:
        self.path = Path(path)
        self._scan = scanned or scan(self.path, limits)
        picture = self._scan.picture
        if picture is None:
            fix = "give a file with a picture"
            raise MediaError(Problem(str(path), "a video", "a file with sound only", fix))
        self._picture: Picture = picture
        self._start_s, self._cache_bytes, self._asked, self._limits = start_s, cache_bytes, backend, limits
        end_s = picture.end_s if duration_s is None else start_s + duration_s
        self.duration_s = end_s - start_s
        inside = (picture.times_s >= start_s - timeline.EPSILON_S) & (
            picture.times_s < end_s - timeline.EPSILON_S
        )
        self._first = int(np.argmax(inside))
        self._times_s = np.maximum(picture.times_s[inside] - start_s, 0.0)
        if len(self._times_s) < 2:
            got = f"{len(self._times_s)} frame(s) between {start_s:.2f} s and {end_s:.2f} s"
            fix = "a single picture has no movement: give a video, or another start and duration"
            raise MediaError(Problem(str(path), "a video of at least two frames", got, fix))
        self._source: NDArray[np.int64] | None = None
        self._sizes: list[int | None] = []
        self._cache: OrderedDict[tuple[int, tuple[int, int]], NDArray[np.uint8]] = OrderedDict()
        self._cached_bytes = 0
        self._until_s = math.inf
        self.decoded_frames = 0
        """Frames converted to RGB so far: a measure of how much work was repeated."""
        self._decoder: DecordDecoder | PyAvDecoder | None = None
        self._native_size: tuple[int, int] | None = None
        if picture.damage is not None:
            self._verify()

    @property
    def backend(self) -> str:
        """Name of the decoder in use: decord or pyav."""
        return self._open().name

    @property
    def damage(self) -> str | None:
        """What is wrong with the stream, or None."""
        return self._picture.damage

    @property
    def frame_times_s(self) -> NDArray[np.float64]:
        """Presentation time of every frame, float64 [n], strictly increasing."""
        return self._times_s

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of delivered frames: after rotation, reduced to the limit of the working size."""
        if self._native_size is None:
            self._native_size = PyAvDecoder(self._scan).size
        height, width = self._native_size
        return scaled_size((height, width), min(self._limits.work_shorter_side, height, width))

    @property
    def decodable_until_s(self) -> float:
        """Frames at and after this time could not be decoded; infinity when none failed so far.

        Known from the start where the container shows damage, else found while decoding.
        """
        return self._until_s

    @property
    def cached_bytes(self) -> int:
        """Memory held by decoded frames; at most the reader's cache size."""
        return self._cached_bytes

    def request_sizes(self, *shorter_sides: int | None) -> None:
        """Announce sizes that will be asked for: a frame is then scaled to all of them when it is decoded."""
        for side in shorter_sides:
            if side not in self._sizes:
                self._sizes.append(side)

    def frames_at(
        self, times_s: NDArray[np.float64], *, shorter_side: int | None = None
    ) -> NDArray[np.uint8]:
        """RGB frames shown at these times, uint8 [m, H, W, 3]; see `contracts.Video`.

        Raises MediaError where the result would exceed 4 GiB.
        """
        size = scaled_size(self.size, shorter_side)
        wanted = self._indices(times_s)
        if len(wanted) * size[0] * size[1] * 3 > MAX_RESULT_BYTES:
            got = f"{len(wanted)} frames of {size[1]} x {size[0]}"
            raise MediaError(
                Problem(str(self.path), "at most 4 GiB of frames at once", got, "ask in smaller batches")
            )
        self.request_sizes(shorter_side)
        out = np.empty((len(wanted), *size, 3), np.uint8)
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(wanted.tolist()):
            rows.setdefault(index, []).append(row)
        missing = []
        for index in sorted(rows):
            frame = self._recall(index, size)
            if frame is None:
                missing.append(index)
            else:
                out[rows[index]] = frame
        try:
            for index, frame in self._decode(missing, size):
                out[rows[index]] = frame
        except Unsupported:
            if self._source is not None:
                fix = "the file is damaged: repair it or encode it anew"
                raise MediaError(
                    Problem(str(self.path), "frames that decode twice alike", None, fix)
                ) from None
            self._verify()
            return self.frames_at(times_s, shorter_side=shorter_side)
        return out

    def close(self) -> None:
        """Free decoded frames and the file handle; the reader can still be used."""
        self._cache.clear()
        self._cached_bytes = 0
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _open(self) -> DecordDecoder | PyAvDecoder:
        if self._decoder is None:
            self._decoder = self._choose()
        return self._decoder

    def _choose(self) -> DecordDecoder | PyAvDecoder:
        fallback = PyAvDecoder(self._scan)
        if self._asked == "pyav" or self._source is not None:
            return fallback
        try:
            return DecordDecoder(self._scan, fallback.size)
        except Unsupported as reason:
            if self._asked == "decord":
                fix = "use backend='auto', which falls back to PyAV"
                raise MediaError(
                    Problem(str(self.path), "a file that decord reads", str(reason), fix)
                ) from None
            return fallback

    def _verify(self) -> None:
        """Find out which frames decode, and map every other one to the last good one before it."""
        if self._decoder is not None:
            self._decoder.close()
        self._decoder = decoder = PyAvDecoder(self._scan)
        good = decoder.good_frames()
        if not bool(good.any()):
            fix = "the file is damaged or empty: copy or download it again"
            raise MediaError(
                Problem(str(self.path), "a picture that can be decoded", "no frame decodes", fix)
            )
        last_good = np.maximum.accumulate(np.where(good, np.arange(len(good)), -1))
        self._source = np.where(last_good >= 0, last_good, int(np.argmax(good))).astype(np.int64)
        last = int(np.flatnonzero(good)[-1])
        if last + 1 < len(good):
            until_s = float(self._picture.times_s[last + 1])
        elif self._picture.present_until_s < self._picture.end_s - 1.0 / self._picture.fps:
            until_s = self._picture.present_until_s
        else:
            return
        if until_s - self._start_s < self.duration_s:
            self._until_s = max(0.0, until_s - self._start_s)

    def _indices(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Indices in the file of the frames shown at these times, damaged ones replaced."""
        asked_s = np.asarray(times_s, dtype=np.float64) + _ROUNDING_S
        index = timeline.shown_at(self._times_s, asked_s) + self._first
        return index if self._source is None else self._source[index]

    def _decode(
        self, indices: Iterable[int], size: tuple[int, int]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decode these frames, scale them to every size asked for so far, keep them, and give one size."""
        work = self.size
        sizes = {scaled_size(work, side) for side in self._sizes}
        if len(self._times_s) * work[0] * work[1] * 3 <= self._cache_bytes // 2:
            sizes.add(work)  # the whole clip fits: a size that is asked for later needs no decoding
        for index, full in self._open().read(list(indices)):
            self.decoded_frames += 1
            base = resize_frame(full, work)
            for other in sizes:
                frame = resize_frame(base, other)
                self._keep(index, frame.copy() if frame.base is not None else frame)
                if other == size:
                    yield index, frame

    def _recall(self, index: int, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        frame = self._cache.get((index, size))
        if frame is not None:
            self._cache.move_to_end((index, size))
            return frame
        full = self._cache.get((index, self.size))
        if full is None:
            return None
        frame = resize_frame(full, size)
        self._keep(index, frame)
        return frame

    def _keep(self, index: int, frame: NDArray[np.uint8]) -> None:
        key = (index, (frame.shape[0], frame.shape[1]))
        if key in self._cache or frame.nbytes > self._cache_bytes:
            return
        self._cache[key] = frame
        self._cached_bytes += frame.nbytes
        while self._cached_bytes > self._cache_bytes:
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= dropped.nbytes
