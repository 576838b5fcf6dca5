"""One tower of LanguageBind: CLIP's vision transformer, with attention over time for video, in the released layout.

A block of the video tower first adds a learned position in time and attends over the frames at each place; then, as
in CLIP, it attends over the places of each frame and applies the MLP. The class token of every frame is normed,
averaged over frames and projected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion import weights
from expotion.errors import Problem, WeightsError

TOWER_KEYS = ("vision_model.", "visual_projection.")


@dataclass(frozen=True)
class Geometry:
    """Sizes as the released `config.json` gives them; `size` is (height, width) of the picture or spectrogram."""

    dim: int
    depth: int
    heads: int
    hidden: int
    patch: int
    size: tuple[int, int]
    out: int
    frames: int = 1
    over_time: bool = False
    eps: float = 1e-5
    act: str = "gelu"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Geometry:
        """From a released configuration, video or audio."""
        vision = config["vision_config"]
        side = vision.get("image_size", 224)
        bands, length = vision.get("num_mel_bins", 0), vision.get("target_length", 0)
        return cls(
            dim=vision.get("hidden_size", 1024),
            depth=vision.get("num_hidden_layers", 24),
            heads=vision.get("num_attention_heads", 16),
            hidden=vision.get("intermediate_size", 4096),
            patch=vision.get("patch_size", 14),
            size=(bands, length) if bands and length else (side, side),
            out=config.get("projection_dim", 768),
            frames=vision.get("num_frames", 1),
            over_time=bool(vision.get("add_time_attn", False)),
            eps=vision.get("layer_norm_eps", 1e-5),
            act=vision.get("hidden_act", "gelu"),
        )


class Attention(nn.Module):
    """Multi-head attention with CLIP's four matrices."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.v_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, D] -> the same shape."""
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return result


class Mlp(nn.Module):
    """Two linear maps around the configuration's activation."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.quick = geometry.act == "quick_gelu"
        self.fc1 = nn.Linear(geometry.dim, geometry.hidden)
        self.fc2 = nn.Linear(geometry.hidden, geometry.dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [.., D] -> the same shape."""
        y = self.fc1(x)
        y = y * torch.sigmoid(1.702 * y) if self.quick else functional.gelu(y)
        result: Tensor = self.fc2(y)
        return result


class Block(nn.Module):
    """Attention over time where the tower has it, attention over places, MLP; each pre-normed and residual."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        dim = geometry.dim
        self.frames = geometry.frames if geometry.over_time else 1
        self.self_attn = Attention(dim, geometry.heads)
        self.layer_norm1 = nn.LayerNorm(dim, eps=geometry.eps)
        self.mlp = Mlp(geometry)
        self.layer_norm2 = nn.LayerNorm(dim, eps=geometry.eps)
        if geometry.over_time:
            self.temporal_embedding = nn.Parameter(torch.zeros(1, geometry.frames, dim))
            self.temporal_attn = Attention(dim, geometry.heads)
            self.temporal_layer_norm1 = nn.LayerNorm(dim, eps=geometry.eps)

    def forward(self, x: Tensor) -> Tensor:
        """x [B frames, n, D], frames of one video in a row -> the same shape."""
        if self.frames > 1:
            batch, places = len(x) // self.frames, x.shape[1]
            y = x.unflatten(0, (batch, self.frames)).transpose(1, 2).flatten(0, 1)  # [B n, frames, D]
            y = y + self.temporal_embedding
            y = y + self.temporal_attn(self.temporal_layer_norm1(y))
            x = y.unflatten(0, (batch, places)).transpose(1, 2).flatten(0, 1)
        x = x + self.self_attn(self.layer_norm1(x))
        result: Tensor = x + self.mlp(self.layer_norm2(x))
        return result


class Embeddings(nn.Module):
    """Patches, class token and positions."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        places = (geometry.size[0] // geometry.patch) * (geometry.size[1] // geometry.patch)
        self.class_embedding = nn.Parameter(torch.zeros(geometry.dim))
        self.patch_embedding = nn.Conv2d(
            3, geometry.dim, kernel_size=geometry.patch, stride=geometry.patch, bias=False
        )
        self.position_embedding = nn.Embedding(places + 1, geometry.dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [m, 3, H, W] -> [m, 1 + places, D]."""
        patches = self.patch_embedding(x).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.class_embedding.expand(len(x), 1, -1), patches), dim=1)
        result: Tensor = tokens + self.position_embedding.weight
        return result


class Layers(nn.Module):
    """The blocks under the name that they are released with."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(geometry) for _ in range(geometry.depth))


class VisionModel(nn.Module):
    """Everything before the projection."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.embeddings = Embeddings(geometry)
        self.pre_layrnorm = nn.LayerNorm(geometry.dim, eps=geometry.eps)  # spelt so in the release
        self.encoder = Layers(geometry)
        self.post_layernorm = nn.LayerNorm(geometry.dim, eps=geometry.eps)


class Tower(nn.Module):
    """Pictures or spectrograms to embeddings of length 1."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.vision_model = VisionModel(geometry)
        self.visual_projection = nn.Linear(geometry.dim, geometry.out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 3, frames, H, W] (video) or [B, 3, H, W] (spectrogram) -> [B, out]."""
        batch = len(x)
        if x.ndim == 5:
            x = x.transpose(1, 2).flatten(0, 1)
        model = self.vision_model
        x = model.pre_layrnorm(model.embeddings(x))
        for block in model.encoder.layers:
            x = block(x)
        pooled = model.post_layernorm(x[:, 0]).unflatten(0, (batch, -1)).mean(dim=1)
        return functional.normalize(self.visual_projection(pooled), dim=-1)


def load(file: Path) -> tuple[Tower, Mapping[str, Any]]:
    """A tower and its configuration from a released folder: `config.json` beside this weights file.

    The text tower in the same file is left out. Raises WeightsError where something is missing or does not fit.
    """
    config = weights.read_json(file.parent / "config.json")
    where = f"{file} (a tower of LanguageBind as released)"
    try:
        with torch.device("meta"):
            tower = Tower(Geometry.of(config))
    except (KeyError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"
        raise WeightsError(Problem(where, "a config.json with the tower's sizes", told)) from error
    state = {
        name: tensor
        for name, tensor in weights.read_state(file).items()
        if name.startswith(TOWER_KEYS) and not name.endswith("position_ids")
    }
    if any("lora_" in name for name in state):
        fix = "take the checkpoint whose name ends in _FT"
        raise WeightsError(Problem(where, "merged weights", "LoRA matrices", fix))
    tower.to_empty(device="cpu")
    weights.fill(tower, state, where)
    return tower.eval().requires_grad_(False), config
