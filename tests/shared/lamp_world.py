"""A world of lamps, small enough to be run from end to end in seconds: clips, encoders, a random MusicGen.

Run as a program it is the command line over that world: `python world.py MODEL_FOLDER recipe run ...`.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from random_musicgen import write_musicgen

import expotion.plugins
from expotion import contracts
from expotion.contracts import BackboneSpec, DataSourceSpec, EncoderSpec, MetricSpec, Score, Scored, hookimpl
from expotion.plugins import Registry, discover
from expotion.video.memory import ArrayVideo

RECIPE = """\
name: lamps
seed: 3
data: {source: lamps, train_clips: 3, test_clips: 2, clip_s: 1.0}
backbone: {source: lamps}
text: {encoder: text_t5, prompt: caption}
conditions:
  - {name: glow, encoder: glow, rank: 2}
  - {name: sway, encoder: sway, rank: 3}
train:
  steps: 4
  batch_size: 2
  warmup_steps: 0
  checkpoint_every_steps: 2
  precision: fp32
  learning_rate: 0.05
generate: {batch_size: 2, samples: 1, top_k: 8, precision: fp32}
evaluate: {metrics: [loudness], bootstrap: 50}
"""
WORDS = ["calm", "warm", "bright", "lamp", "music"]
SAMPLE_RATE_HZ, FRAME_RATE_HZ = 32_000, 50


# ------------------------------------------------------------------------------------------------- clips


class LampClip(contracts.Clip):
    """A lamp that flickers and sways; its music is noise that follows the flicker."""

    def __init__(self, seed: int, duration_s: float) -> None:
        self.id, self.seed, self.duration_s = f"lamp-{seed}", seed, duration_s
        self.caption = f"{WORDS[seed % 3]} lamp music"
        self.tracks = {}
        rng = np.random.default_rng(seed)
        n = round(duration_s * 10)
        self._light = rng.integers(40, 250, n)
        self._frames = np.broadcast_to(self._light[:, None, None, None], (n, 16, 16, 3)).astype(np.uint8)
        self.truth = contracts.Truth(
            np.arange(0, duration_s, 0.5), np.arange(n) / 10, self._light / 255, tempo_bpm=120.0
        )

    @property
    def content_hash(self) -> str:
        return hashlib.sha256(self._frames.tobytes()).hexdigest()

    @property
    def video(self) -> contracts.Video:
        return ArrayVideo(self._frames, np.arange(len(self._frames)) / 10)

    def audio(self, sample_rate_hz: int) -> NDArray[np.float32]:
        n = round(self.duration_s * sample_rate_hz)
        loud = np.interp(np.arange(n) / sample_rate_hz, np.arange(len(self._light)) / 10, self._light / 255)
        noise = np.random.default_rng(self.seed).normal(size=n)
        return np.asarray(0.2 * loud * noise, dtype=np.float32)


class LampOptions(contracts.Options):
    train_clips: int = 3
    test_clips: int = 2
    clip_s: float = 1.0
    test_s: float | None = None


class Lamps(contracts.DataSource):
    def __init__(self, options: LampOptions) -> None:
        self.options = options

    def clips(self, split: Literal["train", "test"]) -> Sequence[LampClip]:
        options = self.options
        if split == "train":
            return [LampClip(seed, options.clip_s) for seed in range(options.train_clips)]
        return [LampClip(100 + seed, options.test_s or options.clip_s) for seed in range(options.test_clips)]

    def probes(self, n: int) -> dict[str, list[LampClip]]:
        return {"other_lamps": [LampClip(200 + seed, self.options.clip_s) for seed in range(n)]}


# ---------------------------------------------------------------------------------------------- encoders


class LightOptions(contracts.Options):
    fail_on: str = ""


class Light(contracts.Encoder):
    """Brightness (and its copies) of every frame; dark frames have nothing to say."""

    def __init__(self, spec: EncoderSpec, options: LightOptions) -> None:
        self.spec, self.options = spec, options

    def extract(self, clip: contracts.Clip) -> contracts.TimedFeatures:
        if clip.id == self.options.fail_on:
            raise RuntimeError("the lens cap [is] on")
        assert clip.video is not None
        times_s = clip.video.frame_times_s
        mean = clip.video.frames_at(times_s).astype(np.float32).mean(axis=(1, 2, 3)) / 255
        width = self.spec.width(self.options)
        return contracts.TimedFeatures(np.repeat(mean[:, None], width, axis=1), times_s, mean > 0.1)


class Swaying(Light):
    """The same with a projection of its own, as a plugin may bring one."""

    def project(self, d_in: int, rank: int) -> Any:
        import torch

        return torch.nn.Sequential(torch.nn.Linear(d_in, 4), torch.nn.Tanh(), torch.nn.Linear(4, rank))


def light_spec(name: str, width: int, kind: type[Light]) -> EncoderSpec:
    spec = EncoderSpec(
        name,
        "brightness",
        frozenset({"video"}),
        lambda options: kind(spec, options),
        LightOptions,
        lambda _: width,
        lambda _: 10.0,
    )
    return spec


def loudness(scored: Scored) -> Score:
    return Score(float(np.sqrt(np.mean(scored.samples**2))))


# --------------------------------------------------------------------------------------------- the model


def write_model(folder: Path, channels: int = 1) -> Path:
    """A random MusicGen of four codebooks a channel of 16 codes at 50 Hz and 32 kHz, in transformers' layout."""
    return write_musicgen(
        folder,
        WORDS,
        width=16,
        n_heads=2,
        ffn_width=16,
        text={"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2},
        codec={"sampling_rate": SAMPLE_RATE_HZ, "upsampling_ratios": [8, 5, 4, 4], "num_filters": 2},
        scale=1.0,
        channels=channels,
        n_layers=1,
    )


def registry_of(model: Path, more: Sequence[Any] = ()) -> Registry:
    """The lamps, two encoders, the words and the random model; `more` are entry points of other distributions."""
    from expotion.musicgen.engine import expotion_engines
    from expotion_text_t5 import SPEC as TEXT

    module = ModuleType("lamps")
    offers: dict[str, list[Any]] = {
        "expotion_encoders": [light_spec("glow", 2, Light), light_spec("sway", 3, Swaying), TEXT],
        "expotion_data_sources": [DataSourceSpec("lamps", "lamps", Lamps, LampOptions)],
        "expotion_backbones": [
            BackboneSpec("lamps", "a random MusicGen", lambda: model),
            BackboneSpec("tiny", "a random MusicGen", lambda: model),
        ],
        "expotion_engines": expotion_engines(),
        "expotion_metrics": [MetricSpec("loudness", "RMS", lambda: loudness, higher_is_better=True)],
    }
    for hook, specs in offers.items():
        setattr(module, hook, hookimpl(lambda specs=specs: specs))

    class Point:
        name = "lamps"
        dist = SimpleNamespace(name="expotion-lamps", version="0.1")

        def load(self) -> ModuleType:
            return module

    return discover([Point(), *more], builtins=())


if __name__ in ("__main__", "__mp_main__"):  # the command, and the processes that work for it
    lamps = registry_of(Path(sys.argv[1]))
    expotion.plugins.discover = lambda: lamps  # type: ignore[assignment]

if __name__ == "__main__":
    # Whoever runs the tests in the background has told its children to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from expotion.cli.main import main

    main(sys.argv[2:])
