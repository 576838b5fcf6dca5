"""Named sets of adaptor options: ours, the paper's, and the authors' released code."""

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
