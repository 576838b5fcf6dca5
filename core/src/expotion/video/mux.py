"""New sound under an old picture, and the old sound beside it. No ffmpeg binary is needed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.errors import MediaError, Problem
from expotion.video.audio import MAX_DRIFT_S, fit
from expotion.video.container import DEFAULT_LIMITS, Limits, open_container
from expotion.video.copying import copied_packets, difference, obstacle
from expotion.video.frames import FileVideo
from expotion.video.scan import Picture, Scan, scan
from expotion.video.writing import (
    OPUS_RATE_HZ,
    OWN_SOUND,
    SOUNDS,
    VIDEO_SUFFIXES,
    Bits,
    SoundTrack,
    check_picture,
    check_samples,
    name_track,
    open_output,
    plain_name,
    write_video,
)

MUSIC_TITLE = "Expotion"
ORIGINAL_TITLE = "Original sound"


class _NotTheSame(Exception):
    """A copied picture is not what it was copied from; the words say how."""


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
    warn: Callable[[str], None] = lambda text: None,
) -> float:
    """Put samples float32 [n] or [n, 2] under the picture of a file (or its scan); returns the seconds written.

    The container is that of `out_path`'s suffix: mp4 and mov get AAC, mkv FLAC (`bits` deep), webm Opus. Sound is
    cut or padded with silence to the clip's length and is the default track; `keep_original_sound` adds the
    file's own as the second, where it has one. The picture is copied packet by packet, at its timestamps from the
    file's shared zero, as it is turned, and then compared with the source. It is encoded anew where a part of the
    file is wanted or where a copy cannot be exact, and `warn` is told why; with `must_copy` a container that does
    not hold its codec is an error instead.

    Raises MediaError where the file has no picture, where the container cannot hold it, and where the result has
    not the length of the clip (0.1 s and a frame are allowed).
    """
    source = video if isinstance(video, Scan) else scan(video, limits)
    out_path = Path(out_path)
    suffix = out_path.suffix.lower()
    check_samples(source.path, samples)
    picture = _checked(source, out_path, must_copy=must_copy)
    end_s = picture.end_s if duration_s is None else min(start_s + duration_s, picture.end_s)
    length_s = end_s - start_s
    if length_s <= 0:
        raise MediaError(Problem(str(source.path), f"start below {picture.end_s:.2f} s", f"{start_s:.2f} s"))
    fitted = fit(samples, timeline.n_samples(length_s, sample_rate_hz))
    kept = source if keep_original_sound and source.sound is not None else None
    music = _Music(out_path, fitted, sample_rate_hz, bits, kept, start_s, length_s)
    if kept is not None and kept.sound is not None and not kept.sound.ordered:
        warn("the clip's own sound is encoded anew (its packets' times repeat or run back)")
    part = start_s > timeline.EPSILON_S or end_s < picture.end_s - timeline.EPSILON_S
    why = "" if part else obstacle(source, suffix)
    if why is None:
        why = music.copied_under(source, limits)
    if why is not None:
        if why:
            warn(f"the picture is encoded anew ({why})")
        with _encoded(source, suffix, start_s, length_s, limits) as shown:
            music.put_under(shown)
    written = scan(out_path, limits)
    allowed_s = 0.1 + 1.0 / picture.fps
    if abs(written.duration_s - length_s) > allowed_s:
        got = f"{written.duration_s:.3f} s"
        raise MediaError(Problem(str(out_path), f"a length of {length_s:.3f} s", got))
    return written.duration_s


def _checked(source: Scan, out_path: Path, *, must_copy: bool) -> Picture:
    """The picture of a file, which the named container can hold."""
    suffix = out_path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        fix = f"end the name in {', '.join(VIDEO_SUFFIXES)}"
        raise MediaError(Problem(str(out_path), "a video format", suffix or "no suffix", fix))
    if source.picture is None:
        fix = "give a file with a picture, or write the sound alone as wav"
        raise MediaError(Problem(str(source.path), "a picture", "a file with sound only", fix))
    if must_copy:
        check_picture(source.path, suffix, source.picture.codec)
    return source.picture


@dataclass(frozen=True)
class _Music:
    """Sound for a picture of `length_s`, and the file whose own sound is kept beside it, or None."""

    out_path: Path
    samples: NDArray[np.float32]
    sample_rate_hz: int
    bits: Bits
    kept: Scan | None
    start_s: float
    length_s: float

    def copied_under(self, source: Scan, limits: Limits) -> str | None:
        """Copy the picture and compare it with the source; why the copy cannot be, or None where it is made."""

        def verify(draft: Path) -> None:
            if (how := difference(source, draft, limits)) is not None:
                raise _NotTheSame(how)

        try:
            self.put_under(source, verify)
        except _NotTheSame as how:
            return f"copied, {how}"
        except MediaError as error:
            return str(error.problems[0].got or error)
        return None

    def put_under(self, shown: Scan, verify: Callable[[Path], None] = lambda draft: None) -> None:
        """Write the file: the packets of a picture, this sound, and the kept one."""
        suffix = self.out_path.suffix.lower()
        with contextlib.ExitStack() as stack:
            out: Any = stack.enter_context(open_output(self.out_path, verify))
            container = stack.enter_context(open_container(shown.path))
            copied = _add_copy(out, container, shown)
            tracks: list[SoundTrack | OriginalSound] = [
                SoundTrack(
                    out,
                    self.samples,
                    self.sample_rate_hz,
                    OWN_SOUND[suffix],
                    self.out_path,
                    bits=self.bits,
                    title=MUSIC_TITLE,
                )
            ]
            if self.kept is not None:
                old = OriginalSound(out, self.kept, suffix, self.start_s, self.length_s)
                tracks.append(stack.enter_context(contextlib.closing(old)))
            for packet in copied_packets(shown, container):
                for track in tracks:
                    track.write_until(float(packet.dts * packet.time_base))
                packet.stream = copied
                out.mux(packet)
            for track in tracks:
                track.finish()


def check_output(source: Scan, suffix: str) -> None:
    """Raise MediaError unless a container takes a picture as it is: by its codec, and by writing its header."""
    assert source.picture is not None
    check_picture(source.path, suffix, source.picture.codec)
    if obstacle(source, suffix) is not None:
        return  # it is encoded anew
    with tempfile.TemporaryDirectory(prefix="expotion-") as folder:
        name = Path(folder) / f"header{suffix}"
        try:
            with open_output(name) as out, open_container(source.path) as container:
                _add_copy(out, container, source)
                out.start_encoding()
        except MediaError as error:
            problem = error.problems[0]
            raise MediaError(problem.at(str(source.path))) from error


def _add_copy(out: Any, container: Any, source: Scan) -> Any:
    """A stream of an output that takes packets as they are. No encoder of the codec is needed."""
    from av.stream import Disposition  # noqa: PLC0415

    assert source.picture is not None
    stream: Any = container.streams[source.picture.stream_index]
    copied: Any = out.add_stream_from_template(stream, opaque=True)
    copied.time_base = stream.time_base
    copied.disposition = (stream.disposition | Disposition.default).value
    return copied


@contextlib.contextmanager
def _encoded(source: Scan, suffix: str, start_s: float, length_s: float, limits: Limits) -> Iterator[Scan]:
    """A stretch of a file's picture encoded anew, upright, without sound, in a file that is removed afterwards."""
    with contextlib.closing(
        FileVideo(source.path, start_s, length_s, limits=limits, scanned=source, n_least=1)
    ) as video:
        times_s = video.frame_times_s.copy()
        times_s[0] = 0.0  # the first frame is on screen from the start

        def frames() -> Iterator[NDArray[np.uint8]]:
            for begin in range(0, len(times_s), 8):
                yield from video.frames_at(times_s[begin : begin + 8])

        with tempfile.TemporaryDirectory(prefix="expotion-") as folder:
            path = Path(folder) / ("picture.webm" if suffix == ".webm" else "picture.mp4")
            write_video(path, frames(), times_s, duration_s=length_s)
            yield scan(path, limits)


