"""How well fingerprints find equal sounds, on clips that their thresholds were not chosen on.

Every clip of a set is changed in the ways that copies on the web are (coded at low rates, turned down, cut, noisy),
and compared with the original; different pieces are compared with each other for false alarms. The set is music of
the conductor world, drawn afresh, and with --real every 10 s of the sound files in a folder.

    python benchmarks/fingerprint.py --clips 150
    python benchmarks/fingerprint.py --clips 150 --real FOLDER

The last line is one JSON object. `recall_*` are fractions of clips found, `false_alarm_fraction` of pairs of
different pieces taken for the same; `recall_other_timbre` is the same score on another instrument, and
`recall_speed_*` a clip played faster: copies that this method is not made for.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from numpy.typing import NDArray

from expotion.video.audio import load_audio, resample
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import TIMBRES, make_plan
from expotion_corpus.match import MIN_LIKENESS, MIN_VOTES, RATE_HZ, Print, fingerprint, matches, same_sound

FULL_HZ = 48_000
FIRST_SEED = 5_300_000
CLIP_S = 10.0
SOUND_SUFFIXES = {".mp3", ".ogg", ".wav", ".flac", ".m4a", ".mp4"}
Sound = NDArray[np.float32]
Change = Callable[[Sound, np.random.Generator], Sound]


def coded(samples: Sound, suffix: str, codec: str, bits_per_s: int) -> Sound:
    """Samples at 48 kHz through a lossy codec and back."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"sound{suffix}"
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=FULL_HZ, layout="mono")
            stream.bit_rate = bits_per_s
            fifo = av.AudioFifo()
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = FULL_HZ
            fifo.write(frame)
            resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=FULL_HZ)
            size = stream.codec_context.frame_size or 1024
            at = 0
            while block := fifo.read(size, partial=True):
                block.pts = None
                for converted in resampler.resample(block):
                    converted.pts = at
                    at += converted.samples
                    out.mux(stream.encode(converted))
            out.mux(stream.encode(None))
        made = load_audio(path, FULL_HZ)
    assert made is not None
    return made


def cut(samples: Sound, rng: np.random.Generator, length_s: float) -> Sound:
    """A stretch from anywhere."""
    begin = int(rng.integers(0, max(1, len(samples) - int(length_s * FULL_HZ))))
    return samples[begin : begin + int(length_s * FULL_HZ)]


def noisy(samples: Sound, rng: np.random.Generator, snr_db: float) -> Sound:
    """White noise at a signal-to-noise ratio."""
    scale = float(np.sqrt(np.mean(samples**2))) * 10 ** (-snr_db / 20)
    return samples + rng.normal(0, scale, len(samples)).astype(np.float32)


def equalised(samples: Sound) -> Sound:
    """Bass up and treble down by a first-order shelf of 12 dB, as small loudspeakers and microphones do."""
    spectrum = np.fft.rfft(samples)
    frequency_hz = np.fft.rfftfreq(len(samples), 1 / FULL_HZ)
    gain_db = -12 * np.clip(np.log2(np.maximum(frequency_hz, 1) / 200) / 4, -0.5, 1)
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(samples)).astype(np.float32)


CHANGES: dict[str, Change] = {
    "mp3_64k": lambda s, rng: coded(s, ".mp3", "libmp3lame", 64_000),
    "opus_24k": lambda s, rng: coded(s, ".ogg", "libopus", 24_000),
    "aac_48k": lambda s, rng: coded(s, ".m4a", "aac", 48_000),
    "gain_minus_20db": lambda s, rng: 0.1 * s,
    "equalised": lambda s, rng: equalised(s),
    "cut_5s": lambda s, rng: cut(s, rng, 5.0),
    "cut_4s_aac": lambda s, rng: coded(cut(s, rng, 4.0), ".m4a", "aac", 48_000),
    "noise_20db": lambda s, rng: noisy(s, rng, 20.0),
    "noise_10db": lambda s, rng: noisy(s, rng, 10.0),
    "speed_1pct": lambda s, rng: resample(s, FULL_HZ, round(FULL_HZ / 1.01)),
    "speed_4pct": lambda s, rng: resample(s, FULL_HZ, round(FULL_HZ / 1.04)),
}


