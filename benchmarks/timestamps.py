"""What counting features from the first frame costs against their timestamps, in beats.

    uv run python benchmarks/timestamps.py

Conductors are drawn as the paper's clips were recorded: the picture starts 0 to 0.86 s after the sound, at 14.8 to
30 frames a second, each at its own variable rate. `motion_synchformer` sees them three ways: at their timestamps;
counted from the first frame, whose time is taken for 0; and counted and stretched to the whole clip, both ends
pinned, as the released code's loader does. One line, fitted on ordinary training clips, reads the beats.

Per way: `beat_f1` (70 ms) with its 95 % interval over clips, and `early_ms`, how much earlier than it happened a
row shows something (mean over rows and clips); `against_timestamps`: paired differences of beat F1, p corrected for
both. The last line is one JSON object. 1.5 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mir_eval.beat import f_measure
from numpy.typing import NDArray

from expotion import timeline
from expotion.beats import FRAME_RATE_HZ, follow
from expotion.contracts import Clip, Encoder, TimedFeatures
from expotion.evaluate.beat_metrics import TOLERANCE_S
from expotion.evaluate.statistics import corrected, difference, mean_interval
from expotion.features.smooth import smooth_track
from expotion.run.influence import Readout
from expotion.video.memory import MemoryClip
from expotion_conductor.clip import ConductorClip, Image
from expotion_conductor.plan import ADAPTOR_TRAIN_SEEDS, DEVELOPMENT_SEEDS, make_plan
from expotion_motion_synchformer.encoder import SynchformerEncoder
from expotion_verify.data import stretch

Floats = NDArray[np.float64]
CLIP_S, RATE_HZ = 10.0, timeline.CODEC_RATE_HZ
N_ROWS = round(CLIP_S * RATE_HZ) + 1
SOUND_HZ = timeline.CODEC_SAMPLE_RATE_HZ
STARTS_S, RATES_HZ = (0.0, 0.86), (14.8, 30.0)
UNSTEADY = 0.25
"""Intervals of frames vary by this much of their mean, either way."""
FIRST_SEED = DEVELOPMENT_SEEDS + 2_000


def recorded(seed: int) -> ConductorClip:
    """A clip whose picture starts late and comes at a variable rate."""
    rng = np.random.default_rng([seed, 18])
    start_s, rate_hz = rng.uniform(*STARTS_S), rng.uniform(*RATES_HZ)
    steps_s = rng.uniform(1 - UNSTEADY, 1 + UNSTEADY, int(CLIP_S * rate_hz * 1.5)) / rate_hz
    times_s = start_s + np.concatenate([[0.0], np.cumsum(steps_s)])
    return ConductorClip(make_plan(seed, CLIP_S), frame_times_s=times_s[times_s < CLIP_S])


@dataclass(frozen=True)
class FromFirstFrame:
    """A video whose first frame is taken to be at 0."""

    clip: ConductorClip

    @property
    def start_s(self) -> float:
        """When the first frame is shown."""
        return float(self.clip.video.frame_times_s[0])

    @property
    def frame_times_s(self) -> Floats:
        """Times since the first frame."""
        return self.clip.video.frame_times_s - self.start_s

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.clip.video.size

    @property
    def decodable_until_s(self) -> float:
        """Infinity."""
        return float("inf")

    def frames_at(self, times_s: Floats, *, shorter_side: int | None = None) -> Image:
        """Frames shown this long after the first."""
        return self.clip.video.frames_at(times_s + self.start_s, shorter_side=shorter_side)


def rows(encoder: Encoder, clip: Clip) -> tuple[TimedFeatures, Floats]:
    """A clip's features, and the same at the rows of the model's steps, [rows, D]."""
    features = encoder.extract(clip)
    assert isinstance(features, TimedFeatures)
    return features, smooth_track(encoder, features, N_ROWS - 1, RATE_HZ).values.astype(np.float64)


def seen(encoder: Encoder, clip: ConductorClip) -> dict[str, tuple[Floats, float]]:
    """By the way in which a clip is seen: its rows [rows, D], and how many ms early they are, on average."""
    video = FromFirstFrame(clip)
    counted, shown = rows(encoder, MemoryClip(clip.id, CLIP_S - video.start_s, video))
    stretched = stretch(torch.from_numpy(counted.values), N_ROWS).numpy().astype(np.float64)
    shown_s = video.start_s + stretch(torch.from_numpy(counted.times_s[:, None]), N_ROWS).numpy()[:, 0]
    early_s = float(np.mean(shown_s - np.arange(N_ROWS) / RATE_HZ))
    return {
        "timestamps": (rows(encoder, clip)[1], 0.0),
        "counted": (shown, 1000 * video.start_s),
        "counted and stretched": (stretched, 1000 * early_s),
    }


def beats_of(readout: Readout, controls: Floats) -> Floats:
    """Beats that the line reads in rows [rows, D], in seconds."""
    beat = np.maximum(readout.read(controls)[1], 0.0)
    at_s = np.arange(int(CLIP_S * FRAME_RATE_HZ) + 1) / FRAME_RATE_HZ
    return follow(np.interp(at_s, np.arange(len(beat)) / RATE_HZ, beat)).beats_s


def told(values: Mapping[str, float]) -> dict[str, Any]:
    """Mean and interval over clips."""
    found = mean_interval(list(values.values()))
    return {key: None if value is None else round(value, 3) for key, value in found.as_dict().items()}


def main() -> None:
    """Fit a line on ordinary clips, read recorded ones three ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--fitted", type=int, default=16)
    asked = parser.parse_args()
    encoder = SynchformerEncoder()
    ordinary = [ConductorClip(make_plan(ADAPTOR_TRAIN_SEEDS + i, CLIP_S)) for i in range(asked.fitted)]
    readout = Readout.fit([(rows(encoder, clip)[1], clip) for clip in ordinary], RATE_HZ, SOUND_HZ)
    assert readout is not None
    f1: dict[str, dict[str, float]] = {}
    early: dict[str, dict[str, float]] = {}
    for clip in (recorded(FIRST_SEED + i) for i in range(asked.clips)):
        for way, (controls, early_ms) in seen(encoder, clip).items():
            beats_s = beats_of(readout, controls)
            f1.setdefault(way, {})[clip.id] = float(f_measure(clip.plan.beats_s, beats_s, TOLERANCE_S))
            early.setdefault(way, {})[clip.id] = early_ms
        clip.close()
    mean_ms = {way: round(float(np.mean(list(by_clip.values()))), 1) for way, by_clip in early.items()}
    ways = {way: {"beat_f1": told(f1[way]), "early_ms": mean_ms[way]} for way in f1}
    apart = corrected({way: difference([f1[way]], [f1["timestamps"]]) for way in f1 if way != "timestamps"})
    against = {
        way: {key: None if value is None else round(value, 4) for key, value in one.as_dict().items()}
        for way, one in apart.items()
    }
    print(json.dumps({"ways": ways, "against_timestamps": against, "clips": asked.clips, "fitted": asked.fitted}))


if __name__ == "__main__":
    main()