class OriginalSound:
    """Feeds a stretch of a file's sound to an open container, in step with the picture.

    Times are from the file's shared zero plus `start_s`; `length_s` bounds it. The stream is copied where the
    stretch begins the file, the container takes the codec and times increase; else it is encoded.
    """

    def __init__(self, out: Any, source: Scan, suffix: str, start_s: float, length_s: float) -> None:
        assert source.sound is not None
        self._out, self._start_s, self._length_s = out, start_s, length_s
        self._origin_s = source.zero_s + start_s
        self._container = open_container(source.path)
        self._stream: Any = self._container.streams[source.sound.stream_index]
        held = plain_name(source.sound.codec) in SOUNDS[suffix]
        self.copied = start_s <= 0.0 and source.sound.ordered and held
        if self.copied:
            self.stream = out.add_stream_from_template(self._stream, opaque=True)
        else:
            self._add_encoder(OWN_SOUND[suffix])
        name_track(out, self.stream, ORIGINAL_TITLE, default=False)
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
        resampler, kind = av.AudioResampler("fltp", context.layout.name, rate_hz), None
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
                changed = kind not in (None, (frame.sample_rate, frame.layout.name, frame.format.name))
                blocks = [part.to_ndarray() for part in (resampler.resample(None) if changed else [])]
                if changed:
                    resampler = av.AudioResampler("fltp", context.layout.name, rate_hz)
                kind = frame.sample_rate, frame.layout.name, frame.format.name
                blocks += [part.to_ndarray() for part in resampler.resample(frame)]
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
