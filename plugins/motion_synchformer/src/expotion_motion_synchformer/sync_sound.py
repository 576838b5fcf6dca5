"""What Synchformer hears: log mel of each segment, and the transformer that turns it into rows.

A segment of 0.64 s at 16 kHz becomes 66 frames (periodic Hann of 400 in an FFT of 1024 every 160, centred with
reflection; the last frame is padding) of 128 HTK mel bands of the power; log(x + 1e-6), less -4.2677, by twice
4.5690. The tower is AST (Gong et al. 2021) with patches of 16 every 10; the patches of a time step are then
aggregated as in the visual encoder. Keys are those under `afeat_extractor.` of the released checkpoints.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion_motion_synchformer.model import SpatialAggregation

RATE_HZ = 16_000
FFT, WINDOW, HOP, BANDS, FRAMES = 1024, 400, 160, 128, 66
MEAN, STD = -4.2677393, 4.5689974
PATCH, STRIDE = 16, 10
BAND_PLACES = (BANDS - PATCH) // STRIDE + 1
TIME_PLACES = (FRAMES - PATCH) // STRIDE + 1
AST_EPS = 1e-12


def segments_mel(segments: Tensor) -> Tensor:
    """Sound float32 [S, n] at 16 kHz -> normalised log mel [S, 66, 128]; more than 66 frames are cut."""
    spectrum = torch.stft(
        segments,
        FFT,
        hop_length=HOP,
        win_length=WINDOW,
        window=torch.hann_window(WINDOW),
        center=True,
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()  # [S, bins, frames]
    mel = torch.log(_bands() @ power + 1e-6)[..., :FRAMES]
    mel = functional.pad(mel, (0, FRAMES - mel.shape[-1]))
    return ((mel - MEAN) / (2 * STD)).transpose(1, 2)


@cache
def _bands() -> Tensor:
    """HTK triangles, straight in Hz, not normalised: [128, 513]."""
    top = 2595.0 * np.log10(1.0 + RATE_HZ / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, BANDS + 2) / 2595.0) - 1.0)[:, None]
    bins = np.linspace(0.0, RATE_HZ / 2, FFT // 2 + 1)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.maximum(0.0, np.minimum(rising, falling))).float()


class _Heads(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))


class _Dense(nn.Module):
    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d_in, d_out)


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = _Heads(dim)
        self.output = _Dense(dim, dim)


class AstLayer(nn.Module):
    """Attention and MLP, pre-normed and residual, under the names that they are released with."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention = _Attention(dim)
        self.intermediate = _Dense(dim, 4 * dim)
        self.output = _Dense(4 * dim, dim)
        self.layernorm_before = nn.LayerNorm(dim, eps=AST_EPS)
        self.layernorm_after = nn.LayerNorm(dim, eps=AST_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """x [S, n, D] -> the same shape."""
        normed, own = self.layernorm_before(x), self.attention.attention
        q, k, v = (
            proj(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2) for proj in (own.query, own.key, own.value)
        )
        out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.attention.output.dense(out)
        hidden = functional.gelu(self.intermediate.dense(self.layernorm_after(x)))
        result: Tensor = x + self.output.dense(hidden)
        return result


class _Patches(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(1, dim, kernel_size=PATCH, stride=STRIDE)


class _Embeddings(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 2 + BAND_PLACES * TIME_PLACES, dim))
        self.patch_embeddings = _Patches(dim)


class _Encoder(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(AstLayer(dim, heads) for _ in range(depth))


class _Ast(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embeddings = _Embeddings(dim)
        self.encoder = _Encoder(dim, depth, heads)
        self.layernorm = nn.LayerNorm(dim, eps=AST_EPS)


class SoundEncoder(nn.Module):
    """Log mel of segments to six rows each."""

    def __init__(self, dim: int = 768, depth: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.ast = _Ast(dim, depth, heads)
        self.freq_attn_agg = SpatialAggregation(dim, heads, 4)

    def forward(self, mel: Tensor) -> Tensor:
        """mel [S, 66, 128] -> [S, 6, D]."""
        embeddings = self.ast.embeddings
        patches = embeddings.patch_embeddings.projection(mel.transpose(1, 2)[:, None])  # [S, D, 12, 6]
        tokens = torch.cat(
            (
                embeddings.cls_token.expand(len(mel), -1, -1),
                embeddings.distillation_token.expand(len(mel), -1, -1),
                patches.flatten(2).transpose(1, 2),
            ),
            dim=1,
        )
        x = tokens + embeddings.position_embeddings
        for layer in self.ast.encoder.layer:
            x = layer(x)
        x = self.ast.layernorm(x)[:, 2:].unflatten(1, (BAND_PLACES, TIME_PLACES))  # [S, 12, 6, D]
        steps = x.transpose(1, 2).flatten(0, 1)  # [S 6, 12, D]
        places: Tensor = self.freq_attn_agg.aggregate(steps).unflatten(0, (-1, TIME_PLACES))
        return places
