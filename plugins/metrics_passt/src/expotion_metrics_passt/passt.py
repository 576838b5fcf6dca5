"""PaSST-S (Koutini et al. 2022), patches of 16 every 10, in the layout of its released state dict.

Input: the log mel of up to 10 s at 32 kHz, [B, 128 bands, frames]. Patches get a position in time and one in
frequency, class and distillation tokens one of their own; the logits come from the mean of both tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion.weights import fill, read_state


@dataclass(frozen=True)
class Geometry:
    """Sizes; the defaults are those of `passt-s-f128-p16-s10-ap.476-swa.pt`."""

    dim: int = 768
    depth: int = 12
    heads: int = 12
    classes: int = 527
    bands: int = 128
    time_places: int = 99
    patch: int = 16
    stride: int = 10

    @property
    def band_places(self) -> int:
        """Places of a patch along frequency."""
        return (self.bands - self.patch) // self.stride + 1


class Attention(nn.Module):
    """Multi-head attention with one matrix for queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, D] -> the same shape."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return result


class Mlp(nn.Module):
    """Two linear maps around an exact GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [.., D] -> the same shape."""
        result: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return result


class Block(nn.Module):
    """Attention and MLP, pre-normed and residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, D] -> the same shape."""
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class PatchEmbed(nn.Module):
    """Overlapping patches of the spectrogram."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, geometry.dim, kernel_size=geometry.patch, stride=geometry.stride)


class Passt(nn.Module):
    """The whole classifier. `head_dist` is in the released file and used by none; it is kept to load strictly."""

    def __init__(self, geometry: Geometry = Geometry()) -> None:
        super().__init__()
        dim = geometry.dim
        self.geometry = geometry
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, dim))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, dim, geometry.band_places, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, dim, 1, geometry.time_places))
        self.patch_embed = PatchEmbed(geometry)
        self.blocks = nn.ModuleList(Block(dim, geometry.heads) for _ in range(geometry.depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, geometry.classes))
        self.head_dist = nn.Linear(dim, geometry.classes)

    def forward(self, mel: Tensor) -> Tensor:
        """Log mel [B, bands, frames] -> logits [B, classes]; frames beyond 10 s are not allowed."""
        x = self.patch_embed.proj(mel[:, None])  # [B, D, f, t]
        x = x + self.time_new_pos_embed[..., : x.shape[-1]] + self.freq_new_pos_embed
        x = x.flatten(2).transpose(1, 2)
        cls = (self.cls_token + self.new_pos_embed[:, :1]).expand(len(x), -1, -1)
        dist = (self.dist_token + self.new_pos_embed[:, 1:]).expand(len(x), -1, -1)
        x = torch.cat((cls, dist, x), dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        result: Tensor = self.head((x[:, 0] + x[:, 1]) / 2)
        return result


def load(path: Path, geometry: Geometry = Geometry()) -> Passt:
    """PaSST with the weights in a state dict (bare, or with the prefix `net.`). Raises WeightsError."""
    with torch.device("meta"):
        model = Passt(geometry)
    model.to_empty(device="cpu")
    plain = {name.removeprefix("net."): tensor for name, tensor in read_state(path).items()}
    fill(model, plain, f"{path} (PaSST's released state dict)")
    return model.eval().requires_grad_(False)
