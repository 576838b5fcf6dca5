"""What bf16, fp16 and int8 cost in quality on the shipped tiny MusicGen, whose weights are trained.

    uv run python benchmarks/precision.py

Codes are drawn in float32 for a few prompts (temperature 1, top-k 250, guidance 3); then every precision is fed
those same codes step by step. Per precision: relative error of the logits, KL divergence of the next-token
distribution from float32's (nats, mean over codebooks and steps), share of equal most probable tokens. The last
line is one JSON object.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

from expotion.backbone import delay
from expotion.backbone.engine import prepare
from expotion.backbone.generate import generate_codes
from expotion.backbone.load import load_backbone
from expotion.backbone.sampling import Sampler
from expotion.backbone.step_model import StepModel
from expotion.plugins import discover

PROMPTS = ["a calm piano piece", "a fast marimba piece", "loud brass, slow", "soft strings"]
N_FRAMES = 500


def logits_of(model: StepModel, sequence: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Logits [B, K, S, V] of a delayed sequence [B, K, S], fed one step at a time."""
    state = model.start(source, sequence.shape[2], source_mask=mask)
    return torch.stack(
        [model.step(sequence[:, :, i], state) for i in range(sequence.shape[2])], dim=2
    ).float()


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    backbone = load_backbone(discover().backbone("tiny").locate())
    assert backbone.text is not None
    hidden, mask = backbone.text.encode(PROMPTS)
    source = backbone.lm.project_text(hidden, mask)
    generators = [torch.Generator().manual_seed(index) for index in range(len(PROMPTS))]
    codes = generate_codes(
        backbone.lm, source, N_FRAMES, cfg_scale=3.0, sampler=Sampler(), generators=generators
    )
    sequence = delay.build(codes, backbone.lm.geometry.special_token, valid_only=True)
    exact = logits_of(backbone.lm, sequence, source, mask.bool())
    found: dict[str, dict[str, float]] = {}
    for mode in ("fp32", "bf16", "fp16", "int8"):
        got = logits_of(prepare(backbone.lm, mode), sequence, source, mask.bool())
        log_p, log_q = exact.log_softmax(-1), got.log_softmax(-1)
        found[mode] = {
            "relative_error": float((got - exact).norm() / exact.norm()),
            "kl_nats": float((log_p.exp() * (log_p - log_q)).sum(-1).mean()),
            "equal_top_token": float((got.argmax(-1) == exact.argmax(-1)).float().mean()),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
