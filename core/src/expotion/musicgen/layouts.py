"""Names of the language model's tensors: transformers' and audiocraft's, both to ours.

Ours stores q, k, v as one matrix (rows in this order), cross-attention's k and v as one, all K embedding tables
and all K heads as one each. A layout lists, for each of our tensors, the tensors that it is made of: stacked
along the first axis, and for audiocraft's fused cross-attention a range of rows of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry
from expotion.weights import check_tensors


@dataclass(frozen=True)
class Source:
    """Part of a foreign tensor: its name, its whole shape, and the rows that are meant (None: all)."""

    name: str
    shape: tuple[int, ...]
    rows: tuple[int, int] | None = None


Layout = dict[str, list[Source]]


def _norm(ours: str, theirs: str, width: int) -> Layout:
    return {f"{ours}.{part}": [Source(f"{theirs}.{part}", (width,))] for part in ("weight", "bias")}


def hf_layout(geometry: LMGeometry, prefix: str = "decoder.", projection: str = "enc_to_dec_proj") -> Layout:
    """transformers' names; `prefix` is "decoder." in the full model and "" in a decoder-only one."""
    d, f = geometry.width, geometry.ffn_width
    codebooks = range(geometry.n_codebooks)
    base = f"{prefix}model.decoder"
    layout: Layout = {
        "embedding.weight": [
            Source(f"{base}.embed_tokens.{k}.weight", (geometry.card + 1, d)) for k in codebooks
        ],
        "output_heads.weight": [
            Source(f"{prefix}lm_heads.{k}.weight", (geometry.card, d)) for k in codebooks
        ],
        **_norm("norm_out", f"{base}.layer_norm", d),
    }
    for n in range(geometry.n_layers):
        ours, theirs = f"layers.{n}", f"{base}.layers.{n}"
        layout |= {
            f"{ours}.qkv.weight": [Source(f"{theirs}.self_attn.{p}_proj.weight", (d, d)) for p in "qkv"],
            f"{ours}.out.weight": [Source(f"{theirs}.self_attn.out_proj.weight", (d, d))],
            f"{ours}.cross_q.weight": [Source(f"{theirs}.encoder_attn.q_proj.weight", (d, d))],
            f"{ours}.cross_kv.weight": [
                Source(f"{theirs}.encoder_attn.{p}_proj.weight", (d, d)) for p in "kv"
            ],
            f"{ours}.cross_out.weight": [Source(f"{theirs}.encoder_attn.out_proj.weight", (d, d))],
            f"{ours}.ffn_in.weight": [Source(f"{theirs}.fc1.weight", (f, d))],
            f"{ours}.ffn_out.weight": [Source(f"{theirs}.fc2.weight", (d, f))],
            **_norm(f"{ours}.norm1", f"{theirs}.self_attn_layer_norm", d),
            **_norm(f"{ours}.norm_cross", f"{theirs}.encoder_attn_layer_norm", d),
            **_norm(f"{ours}.norm2", f"{theirs}.final_layer_norm", d),
        }
    return layout | _text(geometry, projection)


def audiocraft_layout(geometry: LMGeometry) -> Layout:
    """audiocraft's names, as in `best_state` of its `state_dict.bin`."""
    d, f = geometry.width, geometry.ffn_width
    codebooks = range(geometry.n_codebooks)
    layout: Layout = {
        "embedding.weight": [Source(f"emb.{k}.weight", (geometry.card + 1, d)) for k in codebooks],
        "output_heads.weight": [Source(f"linears.{k}.weight", (geometry.card, d)) for k in codebooks],
        **_norm("norm_out", "out_norm", d),
    }
    for n in range(geometry.n_layers):
        ours, theirs = f"layers.{n}", f"transformer.layers.{n}"
        cross = f"{theirs}.cross_attention.in_proj_weight"
        layout |= {
            f"{ours}.qkv.weight": [Source(f"{theirs}.self_attn.in_proj_weight", (3 * d, d))],
            f"{ours}.out.weight": [Source(f"{theirs}.self_attn.out_proj.weight", (d, d))],
            f"{ours}.cross_q.weight": [Source(cross, (3 * d, d), (0, d))],
            f"{ours}.cross_kv.weight": [Source(cross, (3 * d, d), (d, 3 * d))],
            f"{ours}.cross_out.weight": [Source(f"{theirs}.cross_attention.out_proj.weight", (d, d))],
            f"{ours}.ffn_in.weight": [Source(f"{theirs}.linear1.weight", (f, d))],
            f"{ours}.ffn_out.weight": [Source(f"{theirs}.linear2.weight", (d, f))],
            **_norm(f"{ours}.norm1", f"{theirs}.norm1", d),
            **_norm(f"{ours}.norm_cross", f"{theirs}.norm_cross", d),
            **_norm(f"{ours}.norm2", f"{theirs}.norm2", d),
        }
    return layout | _text(geometry, "condition_provider.conditioners.description.output_proj")


def _text(geometry: LMGeometry, theirs: str) -> Layout:
    if geometry.text_width is None:
        return {}
    return {
        "text_projection.weight": [Source(f"{theirs}.weight", (geometry.width, geometry.text_width))],
        "text_projection.bias": [Source(f"{theirs}.bias", (geometry.width,))],
    }


def build_lm(
    tensors: Mapping[str, Tensor], geometry: LMGeometry, layout: Layout, where: str, dtype: torch.dtype
) -> MusicGenLM:
    """A model with these weights. Strict: every mismatch is listed in one WeightsError."""
    wanted = {source.name: source.shape for sources in layout.values() for source in sources}
    check_tensors(tensors, wanted, where)

    def part(source: Source) -> Tensor:
        tensor = tensors[source.name].to(dtype)
        return tensor if source.rows is None else tensor[source.rows[0] : source.rows[1]]

    state = {
        ours: torch.cat([part(s) for s in sources]) if len(sources) > 1 else part(sources[0]).clone()
        for ours, sources in layout.items()
    }
    with torch.device("meta"):
        lm = MusicGenLM(geometry)
    lm.load_state_dict(state, strict=True, assign=True)
    return lm.requires_grad_(False).eval()
