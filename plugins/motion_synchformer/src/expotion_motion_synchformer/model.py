"""Synchformer's visual encoder: MotionFormer with divided space-time attention and a spatial aggregation layer.

Symbols: B segments, F frames, t = F / tubelet time steps, n patches of a time step, D width. One block is, in this
order (facts 4.1),

    x = x + TimeAttn(norm3(x));  x = x + SpaceAttn(norm1(x));  x = x + MLP(norm2(x))

The CLS query attends to all tokens; a patch attends to CLS and to the patches of its group: the same place at all t
times (time) or all n patches of its time step (space). Parameter names are those of the released checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion_motion_synchformer.options import Geometry

LAYER_NORM_EPS = 1e-6
FUSED_FROM = 64
"""Queries from which the fused attention kernel is faster."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over the last two dimensions; q [.., m, d], k and v [.., n, d]. Returns
    [.., m, d].

    Fused kernels cost more than they save on small groups and on a single query, and so do bfloat16 products there:
    these are done in float32.
    """
    if q.shape[-2] < FUSED_FROM:
        scores = (q.float() * q.shape[-1] ** -0.5) @ k.float().transpose(-1, -2)
        return (torch.softmax(scores, dim=-1) @ v.float()).to(v.dtype)
    q_flat, k_flat, v_flat = (y.flatten(0, -4) for y in (q, k, v))
    return functional.scaled_dot_product_attention(q_flat, k_flat, v_flat).view(q.shape)


class DividedAttention(nn.Module):
    """Multi-head attention within groups of patches, with a CLS token that sees everything."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, *, steps: int, over: str) -> Tensor:
        """x [B, 1 + t n, D], patches ordered time, place; `over` is 'time' or 'space'. Returns the same shape."""
        batch, tokens, dim = x.shape
        places = (tokens - 1) // steps
        qkv = self.qkv(x.to(self.qkv.weight.dtype)).view(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, 1 + t n, d]
        cls_out = attend(q[:, :, :1], k, v)  # [B, H, 1, d]

        def groups(y: Tensor) -> Tensor:
            y = y[:, :, 1:].unflatten(2, (steps, places))  # [B, H, t, n, d]
            return y if over == "space" else y.transpose(2, 3)  # [B, H, groups, members, d]

        def with_cls(y: Tensor) -> Tensor:
            members = groups(y)
            cls = y[:, :, None, :1].expand(-1, -1, members.shape[2], -1, -1)
            return torch.cat((cls, members), dim=3)

        out = attend(groups(q), with_cls(k), with_cls(v))
        if over == "time":
            out = out.transpose(2, 3)
        out = torch.cat((cls_out, out.flatten(2, 3)), dim=2)  # [B, H, 1 + t n, d]
        result: Tensor = self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))
        return result


class Mlp(nn.Module):
    """Two linear maps around an exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [.., D] -> [.., D]."""
        result: Tensor = self.fc2(functional.gelu(self.fc1(x.to(self.fc1.weight.dtype))))
        return result


class Block(nn.Module):
    """Time attention, space attention, MLP, each pre-normed and residual."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = DividedAttention(dim, heads)
        self.timeattn = DividedAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, mlp_ratio * dim)
        self.norm3 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        """x [B, 1 + t n, D] -> the same shape."""
        x = x + self.timeattn(self.norm3(x), steps=steps, over="time")
        x = x + self.attn(self.norm1(x), steps=steps, over="space")
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class SpatialAggregation(nn.TransformerEncoderLayer):
    """A learned CLS and one pre-norm transformer layer over the patches of one time step; the CLS row is
    returned.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__(
            dim,
            heads,
            dim_feedforward=mlp_ratio * dim,
            dropout=0.0,
            activation=functional.gelu,
            layer_norm_eps=LAYER_NORM_EPS,
            batch_first=True,
            norm_first=True,
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))

    def aggregate(self, x: Tensor) -> Tensor:
        """x [B, n, D], the patches of one time step -> [B, D]."""
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)
        # Only the CLS row is wanted, so only its query is computed; the numbers are those of the whole layer.
        normed = self.norm1(x)
        attended, _ = self.self_attn(normed[:, :1], normed, normed, need_weights=False)
        cls = x[:, :1] + attended
        result: Tensor = (cls + self.linear2(functional.gelu(self.linear1(self.norm2(cls)))))[:, 0]
        return result


