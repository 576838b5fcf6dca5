"""The picture stream of a file as frames by index: which decoder reads it, and what to show where it fails."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expotion.errors import MediaError, Problem
from expotion.video.container import Limits
from expotion.video.decoders import DecordDecoder, Orientation, PyAvDecoder, Unsupported
from expotion.video.memory import resize_frame, scaled_size
from expotion.video.scan import Picture, Scan

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
        self._pyav = PyAvDecoder(scan)
        self._decoder: DecordDecoder | PyAvDecoder | None = None
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
        return scaled_size(self._pyav.size, min(self._limits.work_shorter_side, *self._pyav.size))

    @property
    def changes_size(self) -> bool:
        """Whether frames read so far had several sizes; they were scaled to that of the first one."""
        return self._pyav.resized

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
        good = self._pyav.good_frames()
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
        (height, width), orientation = self._pyav.size, self._pyav.orientation
        # decord knows no mirrors, and no turns in matroska
        better = height * width > DECORD_PIXELS or orientation != Orientation()
        if self._asked == "pyav" or self.verified or orientation.mirrored or (self._asked == "auto" and better):
            return self._pyav
        try:
            return DecordDecoder(self._scan, self._pyav.size)
        except Unsupported as reason:
            if self._asked == "decord":
                fix = "use backend='auto', which falls back to PyAV"
                wanted = "a file that decord reads"
                raise MediaError(Problem(str(self._scan.path), wanted, str(reason), fix)) from None
            return self._pyav


# Decoding ahead: a thread that decodes the frames that come next while a model works on the present ones.

IDLE_S = 20.0
"""A thread whose frames nobody fetches for this long ends; the next frame that is asked for starts it again."""

Decode = Callable[[Sequence[int]], int]
"""Decodes these frames and returns the bytes that they take; called with `lock` held."""


class Ahead:
    """Decodes planned frames in order, at most `limit_bytes` ahead of what was taken.

    `lock` guards the decoder and the caches; whoever asks for a frame comes before the thread. A frame that
    cannot be decoded ends the plan: the one who asks for it meets the error.
    """

    def __init__(self, decode: Decode, limit_bytes: int) -> None:
        self.lock = threading.RLock()
        self._decode, self._limit_bytes, self._at_once = decode, limit_bytes, 1
        self._state = threading.Condition()
        self._plan: deque[int] = deque()
        self._held_bytes = 0
        self._asking = 0
        self._thread: threading.Thread | None = None

    def plan(self, indices: Sequence[int], *, at_once: int) -> None:
        """Replace the plan: frames in the order in which they will be asked for, `at_once` decoded in one go."""
        with self._state:
            self._plan, self._at_once = deque(indices), at_once

    def __enter__(self) -> None:
        """Take the decoder before the thread does."""
        with self._state:
            self._asking += 1
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()
        with self._state:
            self._asking -= 1
            self._state.notify_all()
        self._start()

    def taken(self, indices: Collection[int], n_bytes: int) -> None:
        """These frames need not be decoded any more, and so many bytes of what was decoded were fetched."""
        with self._state:
            self._held_bytes = max(0, self._held_bytes - n_bytes)
            while self._plan and self._plan[0] in indices:
                self._plan.popleft()

    def stop(self) -> None:
        """Forget the plan and wait for the thread to end."""
        with self._state:
            self._plan.clear()
            self._held_bytes = 0
            self._state.notify_all()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        with self._state:
            if self._plan and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="decode-ahead", daemon=True)
                self._thread.start()

    def _may_go_on(self) -> bool:
        return not self._plan or (self._asking == 0 and self._held_bytes < self._limit_bytes)

    def _run(self) -> None:
        while True:
            with self._state:
                if not self._state.wait_for(self._may_go_on, timeout=IDLE_S) or not self._plan:
                    self._thread = None
                    return
            with self.lock:
                with self._state:
                    part = [self._plan.popleft() for _ in range(min(self._at_once, len(self._plan)))]
                if not part:
                    continue
                try:
                    n_bytes = self._decode(part)
                except Exception:
                    with self._state:
                        self._plan.clear()
                    continue
                with self._state:
                    self._held_bytes += n_bytes
