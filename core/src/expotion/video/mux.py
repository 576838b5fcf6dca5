"""New sound under an old picture, and the old sound beside it. No ffmpeg binary is needed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.errors import MediaError, Problem
from expotion.video.audio import MAX_DRIFT_S, fit
from expotion.video.container import DEFAULT_LIMITS, Limits, open_container
from expotion.video.scan import Scan, scan
from expotion.video.writing import (
    OPUS_RATE_HZ,
    OWN_SOUND,
    SOUNDS,
    VIDEO_SUFFIXES,
    Bits,
    SoundTrack,
    check_picture,
    check_samples,
    holds_picture,
    name_track,
    open_output,
    plain_name,
    write_video,
)

# A clip's own sound as a second track: copied packet by packet, or encoded where the container needs that.

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


MUSIC_TITLE = "Expotion"


def mux_video(
    video: Path | str | Scan,
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    out_path: Path | str,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    keep_original_sound: bool = False,
    must_copy: bool = False,
    bits: Bits = 16,
    limits: Limits = DEFAULT_LIMITS,
) -> float:
    """Put mono samples float32 [n] under the picture of a file (or its scan); returns the seconds written.

    The container is that of `out_path`'s suffix: mp4 and mov get AAC, mkv FLAC (`bits` deep), webm Opus. Sound is
    cut or padded with silence to the clip's length and is the default track; `keep_original_sound` adds the
    file's own as the second, where it has one. The picture is copied packet by packet, at its timestamps from the
    file's shared zero, with its rotation. It is encoded anew only where a part of the file is wanted, where the
    stream is damaged, or where the container cannot hold its codec; with `must_copy` the last is an error.

    Raises MediaError where the file has no picture, where the container cannot hold it, and where the result has
    not the length of the clip (0.1 s and a frame are allowed).
    """
    from av.stream import Disposition  # noqa: PLC0415

    video_path = video.path if isinstance(video, Scan) else Path(video)
    check_samples(video_path, samples)
    out_path = Path(out_path)
    suffix = out_path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        fix = f"end the name in {', '.join(VIDEO_SUFFIXES)}"
        raise MediaError(Problem(str(out_path), "a video format", suffix or "no suffix", fix))
    source = video if isinstance(video, Scan) else scan(video_path, limits)
    picture = source.picture
    if picture is None:
        fix = "give a file with a picture, or write the sound alone as wav"
        raise MediaError(Problem(str(video_path), "a picture", "a file with sound only", fix))
    if must_copy:
        check_picture(video_path, suffix, picture.codec)
    end_s = picture.end_s if duration_s is None else min(start_s + duration_s, picture.end_s)
    length_s = end_s - start_s
    if length_s <= 0:
        raise MediaError(Problem(str(video_path), f"start below {picture.end_s:.2f} s", f"{start_s:.2f} s"))
    fitted = fit(samples, timeline.n_samples(length_s, sample_rate_hz))
    original = source if keep_original_sound and source.sound is not None else None
    part = start_s > timeline.EPSILON_S or end_s < picture.end_s - timeline.EPSILON_S
    with contextlib.ExitStack() as stack:
        shown = source
        if part or not can_be_copied(source, suffix):
            shown = stack.enter_context(_encoded(source, suffix, start_s, length_s, limits))
        with open_output(out_path) as out, open_container(shown.path) as container:
            assert shown.picture is not None
            stream: Any = container.streams[shown.picture.stream_index]
            copied: Any = out.add_stream_from_template(stream)
            copied.disposition = (stream.disposition | Disposition.default).value
            sound = SoundTrack(
                out, fitted, sample_rate_hz, OWN_SOUND[suffix], out_path, bits=bits, title=MUSIC_TITLE
            )
            old = stack.enter_context(_original(out, original, suffix, start_s, length_s))
            for packet in _packets(container, stream, shown.zero_s):
                sound.write_until(float(packet.dts * packet.time_base))
                if old is not None:
                    old.write_until(float(packet.dts * packet.time_base))
                packet.stream = copied
                out.mux(packet)
            sound.finish()
            if old is not None:
                old.finish()
    written = scan(out_path, limits)
    allowed_s = 0.1 + 1.0 / picture.fps
    if abs(written.duration_s - length_s) > allowed_s:
        raise MediaError(
            Problem(str(out_path), f"a length of {length_s:.3f} s", f"{written.duration_s:.3f} s")
        )
    return written.duration_s


def can_be_copied(source: Scan, suffix: str) -> bool:
    """Whether a file's whole picture can be copied packet by packet into a container."""
    picture = source.picture
    if picture is None or picture.damage is not None or not picture.seekable:
        return False
    return holds_picture(suffix, picture.codec)


def _packets(container: Any, stream: Any, zero_s: float) -> Iterator[Any]:
    """Packets of a stream, their times from the file's zero."""
    zero = round(zero_s / float(stream.time_base))
    for packet in container.demux(stream):
        if packet.size == 0 or packet.pts is None or packet.dts is None:
            continue
        packet.pts -= zero
        packet.dts -= zero
        yield packet


@contextlib.contextmanager
def _original(
    out: Any, source: Scan | None, suffix: str, start_s: float, length_s: float
) -> Iterator[OriginalSound | None]:
    """The clip's own sound, open while the block runs, or None."""
    if source is None:
        yield None
        return
    with contextlib.closing(OriginalSound(out, source, suffix, start_s, length_s)) as original:
        yield original


@contextlib.contextmanager
def _encoded(source: Scan, suffix: str, start_s: float, length_s: float, limits: Limits) -> Iterator[Scan]:
    """A stretch of a file's picture encoded anew, without sound, in a file that is removed afterwards."""
    from expotion.video.frames import FileVideo  # noqa: PLC0415 - pulls in the decoders

    with contextlib.closing(FileVideo(source.path, start_s, length_s, limits=limits)) as video:
        times_s = video.frame_times_s.copy()
        times_s[0] = 0.0  # the first frame is on screen from the start

        def frames() -> Iterator[NDArray[np.uint8]]:
            for begin in range(0, len(times_s), 8):
                yield from video.frames_at(times_s[begin : begin + 8])

        with tempfile.TemporaryDirectory(prefix="expotion-") as folder:
            path = Path(folder) / ("picture.webm" if suffix == ".webm" else "picture.mp4")
            write_video(path, frames(), times_s, duration_s=length_s)
            yield scan(path, limits)