class PatchEmbed3d(nn.Module):
    """Tubelets of tubelet x patch x patch pixels to tokens, ordered time, row, column."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        kernel = (geometry.tubelet, geometry.patch, geometry.patch)
        self.proj = nn.Conv3d(3, geometry.dim, kernel_size=kernel, stride=kernel)

    def forward(self, video: Tensor) -> Tensor:
        """video [B, 3, F, H, W] -> [B, t, n, D]. Kernel = stride, so it is one matrix product."""
        f, p, _ = self.proj.kernel_size
        batch, _, frames, height, width = video.shape
        x = video.view(batch, 3, frames // f, f, height // p, p, width // p, p)
        x = x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, frames // f, -1, 3 * f * p * p)
        return functional.linear(x, self.proj.weight.flatten(1), self.proj.bias)


class VisualEncoder(nn.Module):
    """The whole encoder of one geometry. Dropout is 0; stochastic depth belongs to the original's training only."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        dim = geometry.dim
        self.geometry = geometry
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + geometry.patches, dim))
        self.temp_embed = nn.Parameter(torch.zeros(1, geometry.rows, dim))
        self.patch_embed_3d = PatchEmbed3d(geometry)
        self.blocks = nn.ModuleList(Block(dim, geometry.heads, geometry.mlp_ratio) for _ in range(geometry.depth))
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.spatial_attn_agg = SpatialAggregation(dim, geometry.heads, geometry.mlp_ratio)

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Keep the blocks' matrices in this dtype and multiply in it; the stream between the blocks, the norms, the
        embedding and the aggregation stay float32. Matrices are converted once, unlike under autocast.
        """
        for block in self.blocks:
            block.attn.to(dtype)
            block.timeattn.to(dtype)
            block.mlp.to(dtype)

    def tokens(self, video: Tensor) -> Tensor:
        """video [B, 3, F, H, W] in [-1, 1] -> tokens after the last block, before the norm: [B, 1 + t n, D]."""
        x: Tensor = self.patch_embed_3d(video)  # [B, t, n, D]
        steps = x.shape[1]
        x = x + self.pos_embed[:, None, 1:] + self.temp_embed[:, :, None]
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat((cls, x.flatten(1, 2)), dim=1)
        for block in self.blocks:
            x = block(x, steps)
        return x

    def aggregate(self, patches: Tensor) -> Tensor:
        """Normed patch tokens [B, t n, D] -> one row per time step: [B, t, D]."""
        x = patches.unflatten(1, (self.geometry.rows, -1)).flatten(0, 1)  # [B t, n, D]
        rows: Tensor = self.spatial_attn_agg.aggregate(x).unflatten(0, (-1, self.geometry.rows))
        return rows

    def forward(self, video: Tensor) -> Tensor:
        """video [B, 3, F, H, W] in [-1, 1] -> one row per time step: [B, t, D]."""
        return self.aggregate(self.norm(self.tokens(video)[:, 1:]))


def seeded(geometry: Geometry, seed: int) -> VisualEncoder:
    """An encoder with random weights made from a seed, truncated normal of 0.02 as the original starts."""
    generator = torch.Generator().manual_seed(seed)
    model = VisualEncoder(geometry)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
            elif "norm" in name and name.endswith("weight"):
                parameter.fill_(1.0)
            else:
                parameter.zero_()
    return model


def scale_pixels(frames: Tensor) -> Tensor:
    """uint8 [.., H, W, 3] -> float32 [.., 3, H, W] in [-1, 1]: (x / 255 - 0.5) / 0.5 (facts 4.2)."""
    return frames.movedim(-1, -3).float().div_(127.5).sub_(1.0)
