"""Every kind of picture and sound that PyAV reads for us: pixel formats, sample formats, layouts of channels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from expotion.video.clip import FileClip

RATE_HZ = 48_000
pytestmark = pytest.mark.slow
LAYOUTS = (
    *("mono", "stereo", "2.1", "3.0", "3.0(back)", "4.0", "quad", "quad(side)", "3.1", "5.0", "5.0(side)", "4.1"),
    *(
        "5.1",
        "5.1(side)",
        "6.0",
        "6.0(front)",
        "hexagonal",
        "6.1",
        "6.1(back)",
        "7.0",
        "7.1",
        "7.1(wide)",
        "octagonal",
    ),
    *("cube", "5.1.2", "5.1.4", "7.1.2", "7.1.4", "hexadecagonal", "22.2", "downmix"),
)
SOUNDS = {
    "wav": ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"),
    "mov": ("pcm_s16be", "pcm_s24be", "pcm_f32be", "alac", "aac"),
    "mkv": ("flac", "libopus", "libvorbis", "libmp3lame", "ac3", "eac3", "mp2", "tta"),
}


def write_ramp(path: Path, ramp: NDArray[np.uint8], name: str) -> None:
    """Two frames of a picture, lossless."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, name
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(ramp, "rgb24").reformat(format=name)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def test_every_format_of_pixels(tmp_path: Path) -> None:
    """A grey ramp, which every format holds; in each that FFmpeg can write here."""
    ramp = np.repeat(np.linspace(40, 200, 64).astype(np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
    n_shown = 0
    for each in av.codec.Codec("ffv1", "w").video_formats or ():
        path = tmp_path / f"{each.name}.mkv"
        try:
            write_ramp(path, ramp, each.name)
        except av.error.FFmpegError:
            continue
        video = FileClip(path, require="video").video
        assert video is not None
        (shown,) = video.frames_at(np.array([0.1]))
        assert shown.shape == ramp.shape and np.abs(shown.astype(int) - ramp).mean() < 3, each.name
        n_shown += 1
    assert n_shown > 40


def tone(path: Path, codec: str, layout: str) -> None:
    """Half a second of a tone in every channel."""
    channels = av.AudioLayout(layout).nb_channels
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=RATE_HZ, layout=layout)
        format_ = stream.codec_context.format.name
        samples = (0.25 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ // 2) / RATE_HZ)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None], "flt", layout)
        frame.sample_rate, frame.pts = RATE_HZ, 0
        fifo = av.AudioFifo()
        resampler = av.AudioResampler(format_, layout, RATE_HZ)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            fifo.write(part)
        while (part := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", SOUNDS)
def test_every_format_of_samples(suffix: str, tmp_path: Path) -> None:
    for codec in SOUNDS[suffix]:
        tone(tmp_path / f"{codec}.{suffix}", codec, "stereo")
        heard = FileClip(tmp_path / f"{codec}.{suffix}").audio(RATE_HZ)
        assert heard is not None and np.abs(heard[4800:-4800]).max() == pytest.approx(0.25, abs=0.02), codec


@pytest.mark.parametrize("suffix", ["mov", "mkv", "wav"])
def test_every_layout_of_channels(suffix: str, tmp_path: Path) -> None:
    for number, layout in enumerate(LAYOUTS):
        path = tmp_path / f"{number}.{suffix}"
        tone(path, "pcm_s16le", layout)
        heard = FileClip(path).audio(RATE_HZ)
        assert heard is not None and len(heard) == RATE_HZ // 2, layout
        assert 0.1 < np.abs(heard).max() < 0.5, layout
