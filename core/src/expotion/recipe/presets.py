"""Named sets of options: what the paper and its released code fix, every number once.

A preset holds what differs from ours, which are the fields' defaults. Named in a recipe's base, it fills what is
left out there. Named in a profile, a matrix row or `--set`, it lies over the base and below that layer's own keys.
"""

from __future__ import annotations

from typing import Any, Literal

Preset = Literal["ours", "paper", "released_code"]

GUIDED_AS_RELEASED: dict[str, Any] = {"null_branch": "full", "row_limit": "frames"}
"""What `generate: {preset: paper | released_code}` says of `adaptor`, where the keys stand because an adaptor keeps
them: the controls are in both halves of guidance, and steps after the last frame use its row."""

# Of the released code where the paper is silent: guidance, rows after the last frame, what stands in for a dropped
# modality.
_AUTHORS_ADAPTOR: dict[str, Any] = {
    "layers": "all",
    "start": "table",
    "null": "zero",
    **GUIDED_AS_RELEASED,
    "silent_when_dropped": False,
    "standardise": False,
}

# One rate for every tensor, up to it from 0 over two epochs, cosine down to 1e-4. Where the paper is silent
# (warm-up, decay, clipping), the released code's settings. Every clip is trained on: the test is apart.
_AUTHORS_TRAIN: dict[str, Any] = {
    "batch_size": 10,
    "warmup_epochs": 2.0,
    "learning_rate": 1.0e-2,
    "schedule": "cosine",
    "final_learning_rate_ratio": 1.0e-2,
    "weight_decay": 0.02,
    "betas": [0.9, 0.999],
    "clip_norm": 0.1,
    "context_swap": False,
    "condition_dropout": 0.0,
    "text_dropout": 0.3,
    "ema": None,
    "early_stopping": None,
    "stretch_frames": None,
    "validation_clips": 0,
}

# MusicGen's own sampling, with one scale for text and controls.
_AUTHORS_GENERATE: dict[str, Any] = {
    "cfg_scale": 3.0,
    "control_scale": None,
    "scales": {},
    "top_k": 250,
    "top_p": 0.0,
    "temperature": 1.0,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "adaptor": {
        # What measures best with the conductor world; no learned table, so no limit on length.
        "ours": {},
        # The paper's equations: one joint embedding with positions of width sum(r_i), and a prefix that is only
        # self-attention, without causal mask.
        "paper": {
            **_AUTHORS_ADAPTOR,
            "prefix_attention": "full",
            "prefix_block": "attention",
            "positions": "fused",
            "fusion": "shared",
        },
        # The authors' files: causal prefix, a d-wide position table per layer, a merge matrix per layer.
        "released_code": {
            **_AUTHORS_ADAPTOR,
            "prefix_attention": "causal",
            "prefix_block": "layer",
            "positions": "table",
            "fusion": "per_layer",
        },
    },
    "train": {
        "ours": {},
        "paper": {**_AUTHORS_TRAIN, "epochs": 40.0, "accumulate": 1},
        # Four workers with 10 clips each: one sees the same 40. Exactly the released trainer, with its first step
        # of rate 0 and its dropout of a whole batch's text at once, is `expotion_verify.trainer`.
        "released_code": {**_AUTHORS_TRAIN, "epochs": 20.0, "accumulate": 4},
    },
    "generate": {"ours": {}, "paper": _AUTHORS_GENERATE, "released_code": _AUTHORS_GENERATE},
}

RIVALS = {"steps": "epochs", "epochs": "steps", "warmup_steps": "warmup_epochs", "warmup_epochs": "warmup_steps"}
"""Keys of `train` that say the same in two units: a layer that gives one takes the other away."""


def preset_layer(section: str, name: str) -> dict[str, Any]:
    """A preset as a partial recipe, to be laid over another. Raises KeyError for one that there is not."""
    layer: dict[str, Any] = {section: PRESETS[section][name]}
    if section == "generate" and name != "ours":
        layer["adaptor"] = GUIDED_AS_RELEASED
    return layer


def filled(section: str, values: Any) -> Any:
    """What was given of a section, over what its preset says; anything but a mapping as it is."""
    if not isinstance(values, dict):
        return values
    preset = PRESETS[section].get(str(values.get("preset")), {})
    return {key: value for key, value in preset.items() if RIVALS.get(key) not in values} | values
