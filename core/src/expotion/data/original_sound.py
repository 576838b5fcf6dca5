"""A clip's own sound as a second track: copied packet by packet, or encoded where the container needs that."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.data.audio import MAX_DRIFT_S
from expotion.data.containers import OWN_SOUND, SOUNDS, plain_name
from expotion.data.scan import Scan, open_container
from expotion.data.sound_track import OPUS_RATE_HZ
from expotion.data.writing import name_track

TITLE = "Original sound"


class OriginalSound:
    """Feeds a stretch of a file's sound to an open container, in step with the picture.

    Times are from the file's shared zero plus `start_s`; `length_s` bounds it. The stream is copied where the
    stretch begins the file and the container takes the codec; a later start cannot be cut between packets.
    """

    def __init__(self, out: Any, source: Scan, suffix: str, start_s: float, length_s: float) -> None:
        assert source.sound is not None
        self._out, self._start_s, self._length_s = out, start_s, length_s
        self._origin_s = source.zero_s + start_s
        self._container = open_container(source.path)
        self._stream: Any = self._container.streams[source.sound.stream_index]
        self.copied = start_s <= 0.0 and plain_name(source.sound.codec) in SOUNDS[suffix]
        if self.copied:
            self.stream = out.add_stream_from_template(self._stream)
        else:
            self._add_encoder(OWN_SOUND[suffix])
        name_track(out, self.stream, TITLE, default=False)
        self._packets = self._copy() if self.copied else self._encode()
        self._next: tuple[float, Any] | None = next(self._packets, None)

    def write_until(self, time_s: float) -> None:
        """Write what is heard until this time."""
        while self._next is not None and self._next[0] <= time_s:
            self._out.mux(self._next[1])
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Write the rest."""
        self.write_until(float("inf"))

    def close(self) -> None:
        """Close the file that it reads."""
        self._container.close()

    def _copy(self) -> Iterator[tuple[float, Any]]:
        zero = round(self._origin_s / float(self._stream.time_base))
        end = round(self._length_s / float(self._stream.time_base))
        # mp4 says that samples before 0 are not heard; matroska would begin earlier to hold them.
        first = 0 if self._out.format.name in {"matroska", "webm"} else -(2**62)
        for packet in self._container.demux(self._stream):
            if packet.size == 0 or packet.pts is None:
                continue
            packet.pts -= zero
            packet.dts = packet.pts
            lasts = packet.duration or 1
            if packet.pts + lasts <= first:
                continue
            if packet.pts >= end:
                return
            packet.duration = min(lasts, end - packet.pts)
            at_s = float(packet.pts * packet.time_base)
            packet.stream = self.stream
            yield at_s, packet

    def _add_encoder(self, codec: str) -> None:
        context = self._stream.codec_context
        rate_hz = OPUS_RATE_HZ if codec == "libopus" else context.sample_rate
        layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        self.stream = self._out.add_stream(codec, rate=rate_hz, layout=layout)
        if codec == "flac":
            self.stream.codec_context.format = "s16"
        else:
            self.stream.codec_context.bit_rate = 96_000 * (1 if layout == "mono" else 2)

    def _encode(self) -> Iterator[tuple[float, Any]]:
        import av  # noqa: PLC0415

        context, sent = self.stream.codec_context, 0
        for block in self._blocks():
            frame = av.AudioFrame.from_ndarray(block, "fltp", context.layout.name)
            frame.sample_rate, frame.pts = context.sample_rate, sent
            frame.time_base = Fraction(1, context.sample_rate)
            sent += block.shape[1]
            yield from self._timed(self.stream.encode(frame))
        yield from self._timed(self.stream.encode(None))

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        """Decoded blocks [channels, n] from the stretch's start on; silence where timestamps leave a gap."""
        import av  # noqa: PLC0415

        context = self.stream.codec_context
        rate_hz, position = context.sample_rate, 0
        resampler = av.AudioResampler("fltp", context.layout.name, rate_hz)
        if self._start_s > 1.0:
            tick = int((self._origin_s - 0.5) / self._stream.time_base)
            self._container.seek(tick, stream=self._stream, backward=True)
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue  # a damaged packet is a gap
            for frame in frames:
                stamped = None if frame.time is None else round((frame.time - self._origin_s) * rate_hz)
                blocks = [part.to_ndarray() for part in resampler.resample(frame)]
                block = np.concatenate(blocks, axis=1) if blocks else np.zeros((0, 0), np.float32)
                if stamped is not None and stamped - position > MAX_DRIFT_S * rate_hz:
                    block = np.pad(block, ((0, 0), (stamped - position, 0)))
                elif position == 0 and stamped is not None and stamped < 0:
                    block = block[:, -stamped:]
                position += block.shape[1]
                if block.size:
                    yield np.ascontiguousarray(block, dtype=np.float32)
                if position >= self._length_s * rate_hz:
                    return

    def _timed(self, packets: Any) -> Iterator[tuple[float, Any]]:
        for packet in packets:
            at_s = float(packet.pts * packet.time_base)
            if at_s < self._length_s:
                yield at_s, packet