def conductor_clips(n: int) -> tuple[list[tuple[str, Sound]], list[Sound]]:
    """(piece, sound at 48 kHz) of fresh clips, and the same scores on another instrument."""
    clips, others = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + n):
        plan = make_plan(seed, CLIP_S)
        other = TIMBRES[(TIMBRES.index(plan.timbre) + 1) % len(TIMBRES)]
        clips.append((f"conductor {seed}", ConductorClip(plan).audio(FULL_HZ)))
        others.append(ConductorClip(replace(plan, timbre=other)).audio(FULL_HZ))
    return clips, others


def real_clips(folder: Path, skip: set[str]) -> list[tuple[str, Sound]]:
    """(file name, 10 s of it) of all sound files in a folder."""
    clips = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SOUND_SUFFIXES):
        samples = None if path.name in skip or path.stat().st_size < 1000 else load_audio(path, FULL_HZ)
        size = int(CLIP_S * FULL_HZ)
        for begin in range(0, 0 if samples is None else len(samples) - size // 2, size):
            assert samples is not None
            piece = samples[begin : begin + size]
            if float(np.abs(piece).max()) > 1e-3:
                clips.append((path.name, piece))
    return clips


def printed(samples: Sound) -> Print:
    """Fingerprint of samples at 48 kHz."""
    return fingerprint(resample(samples, FULL_HZ, RATE_HZ))


def measure(clips: list[tuple[str, Sound]], others: list[Sound]) -> dict[str, float | int | None]:
    """Recall by change, false alarms, and what it costs."""
    began = time.perf_counter()
    prints = [printed(samples) for _, samples in clips]
    print_s = time.perf_counter() - began
    result: dict[str, float | int | None] = {"clips": len(clips), "pieces": len({piece for piece, _ in clips})}
    for name, change in CHANGES.items():
        found = []
        for i, (_, samples) in enumerate(clips):
            made = change(samples, np.random.default_rng((i, len(name)))).astype(np.float32)
            found.append(same_sound(prints[i], printed(made)))
        result[f"recall_{name}"] = round(float(np.mean(found)), 4)
        print(f"{name:<18}{result[f'recall_{name}']:.3f} of {len(found)} clips", flush=True)
    result["recall_other_timbre"] = (
        round(float(np.mean([same_sound(prints[i], printed(made)) for i, made in enumerate(others)])), 4)
        if others
        else None
    )
    began = time.perf_counter()
    alarms = matches(prints, lambda a, b: clips[a][0] != clips[b][0])
    match_s = time.perf_counter() - began
    n_pairs = sum(a != b for i, (a, _) in enumerate(clips) for b, _ in clips[:i])
    real = [piece for piece, _ in clips if not piece.startswith("conductor ")]
    n_real = sum(a != b for i, a in enumerate(real) for b in real[:i])
    real_alarms = sum(not clips[alarm.a][0].startswith("conductor ") for alarm in alarms)
    for alarm in alarms:
        told = f"{clips[alarm.a][0]} and {clips[alarm.b][0]}"
        print(f"false alarm: {told}: {alarm.votes} landmarks, likeness {alarm.likeness:.3f}")
    result |= {
        "different_pairs": n_pairs,
        "false_alarms": len(alarms),
        "false_alarm_fraction": round(len(alarms) / max(1, n_pairs), 6),
        "real_clips": len(real),
        "real_pairs": n_real,
        "real_false_alarm_fraction": round(real_alarms / n_real, 6) if n_real else None,
        "fingerprint_x_real_time": round(sum(len(s) for _, s in clips) / FULL_HZ / print_s, 1),
        "pairs_per_s": round(len(clips) * (len(clips) - 1) / 2 / match_s, 1),
        "min_votes": MIN_VOTES,
        "min_likeness": MIN_LIKENESS,
    }
    return result


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=150, help="clips of the conductor world")
    parser.add_argument("--real", type=Path, help="a folder of sound files")
    parser.add_argument("--skip", nargs="*", default=[], help="names of files in it that thresholds were chosen on")
    arguments = parser.parse_args()
    clips, others = conductor_clips(arguments.clips)
    if arguments.real is not None:
        clips += real_clips(arguments.real, set(arguments.skip))
    print(json.dumps(measure(clips, others)))


if __name__ == "__main__":
    main()
