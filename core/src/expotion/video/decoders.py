"""Two decoders behind one interface: decord, and PyAV for what decord lacks or refuses.

`read` takes increasing frame indices in presentation order and gives each with its RGB frame, uint8 [H, W, 3],
rotation metadata applied; it raises Unsupported where one fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expotion import machine
from expotion.errors import MediaError, Problem
from expotion.video.container import decoded, open_container
from expotion.video.memory import Size, resize_frame
from expotion.video.scan import Scan

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_BATCH_BYTES = 8 * 1024**2
"""Frames that decord decodes in one call: its own buffers grow with a call's size and are not given back."""


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is to be shown: rows and columns exchanged, then reversed along x or y.

    All eight ways of a display matrix (ISO/IEC 14496-12, 6.2.2); an angle in between is taken as the nearest.
    """

    transposed: bool = False
    flipped_x: bool = False
    flipped_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """That of a decoded frame: x' = a x + c y, y' = b x + d y with [a b; c d] from its display matrix."""
        data: Any = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls()
        a, b, _, c, d, *_ = np.frombuffer(bytes(data), "=i4").tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    @property
    def mirrored(self) -> bool:
        """Whether no turn alone does it."""
        return self.transposed ^ self.flipped_x ^ self.flipped_y

    @property
    def rotation_deg(self) -> int:
        """Degrees to the left, 0 to 270, of the turn that follows the mirroring along x, where there is one."""
        x = self.flipped_x ^ self.mirrored
        return {(False, False): 0, (False, True): 180, (True, False): 90, (True, True): 270}[self.transposed, x]

    def shown(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A stored picture [H, W, 3] as it is shown."""
        if self == Orientation():
            return picture
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        step_y, step_x = (-1 if flipped else 1 for flipped in (self.flipped_y, self.flipped_x))
        return np.ascontiguousarray(picture[::step_y, ::step_x])


class Unsupported(Exception):
    """This decoder cannot be trusted with this file; another one should try."""


