"""Named sets of options of the adaptor and of training: ours, the paper's, and the authors' released code."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # What measures best with the conductor world; no learned table, so no limit on length.
    "ours": {
        "layers": "all",
        "prefix_attention": "full",
        "prefix_block": "layer",
        "positions": "sinusoidal",
        "fusion": "per_layer",
        "start": "vector",
        "null": "vector",
        "null_branch": "none",
        "row_limit": "all",
        "silent_when_dropped": True,
        "standardise": True,
    },
    # The paper's equations: one joint embedding with positions of width sum(r_i), and a prefix that is only
    # self-attention, without causal mask. It is silent on guidance and on what stands in for a dropped
    # modality, so these are the released code's.
    "paper": {
        "layers": "all",
        "prefix_attention": "full",
        "prefix_block": "attention",
        "positions": "fused",
        "fusion": "shared",
        "start": "table",
        "null": "zero",
        "null_branch": "full",
        "row_limit": "all",
        "silent_when_dropped": False,
        "standardise": False,
    },
    # The authors' files: causal prefix, a d-wide position table per layer, a merge matrix per layer.
    "released_code": {
        "layers": "all",
        "prefix_attention": "causal",
        "prefix_block": "layer",
        "positions": "table",
        "fusion": "per_layer",
        "start": "table",
        "null": "zero",
        "null_branch": "full",
        "row_limit": "frames",
        "silent_when_dropped": False,
        "standardise": False,
    },
}

_AUTHORS: dict[str, Any] = {
    "learning_rate": 1.0e-2,  # one rate for every tensor
    "final_learning_rate_ratio": 1.0e-2,  # cosine down to 1e-4
    "weight_decay": 0.02,
    "clip_norm": 0.1,
    "context_swap": False,
    "condition_dropout": 0.0,
    "text_dropout": 0.3,
}

TRAIN_PRESETS: dict[str, dict[str, Any]] = {
    "ours": {},
    # Batches of 10; where the paper is silent (warm-up, decay, clipping), the released code's settings.
    "paper": {**_AUTHORS, "batch_size": 10},
    # Four workers with 10 clips each: one sees the same 40. Exactly the released trainer, with its first step of
    # rate 0 and its dropout of a whole batch's text at once, is `expotion.training.released`.
    "released_code": {**_AUTHORS, "batch_size": 10, "accumulate": 4},
}
