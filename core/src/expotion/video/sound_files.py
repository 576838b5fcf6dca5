"""Sound files: wav, flac, mp3 and opus. No ffmpeg binary is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expotion.errors import MediaError, Problem
from expotion.files import replacing
from expotion.video.writing import SoundTrack, check_samples, open_output

Depth = Literal["16", "24", "float"]
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".opus")
DEPTHS: tuple[Depth, ...] = ("16", "24", "float")

MP3_QUALITY = 0.2
"""libsndfile's compression level with variable bit rate: LAME's V2, some 100 kbit/s for mono music."""


def write_sound(
    path: Path | str, samples: NDArray[np.float32], sample_rate_hz: int, *, depth: Depth = "16"
) -> None:
    """Write samples float32 [n] or [n, 2], clipped to -1..1, in the format of the suffix, atomically.

    `depth` is for wav and flac (bits per sample; flac takes `float` as 24). mp3 needs one of the rates of MPEG
    (8 to 48 kHz); opus is written at 48 kHz. The same samples give the same bytes. Raises MediaError for samples
    that are not finite and suffixes that are not in SOUND_SUFFIXES, OutputError where the disk refuses.
    """
    check_samples(path, samples)
    suffix = Path(path).suffix.lower()
    settings: dict[str, dict[str, Any]] = {
        ".wav": {"format": "WAV", "subtype": {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}[depth]},
        ".flac": {"format": "FLAC", "subtype": "PCM_16" if depth == "16" else "PCM_24"},
        ".mp3": {
            "format": "MP3",
            "subtype": "MPEG_LAYER_III",
            "bitrate_mode": "VARIABLE",
            "compression_level": MP3_QUALITY,
        },
    }
    if suffix == ".opus":
        # libsndfile draws ogg's serial number at random; FFmpeg can be told not to.
        with open_output(path) as out:
            SoundTrack(out, samples, sample_rate_hz, "libopus", path).finish()
        return
    if suffix not in settings:
        fix = f"end the name in {', '.join(SOUND_SUFFIXES)}"
        raise MediaError(Problem(str(path), "a sound format", suffix or "no suffix", fix))
    import soundfile  # noqa: PLC0415

    with replacing(path) as part:
        try:
            soundfile.write(part, np.clip(samples, -1.0, 1.0), sample_rate_hz, **settings[suffix])
        except soundfile.LibsndfileError as error:
            if "System error" in str(error):  # of the disk, not of the format
                raise OSError(str(error)) from error
            wanted = f"a format that holds {sample_rate_hz} Hz"
            raise MediaError(Problem(str(path), wanted, str(error), "write a wav")) from error


def write_wav(path: Path | str, samples: NDArray[np.float32], sample_rate_hz: int) -> None:
    """Write a wav of 16 bits: `write_sound` for a name that ends in it."""
    write_sound(path, samples, sample_rate_hz)


def read_wav(path: Path | str) -> NDArray[np.float32]:
    """Mono samples float32 [n] of a wav that `write_wav` wrote: those of `load_audio`, in a tenth of its time.

    Raises MediaError for a file that is none.
    """
    import soundfile  # noqa: PLC0415

    try:
        samples: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0]
    except soundfile.LibsndfileError as error:
        raise MediaError(Problem(str(path), "a wav that was made here", str(error), "make it again")) from error
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)