def decode_threads() -> int:
    """Decoder threads: OMP_NUM_THREADS where it is set, else up to 4."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else min(4, machine.cores())


class DecordDecoder:
    """decord, trusted only where it sees the same frames at the same times as the container's packets.

    `size` is (height, width) after rotation, as PyAV sees it; another size is refused.
    """

    name = "decord"

    def __init__(self, scan: Scan, size: tuple[int, int]) -> None:
        picture = scan.picture
        assert picture is not None
        self.size = size
        if picture.damage is not None or not picture.seekable:
            raise Unsupported(picture.damage or "frames without timestamps")
        if picture.bits > 8:
            raise Unsupported("decord converts more than 8 bits a sample coarsely")
        try:
            import decord  # noqa: PLC0415 - absent on some platforms

            decord.logging.set_level(decord.logging.QUIET)
            self._reader = decord.VideoReader(str(scan.path.resolve()), num_threads=decode_threads())
            n = len(self._reader)
            if n != len(picture.times_s):
                raise Unsupported(f"decord sees {n} frames, the container has {len(picture.times_s)}")
            stamps = np.asarray(self._reader.get_frame_timestamp(list(range(n))), dtype=np.float64)[:, 0]
            allowed_s = 1e-3 + 1e-6 * float(stamps[-1])
            if not np.allclose(np.diff(stamps), np.diff(picture.times_s), atol=allowed_s):
                raise Unsupported("decord reads other timestamps")
        except Unsupported:
            raise
        except Exception as error:  # decord raises its own and bare RuntimeErrors
            raise Unsupported(f"decord: {error}") from error

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Frames of increasing indices. At most 8 MiB of them are held at a time, at least one."""
        step = max(1, _BATCH_BYTES // (self.size[0] * self.size[1] * 3))
        for begin in range(0, len(indices), step):
            part = list(indices[begin : begin + step])
            try:
                frames = self._reader.get_batch(part).asnumpy()
            except Exception as error:
                raise Unsupported(f"decord: {error}") from error
            if frames.shape[1:3] != self.size:
                raise Unsupported(f"decord delivers {frames.shape[1:3]}, the stream is {self.size}")
            yield from zip(part, frames, strict=True)

    def close(self) -> None:
        """Free the file."""
        self._reader = None


class PyAvDecoder:
    """PyAV: seeks to the keyframe before a frame, or goes on from where it is when that is nearer."""

    name = "pyav"

    def __init__(self, scan: Scan) -> None:
        from av.video.reformatter import VideoReformatter  # noqa: PLC0415

        assert scan.picture is not None
        self._scan, self._picture = scan, scan.picture
        self._reformatter = VideoReformatter()  # one of a frame's own takes longer to prepare than to work
        self._keyframes = np.flatnonzero(scan.picture.keyframe)
        self._container: Any = None
        self._frames: Iterator[tuple[int, VideoFrame]] = iter(())
        self._next = 0
        self.resized = False
        """Whether a frame had another size than the first one and was scaled to it."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame that decodes; all others are scaled to it."""
        return self._first[0]

    @property
    def orientation(self) -> Orientation:
        """How the first frame that decodes is shown."""
        return self._first[1]

    @cached_property
    def _first(self) -> tuple[Size, Orientation]:
        _, frame = next(self._decode(0), (0, None))
        self.close()
        if frame is None:
            wanted, got = "a picture that can be decoded", "no frame decodes"
            raise MediaError(Problem(str(self._scan.path), wanted, got, "use another file"))
        way = Orientation.of(frame)
        return ((frame.width, frame.height) if way.transposed else (frame.height, frame.width)), way

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Frames of increasing indices."""
        _ = self.size  # looked up before a reading begins, which it would end
        for target in indices:
            yield target, self._rgb(self._find(target))

    def good_frames(self) -> NDArray[np.bool_]:
        """Decode everything once; bool [n], true where a frame came out intact."""
        good = np.zeros(len(self._picture.pts), np.bool_)
        for index, _ in self._decode(0):
            good[index] = True
        self.close()
        return good

    def close(self) -> None:
        """Free the file."""
        self._frames = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def _find(self, target: int) -> VideoFrame:
        position = int(np.searchsorted(self._keyframes, target, side="right")) - 1
        keyframe = int(self._keyframes[position]) if position >= 0 else 0
        starts = [keyframe if self._picture.seekable else 0, 0]
        if self._container is not None and self._next <= target and keyframe <= self._next:
            starts.insert(0, -1)
        for start in starts:
            if start >= 0:
                self._frames = self._decode(start)
            for index, frame in self._frames:
                self._next = index + 1
                if index == target:
                    return frame
                if index > target:
                    break
        raise Unsupported(f"frame {target} cannot be decoded")

    def _decode(self, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """Intact frames with their indices, from a keyframe on. Damaged packets are passed over."""
        import av  # noqa: PLC0415

        if self._container is not None:
            self._container.close()
        self._container = container = open_container(self._scan.path)
        stream = container.streams[self._picture.stream_index]
        context = stream.codec_context
        context.thread_type, context.thread_count = "AUTO", decode_threads()
        strict = self._picture.damage is not None
        if strict:
            context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        if start > 0:
            container.seek(int(self._picture.pts[start]), stream=stream, backward=True)
        for counted, frame in enumerate(decoded(container, stream)):
            assert isinstance(frame, av.VideoFrame)
            index = self._index(frame, counted)
            if index is not None and not (strict and frame.is_corrupt):
                yield index, frame

    def _index(self, frame: VideoFrame, counted: int) -> int | None:
        pts = self._picture.pts
        if not self._picture.seekable:
            return counted if counted < len(pts) else None
        if frame.pts is None:
            return None
        index = int(np.searchsorted(pts, frame.pts))
        return index if index < len(pts) and int(pts[index]) == frame.pts else None

    def _rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        # Colour at half resolution is repeated, not interpolated, as FFmpeg does it for 8 bits.
        way = "POINT" if self._picture.bits > 8 else None
        plain = self._reformatter.reformat(frame, format="rgb24", interpolation=way, threads=decode_threads())
        picture = Orientation.of(frame).shown(np.asarray(plain.to_ndarray(), dtype=np.uint8))
        self.resized |= picture.shape[:2] != self.size
        return resize_frame(picture, self.size)
