"""The picture stream of a file as frames by index: which decoder reads it, and what to show where it fails."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expotion.data.decoders import DecordDecoder, PyAvDecoder, Unsupported
from expotion.data.limits import Limits
from expotion.data.memory import resize_frame, scaled_size
from expotion.data.scan import Picture, Scan
from expotion.errors import MediaError, Problem

Backend = Literal["auto", "decord", "pyav"]

DECORD_PIXELS = 854 * 480
"""Largest frames that are left to decord: it runs some 300 frames ahead of what is asked for, in memory that
nothing bounds (0.7 GB at 1280 x 720). PyAV gives the same pixels and holds one frame at a time."""


class PictureSource:
    """Frames of a scanned file, decoded by decord, or by PyAV where decord is absent or refuses the file.

    Frames have one size, that of the first one after rotation metadata, reduced to the limit of the working
    size. `until_s` (file time) is where frames stop decoding, infinity when none failed so far. Not safe
    under threads.
    """

    def __init__(self, scan: Scan, picture: Picture, backend: Backend, limits: Limits) -> None:
        self._scan, self._picture, self._asked, self._limits = scan, picture, backend, limits
        self._decoder: DecordDecoder | PyAvDecoder | None = None
        self._native_size: tuple[int, int] | None = None
        self._stands_for: NDArray[np.int64] | None = None
        self.until_s = math.inf
        self.decoded_frames = 0
        """Frames converted to RGB so far: a measure of how much work was repeated."""
        if picture.damage is not None:
            self.verify()

    @property
    def decoder(self) -> DecordDecoder | PyAvDecoder:
        """The decoder in use, opened when it is needed."""
        if self._decoder is None:
            self._decoder = self._choose()
        return self._decoder

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        if self._native_size is None:
            self._native_size = PyAvDecoder(self._scan).size
        height, width = self._native_size
        return scaled_size((height, width), min(self._limits.work_shorter_side, height, width))

    @property
    def changes_size(self) -> bool:
        """Whether frames read so far had several sizes; they were scaled to that of the first one."""
        return isinstance(self._decoder, PyAvDecoder) and self._decoder.resized

    @property
    def verified(self) -> bool:
        """Whether every frame was decoded once to see which can be."""
        return self._stands_for is not None

    def standing_for(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each frame the one to show: itself, or the last good one before it where it does not decode."""
        return indices if self._stands_for is None else self._stands_for[indices]

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """RGB frames uint8 [H, W, 3] of increasing indices. Raises Unsupported where one fails: see `verify`."""
        size = self.size
        for index, frame in self.decoder.read(indices):
            self.decoded_frames += 1
            yield index, resize_frame(frame, size)

    def verify(self) -> None:
        """Decode everything once. Frames that fail are from then on replaced by the last good one before them.

        Raises MediaError where no frame decodes, or where this was done before and a frame fails again.
        """
        where = str(self._scan.path)
        if self.verified:
            fix = "the file is damaged: repair it or encode it anew"
            raise MediaError(Problem(where, "frames that decode twice alike", None, fix))
        self.close()
        self._decoder = decoder = PyAvDecoder(self._scan)
        good = decoder.good_frames()
        if not bool(good.any()):
            fix = "the file is damaged or empty: copy or download it again"
            raise MediaError(Problem(where, "a picture that can be decoded", "no frame decodes", fix))
        last_good = np.maximum.accumulate(np.where(good, np.arange(len(good)), -1))
        self._stands_for = np.where(last_good >= 0, last_good, int(np.argmax(good))).astype(np.int64)
        picture, last = self._picture, int(np.flatnonzero(good)[-1])
        if last + 1 < len(good):
            self.until_s = float(picture.times_s[last + 1])
        elif picture.present_until_s < picture.end_s - 1.0 / picture.fps:
            self.until_s = picture.present_until_s

    def close(self) -> None:
        """Free the file; it is opened again when a frame is read."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _choose(self) -> DecordDecoder | PyAvDecoder:
        fallback = PyAvDecoder(self._scan)
        height, width = fallback.size
        too_large = self._asked == "auto" and height * width > DECORD_PIXELS
        if self._asked == "pyav" or self.verified or too_large:
            return fallback
        try:
            return DecordDecoder(self._scan, fallback.size)
        except Unsupported as reason:
            if self._asked == "decord":
                fix = "use backend='auto', which falls back to PyAV"
                wanted = "a file that decord reads"
                raise MediaError(Problem(str(self._scan.path), wanted, str(reason), fix)) from None
            return fallback
