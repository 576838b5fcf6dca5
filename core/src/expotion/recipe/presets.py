"""Named sets of adaptor options: ours, the paper's, and the authors' released code."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # What measures best with the conductor world; no position table, so no limit on length.
    "ours": {
        "layers": "all",
        "prefix_attention": "causal",
        "positions": "sinusoidal",
        "fusion": "per_layer",
        "null_branch": "none",
    },
    # The paper's equations: one joint embedding with positions of width sum(r_i), no causal mask on the
    # prefix; it is silent on guidance, so the condition stands in both halves as in the released code.
    "paper": {
        "layers": "all",
        "prefix_attention": "full",
        "positions": "fused",
        "fusion": "shared",
        "null_branch": "full",
    },
    # The authors' files: causal prefix, a d-wide position table per layer, a merge matrix per layer.
    "released_code": {
        "layers": "all",
        "prefix_attention": "causal",
        "positions": "table",
        "fusion": "per_layer",
        "null_branch": "full",
    },
}
