"""What bf16, fp16 and int8 cost in quality on the shipped tiny MusicGen, whose weights are trained.

    uv run python benchmarks/precision.py
    uv run python benchmarks/precision.py --clips 48

First the logits: codes are drawn in float32 for a few prompts (temperature 1, top-k 250, guidance 3); then every
precision is fed those same codes step by step. Per precision: relative error of the logits, KL divergence of the
next-token distribution from float32's (nats, mean over codebooks and steps), share of equal most probable tokens.

Then the control: music for clips of the conductor world (development seeds: none of training, none of testing) with
the shipped adaptor, the same seeds in every precision. Per precision: beat F1 and intensity correlation with the
truth, and mean paired differences from float32 with a 95% bootstrap interval. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch
from torch import Tensor

from expotion.contracts import Scored
from expotion.evaluate.evaluate import evaluate
from expotion.evaluate.registry import BUILT_IN
from expotion.music.compose import text_sources
from expotion.music.composer import load
from expotion.musicgen import delay
from expotion.musicgen.engine import prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes
from expotion.musicgen.load import load_backbone
from expotion.plugins import discover
from expotion_text_t5 import SPEC as TEXT
from expotion_text_t5 import TextT5Options

PROMPTS = ["a calm piano piece", "a fast marimba piece", "loud brass, slow", "soft strings"]
N_FRAMES = 500
MODES = ("fp32", "bf16", "fp16", "int8")
DEVELOPMENT_SEED = 5_400_000
METRICS = ("beat_f1", "intensity_correlation")


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


def of_control(n_clips: int, modes: list[str]) -> dict[str, Any]:
    """Per precision: the control metrics, and how they differ from float32's."""
    spec = discover().data_source("conductor")
    source = spec.build(spec.options(train_clips=1, test_clips=n_clips, test_seed=DEVELOPMENT_SEED))
    composer = load()
    sounds: dict[str, list[Scored]] = {mode: [] for mode in modes}
    for index, clip in enumerate(source.clips("test")):
        for mode in modes:
            music = composer.compose(clip, prompt=clip.caption, seed=index, precision=mode)
            sounds[mode].append(Scored(music.samples, music.sample_rate_hz, clip, clip.caption))
        print(f"{index + 1} of {n_clips} clips", file=sys.stderr, flush=True)
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
