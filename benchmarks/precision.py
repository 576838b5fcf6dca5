"""What bf16, fp16 and int8 cost in quality on the shipped tiny MusicGen, whose weights are trained.

    uv run python benchmarks/precision.py
    uv run python benchmarks/precision.py --clips 96

First the logits: codes are drawn in float32 for a few prompts (temperature 1, top-k 250, guidance 3); then every
precision is fed those same codes step by step. Per precision: relative error of the logits, KL divergence of the
next-token distribution from float32's (nats, mean over codebooks and steps), share of equal most probable tokens.

Then the control: music for clips of the conductor world (development seeds: none of training, none of testing) with
the shipped adaptor, eight clips at once in each of as many processes as there are cores, the same seeds in every
precision. Per precision: beat F1 and intensity correlation with the
truth, and mean paired differences from float32 with a 95% bootstrap interval. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion import machine, timeline
from expotion.contracts import Clip, Scored
from expotion.evaluate.evaluate import evaluate
from expotion.evaluate.registry import BUILT_IN
from expotion.features.material import sampled_tracks, smooth_all
from expotion.music.compose import compose
from expotion.music.composer import Composer, load
from expotion.music.request import Request, text_sources
from expotion.music.sound import to_sound
from expotion.music.windows import Windows
from expotion.musicgen import delay
from expotion.musicgen.engine import prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes
from expotion.musicgen.load import load_backbone
from expotion.plugins import discover
from expotion.workers import spread
from expotion_text_t5 import SPEC as TEXT
from expotion_text_t5 import TextT5Options

PROMPTS = ["a calm piano piece", "a fast marimba piece", "loud brass, slow", "soft strings"]
N_FRAMES = 500
MODES = ("fp32", "bf16", "fp16", "int8")
DEVELOPMENT_SEED = 5_400_000
METRICS = ("beat_f1", "intensity_correlation")
BATCH = 8
Samples = NDArray[np.float32]


def logits_of(model: Engine, sequence: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Logits [B, K, S, V] of a delayed sequence [B, K, S], fed one step at a time."""
    state = model.start(source, sequence.shape[2], source_mask=mask)
    return torch.stack([model.step(sequence[:, :, i], state) for i in range(sequence.shape[2])], dim=2).float()


@torch.inference_mode()
def of_logits() -> dict[str, dict[str, float]]:
    """Per precision: how far its distributions are from float32's."""
    folder = str(discover().backbone("tiny").locate())
    backbone, encoder = load_backbone(folder), TEXT.build(TextT5Options(model=folder))
    source, mask = text_sources(backbone.lm, [encoder.encode(prompt) for prompt in PROMPTS])
    generators = [torch.Generator().manual_seed(index) for index in range(len(PROMPTS))]
    codes = generate_codes(
        prepare(backbone.lm, "fp32"), source, N_FRAMES, cfg_scale=3.0, sampler=Sampler(), generators=generators
    )
    sequence = delay.build(codes, backbone.lm.geometry.special_token, backbone.lm.geometry.delays, valid_only=True)
    exact = backbone.lm(sequence, source, source_mask=mask.bool()).float()
    found: dict[str, dict[str, float]] = {}
    for mode in MODES:
        got = logits_of(prepare(backbone.lm, mode), sequence, source, mask.bool())
        log_p, log_q = exact.log_softmax(-1), got.log_softmax(-1)
        found[mode] = {
            "relative_error": float((got - exact).norm() / exact.norm()),
            "kl_nats": float((log_p.exp() * (log_p - log_q)).sum(-1).mean()),
            "equal_top_token": float((got.argmax(-1) == exact.argmax(-1)).float().mean()),
        }
    return found


def music_of(modes: Sequence[str], n_clips: int, composer: Composer, first: int) -> dict[str, list[Samples]]:
    """Per precision: samples of a batch of clips, decoded together, each with its own seed."""
    torch.set_num_threads(1)
    clips = clips_of(n_clips)[first : first + BATCH]
    backbone, steering = composer.backbone, composer.resolved(None, {})
    assert backbone.codec is not None
    requests = []
    for number, clip in enumerate(clips):
        n_frames = timeline.n_steps(clip.duration_s, backbone.frame_rate_hz)
        native = sampled_tracks(
            composer.recipe, composer.encoders, composer.controls.extract(list(composer.encoders), clip)
        )
        tracks = smooth_all(composer.encoders, native, n_frames, backbone.frame_rate_hz)
        text, strengths = composer.prompts[clip.caption], dict.fromkeys(tracks, 1.0)
        requests.append(Request(n_frames, text, tracks, strengths, first + number))
    found: dict[str, list[Samples]] = {}
    for mode in modes:
        windows = Windows(composer.window_frames)
        codes = compose(composer.engine(mode), composer.adaptor, requests, steering, windows)
        n_samples = [timeline.n_samples(clip.duration_s, backbone.sample_rate_hz) for clip in clips]
        found[mode] = [to_sound(backbone.codec, one, n) for one, n in zip(codes, n_samples, strict=True)]
    return found


def clips_of(n: int) -> list[Clip]:
    """Development clips of the conductor world."""
    spec = discover().data_source("conductor")
    return list(spec.build(spec.options(train_clips=1, test_clips=n, test_seed=DEVELOPMENT_SEED)).clips("test"))


def of_control(n_clips: int, modes: list[str]) -> dict[str, Any]:
    """Per precision: the control metrics, and how they differ from float32's."""
    clips, rate_hz = clips_of(n_clips), load_backbone(str(discover().backbone("tiny").locate())).sample_rate_hz
    made: dict[int, dict[str, list[Samples]]] = {}
    firsts = list(range(0, n_clips, BATCH))
    machine.decide()
    work = partial(music_of, modes, n_clips)
    for index, result in spread(work, firsts, build=load, workers=min(machine.cores(), len(firsts))):
        if isinstance(result, Exception):
            raise result
        made[index] = result
        print(f"{len(made)} of {len(firsts)} batches of clips", file=sys.stderr, flush=True)
    sounds = {
        mode: [
            Scored(samples, rate_hz, clip, clip.caption)
            for samples, clip in zip((s for i in range(len(firsts)) for s in made[i][mode]), clips, strict=True)
        ]
        for mode in modes
    }
    found = evaluate(sounds, [BUILT_IN[name] for name in METRICS], baselines=("fp32",))
    return {"metrics": found.metrics, "difference_from_fp32": found.comparisons.get("fp32", {})}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=24, help="clips of 10 s for the control metrics")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["fp32", "bf16", "int8"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps({"logits": of_logits(), "control": of_control(asked.clips, asked.modes)}))


if __name__ == "__main__":
    main()
