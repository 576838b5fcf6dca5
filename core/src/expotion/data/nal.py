"""A cheap look at H.264 and H.265 packets that finds damage without decoding."""

from __future__ import annotations

from typing import Any

_H264_SPS, _HEVC_SPS = 7, 33


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
