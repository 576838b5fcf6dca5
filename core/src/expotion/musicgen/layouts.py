"""Names of the language model's tensors: transformers' and audiocraft's, both to ours.

Ours stores q, k, v as one matrix (rows in this order), cross-attention's k and v as one, all K embedding tables
and all K heads as one each. A layout lists, for each of our tensors, the tensors that it is made of: stacked
along the first axis, and for audiocraft's fused cross-attention a range of rows of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry
from expotion.weights import check_tensors, shapes_of, undrawn


@dataclass(frozen=True)
class Source:
    """Part of a foreign tensor: its name, its whole shape, and the rows that are meant (None: all)."""

    name: str
    shape: tuple[int, ...]
    rows: tuple[int, int] | None = None


Layout = dict[str, list[Source]]

# The modules of a layer: ours, transformers' in the order in which they are stacked, and audiocraft's.
_LAYER = {
    "qkv": ("self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.in_proj"),
    "out": ("self_attn.out_proj", "self_attn.out_proj"),
    "cross_q": ("encoder_attn.q_proj", "cross_attention.in_proj"),
    "cross_kv": ("encoder_attn.k_proj encoder_attn.v_proj", "cross_attention.in_proj"),
    "cross_out": ("encoder_attn.out_proj", "cross_attention.out_proj"),
    "ffn_in": ("fc1", "linear1"),
    "ffn_out": ("fc2", "linear2"),
    "norm1": ("self_attn_layer_norm", "norm1"),
    "norm_cross": ("encoder_attn_layer_norm", "norm_cross"),
    "norm2": ("final_layer_norm", "norm2"),
}


def hf_layout(geometry: LMGeometry, prefix: str = "decoder.") -> Layout:
    """transformers' names; `prefix` is "decoder." in the full model and "" in a decoder-only one."""
    base = f"{prefix}model.decoder"
    front = ("enc_to_dec_proj", "audio_enc_to_dec_proj")
    ends = (f"{base}.embed_tokens", f"{prefix}lm_heads", f"{base}.layer_norm", *front)
    return _layout(geometry, *ends, f"{base}.layers", {ours: hf for ours, (hf, _) in _LAYER.items()})


def audiocraft_layout(geometry: LMGeometry) -> Layout:
    """audiocraft's names, as in `best_state` of its `state_dict.bin`."""
    d, layers = geometry.width, "transformer.layers"
    conditioners = "condition_provider.conditioners"
    front = (f"{conditioners}.description.output_proj", f"{conditioners}.self_wav.output_proj")
    ends = ("emb", "linears", "out_norm", *front)
    layout = _layout(geometry, *ends, layers, {ours: theirs for ours, (_, theirs) in _LAYER.items()})
    for n in range(geometry.n_layers if geometry.chroma is None else 0):
        for ours, rows in (("cross_q", (0, d)), ("cross_kv", (d, 3 * d))):
            fused = Source(f"{layers}.{n}.cross_attention.in_proj_weight", (3 * d, d), rows)
            layout[f"layers.{n}.{ours}.weight"] = [fused]
    return layout


def _layout(
    geometry: LMGeometry,
    tables: str,
    heads: str,
    norm: str,
    text: str,
    chroma: str,
    layers: str,
    names: Mapping[str, str],
) -> Layout:
    """From the names of modules to those of tensors, in their shapes: what is stacked shares our rows."""
    modules = {
        "embedding": [f"{tables}.{k}" for k in range(geometry.n_codebooks)],
        "output_heads": [f"{heads}.{k}" for k in range(geometry.n_codebooks)],
        "norm_out": [norm],
    }
    for n in range(geometry.n_layers):
        for ours, stacked in names.items():
            modules[f"layers.{n}.{ours}"] = [f"{layers}.{n}.{each}" for each in stacked.split()]
    modules |= {"text_projection": [text], "chroma_projection": [chroma]}
    layout: Layout = {}
    shapes = _shapes(geometry)
    for ours, theirs in modules.items():
        for part in ("weight", "bias"):
            if shape := shapes.get(f"{ours}.{part}"):
                own = (shape[0] // len(theirs), *shape[1:])
                # torch's own attention calls its fused matrix in_proj_weight, without a module of that name
                parts = [f"{each}.{part}".replace("in_proj.", "in_proj_") for each in theirs]
                layout[f"{ours}.{part}"] = [Source(name, own) for name in parts]
    return layout


@lru_cache(maxsize=8)
def _shapes(geometry: LMGeometry) -> Mapping[str, tuple[int, ...]]:
    return shapes_of(_empty(geometry))


def _empty(geometry: LMGeometry) -> MusicGenLM:
    """A model without memory for its weights."""
    with torch.device("meta"), undrawn():
        return MusicGenLM(geometry)


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
    lm = _empty(geometry)
    lm.load_state_dict(state, strict=True, assign=True)
    return lm.requires_grad_(False).eval()
