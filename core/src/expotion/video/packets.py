"""What the packets of a file say without being decoded: times, sizes, keyframes, and damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.container import InputContainer

_RESTART_S = 0.2
"""Decoding times that go back by more start again: files put one behind the other."""

MISSING = -(2**63)
"""A time that a packet does not have."""

_H264_SPS, _HEVC_SPS = 7, 33


@dataclass(frozen=True)
class Packets:
    """A video stream's packets as they lie in the file: what copying them needs.

    `pts` and `dts` int64 [n] in ticks of `tick_s` (dts: MISSING where the file says none), `sizes` int64 [n] in
    bytes, `hidden` bool [n] for those that an edit list hides. `framed` is false where a container may rewrite what
    is in a packet (start codes become lengths).
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    tick_s: float
    starts_with_keyframe: bool
    framed: bool


@dataclass
class PacketLog:
    """What was read of one stream's packets, in the order of the file."""

    tick_s: float
    pts: list[int] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    keyframe: list[bool] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)
    timed: bool = True
    restarted: bool = False
    damage: str | None = None
    shift: int = 0

    def add(self, packet: Any) -> None:
        """Note a packet. Times that start again are carried on from where they were."""
        tick = packet.pts
        if tick is None:
            self.timed = False
            tick = packet.dts if packet.dts is not None else len(self.pts) - self.shift
        if packet.dts is not None and self.dts and self.dts[-1] != MISSING:
            step = packet.dts + self.shift - self.dts[-1]
            if step * self.tick_s < -_RESTART_S:
                self.restarted = True
                self.shift += max(1, self.durations[-1]) - step
        self.pts.append(tick + self.shift)
        self.dts.append(MISSING if packet.dts is None else packet.dts + self.shift)
        self.sizes.append(packet.size)
        self.durations.append(packet.duration or 0)
        self.keyframe.append(packet.is_keyframe)
        self.hidden.append(packet.is_discard)

    def span(self) -> tuple[int, int]:
        """(first, last) tick of what is presented; (0, 0) for nothing."""
        ends = [tick + lasts for tick, lasts in zip(self.pts, self.durations, strict=True)]
        return (min(self.pts), max(ends)) if ends else (0, 0)


def read_packets(container: InputContainer, streams: Sequence[Any]) -> dict[int, PacketLog]:
    """What the packets of these streams say, by index."""
    import av  # noqa: PLC0415

    logs = {stream.index: PacketLog(float(stream.time_base)) for stream in streams}
    if not streams:
        return logs
    checks = {
        s.index: NalCheck(s.codec_context.name, s.codec_context.extradata) for s in streams if s.type == "video"
    }
    try:
        for packet in container.demux(streams):
            if packet.size == 0:
                continue
            log = logs[packet.stream.index]
            if packet.stream.index in checks and log.damage is None:
                cut = "a packet is cut off" if packet.is_corrupt else None
                log.damage = cut or checks[packet.stream.index].problem(packet)
            log.add(packet)
    except av.FFmpegError as error:
        for log in logs.values():
            log.damage = log.damage or f"reading stops early ({error.strerror})"
    return logs


class NalCheck:
    """Checks that length-prefixed units fill each packet exactly (ISO/IEC 14496-15, 4.3.3).

    Overwritten bytes break the chain of lengths nearly always. A parameter set inside the stream that
    differs from the one before means that the frame size may change. Other codecs are not looked at.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._length_bytes = 0
        self._hevc = codec == "hevc"
        self._parameters: bytes | None = None
        if not extradata or extradata[0] != 1:
            return
        if codec == "h264" and len(extradata) > 6:
            self._length_bytes = (extradata[4] & 3) + 1
        elif self._hevc and len(extradata) > 22:
            self._length_bytes = (extradata[21] & 3) + 1

    def problem(self, packet: Any) -> str | None:
        """What is wrong with a packet, or None."""
        n = self._length_bytes
        if n == 0:
            return None
        data = memoryview(packet)
        position = 0
        while position < len(data):
            length = int.from_bytes(data[position : position + n], "big")
            begin, position = position + n, position + n + length
            if length == 0 or position > len(data) or data[begin] & 0x80:
                return "a packet holds damaged bytes"
            kind = (data[begin] >> 1) & 0x3F if self._hevc else data[begin] & 0x1F
            if kind == (_HEVC_SPS if self._hevc else _H264_SPS):
                unit = bytes(data[begin:position])
                if self._parameters is not None and unit != self._parameters:
                    return "the picture format changes in the middle"
                self._parameters = unit
        return None
