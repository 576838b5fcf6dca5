"""audiocraft's own `generate` in a process of its own: its packages stand beside ours in the group `oracle` only.

    python audiocraft_peer.py WEIGHTS.safetensors SIZES.json

Builds audiocraft's LMModel from its own settings, loads the weights (audiocraft's names), and stands in for T5 with
the given hidden states, so that the text is the same everywhere. Then each line of standard input, a number of
frames, is answered by one line of JSON: `seconds`, `codes`.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def settings(sizes: dict[str, Any]) -> dict[str, Any]:
    """audiocraft's settings of a MusicGen of these sizes; as released where sizes do not matter."""
    return {
        "lm_model": "transformer_lm",
        "device": "cpu",
        "dtype": "float32",
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {"delays": list(range(sizes["n_codebooks"])), "flatten_first": 0, "empty_initial": 0},
        },
        "transformer_lm": {
            "dim": sizes["width"],
            "num_heads": sizes["n_heads"],
            "num_layers": sizes["n_layers"],
            "hidden_scale": sizes["ffn_width"] // sizes["width"],
            "n_q": sizes["n_codebooks"],
            "card": sizes["card"],
            "dropout": 0.0,
            "emb_lr": None,
            "activation": "gelu",
            "norm_first": True,
            "bias_ff": False,
            "bias_attn": False,
            "bias_proj": False,
            "past_context": None,
            "causal": True,
            "custom": False,
            "memory_efficient": True,
            "attention_as_float32": False,
            "layer_scale": None,
            "positional_embedding": "sin",
            "xpos": False,
            "checkpointing": "none",
            "weight_init": "gaussian",
            "depthwise_init": "current",
            "zero_bias_init": True,
            "norm": "layer_norm",
            "cross_attention": False,
            "qk_layer_norm": False,
            "qk_layer_norm_cross": False,
            "attention_dropout": None,
            "kv_repeat": 1,
            "two_step_cfg": False,
        },
        "dataset": {"segment_duration": 30},
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
        "attribute_dropout": {},
        "fuser": {
            "cross_attention_pos_emb": False,
            "cross_attention_pos_emb_scale": 1,
            "sum": [],
            "prepend": [],
            "cross": ["description"],
            "input_interpolate": [],
        },
        "conditioners": {},
    }


def fixed_text(source: Tensor) -> nn.Module:
    """In the place of T5: one prompt's source [1, L, d], zeros for no prompt."""
    from audiocraft.modules.conditioners import TextConditioner  # noqa: PLC0415

    class FixedText(TextConditioner):
        def __init__(self) -> None:
            nn.Module.__init__(self)

        def tokenize(self, prompts: list[str | None]) -> Tensor:
            return torch.tensor([float(prompt is not None) for prompt in prompts])

        def forward(self, there: Tensor) -> tuple[Tensor, Tensor]:
            mask = there[:, None].expand(-1, source.shape[1])
            return source * mask[:, :, None], mask

    return FixedText()


def build(weights: Path, sizes: dict[str, Any]) -> Any:
    """audiocraft's model with the given weights."""
    from audiocraft.models import builders  # noqa: PLC0415
    from audiocraft.modules.conditioners import ConditioningProvider  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    tensors = load_file(weights)
    source = tensors.pop("source")
    model = builders.get_lm_model(OmegaConf.create(settings(sizes)))
    model.load_state_dict(tensors)
    model.condition_provider = ConditioningProvider({"description": fixed_text(source)}, device="cpu")
    return model.eval()


@torch.no_grad()
def main() -> None:
    """Answer requests until standard input ends."""
    warnings.filterwarnings("ignore")
    from audiocraft.modules.conditioners import ConditioningAttributes  # noqa: PLC0415

    sizes = json.loads(Path(sys.argv[2]).read_text())
    torch.set_num_threads(sizes["threads"])
    model = build(Path(sys.argv[1]), sizes)
    conditions = [ConditioningAttributes(text={"description": "a prompt"})]
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        codes = model.generate(
            conditions=conditions, max_gen_len=int(line), use_sampling=False, cfg_coef=sizes["cfg_scale"]
        )
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "codes": codes[0].tolist()}), flush=True)


if __name__ == "__main__":
    main()
