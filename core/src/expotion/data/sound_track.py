"""Mono samples as a sound track of a container, in step with a picture or alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.data.audio import resample
from expotion.data.writing import check_samples, name_track

SoundCodec = Literal["aac", "flac", "libopus"]
Bits = Literal[16, 24]

OPUS_RATE_HZ = 48_000
"""Opus is always at this rate in our files: the codec has none of 32 kHz."""

LOSSY_BITS_PER_S = 160_000
_CHUNK = 1024
_AHEAD_S = 0.5


class SoundTrack:
    """Feeds mono samples float32 [n], clipped to -1..1, to an open container.

    `bits` is FLAC's depth. The track ends with the last sample: what an encoder pads is not written. Raises
    MediaError for samples that are not finite.
    """

    def __init__(
        self,
        out: Any,
        samples: NDArray[np.float32],
        sample_rate_hz: int,
        codec: SoundCodec,
        path: Path | str,
        *,
        bits: Bits = 16,
        title: str | None = None,
    ) -> None:
        check_samples(path, samples)
        self._out, self._sent = out, 0
        self._rate_hz = OPUS_RATE_HZ if codec == "libopus" else sample_rate_hz
        self._samples = np.clip(resample(samples, sample_rate_hz, self._rate_hz), -1.0, 1.0)
        self.stream = out.add_stream(codec, rate=self._rate_hz, layout="mono")
        context = self.stream.codec_context
        if codec == "flac":
            context.format = "s16" if bits == 16 else "s32"  # FFmpeg keeps the upper 24 of s32
        else:
            context.bit_rate = LOSSY_BITS_PER_S
        if title is not None:
            name_track(out, self.stream, title, default=True)

    def write_until(self, time_s: float) -> None:
        """Encode what is heard until half a second after this time."""
        end = min(len(self._samples), timeline.n_samples(time_s + _AHEAD_S, self._rate_hz))
        while self._sent < end and (end - self._sent >= _CHUNK or end == len(self._samples)):
            chunk = self._samples[self._sent : self._sent + _CHUNK]
            frame = self._frame(chunk)
            frame.sample_rate, frame.pts = self._rate_hz, self._sent
            frame.time_base = Fraction(1, self._rate_hz)
            self._sent += len(chunk)
            self._mux(self.stream.encode(frame))

    def finish(self) -> None:
        """Encode the rest."""
        self.write_until(len(self._samples) / self._rate_hz)
        self._mux(self.stream.encode(None))

    def _frame(self, chunk: NDArray[np.float32]) -> Any:
        import av  # noqa: PLC0415

        format = self.stream.codec_context.format.name
        shaped = chunk[None, :]
        if format.startswith("s16"):
            return av.AudioFrame.from_ndarray(np.rint(shaped * 32767.0).astype(np.int16), format, "mono")
        if format.startswith("s32"):
            whole = np.rint(shaped.astype(np.float64) * 8_388_607.0).astype(np.int32) << 8
            return av.AudioFrame.from_ndarray(whole, format, "mono")
        return av.AudioFrame.from_ndarray(shaped, format, "mono")

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            end = round(Fraction(len(self._samples), self._rate_hz) / packet.time_base)
            if packet.pts is not None and packet.pts >= end:
                continue
            if packet.pts is not None and packet.duration:
                packet.duration = min(packet.duration, end - packet.pts)
            self._out.mux(packet)
