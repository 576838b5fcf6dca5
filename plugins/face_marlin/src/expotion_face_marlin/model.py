"""MARLIN's video masked autoencoder (Cai et al., CVPR 2023): a ViT on tubelets and a small decoder.

Symbols: B clips, N tokens, D encoder width, E decoder width, P values in a tubelet. Module names give exactly
the keys of the official files, so these load strictly. Attention has one fused qkv matrix without bias and
separate `q_bias` and `v_bias`; the key bias is zero. Every LayerNorm has eps 1e-5.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expotion_face_marlin.geometry import MarlinGeometry
from expotion_face_marlin.layers import Block


def sincos_table(n_tokens: int, width: int) -> Tensor:
    """Fixed position table, float32 [1, N, D]: sin in even columns, cos in odd ones.

    Row p, column j has the angle p / 10000^(2 floor(j/2) / D). It is computed in float32, as a product with
    the inverse, because the official files hold exactly that rounding at large p. Always on the CPU: sin of
    a meta tensor would load torch's compiler, which takes seconds.
    """
    exponents = 2.0 * torch.div(torch.arange(width, device="cpu"), 2, rounding_mode="floor") / width
    frequencies = 1.0 / torch.pow(10000.0, exponents)
    angles = torch.arange(n_tokens, dtype=torch.float32, device="cpu")[:, None] * frequencies
    table = torch.empty(n_tokens, width, device="cpu")
    table[:, 0::2] = torch.sin(angles[:, 0::2])
    table[:, 1::2] = torch.cos(angles[:, 1::2])
    return table[None]


def to_tubelets(clips: Tensor, patch: int, tubelet: int) -> Tensor:
    """Clips [B, 3, T, H, W] to tubelets [B, N, P]; inside a tubelet: colour, time, row, column."""
    b, c, t, h, w = clips.shape
    cut = clips.reshape(b, c, t // tubelet, tubelet, h // patch, patch, w // patch, patch)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, -1, c * tubelet * patch * patch)


def _select(tokens: Tensor, chosen: Tensor) -> Tensor:
    """Tokens [B or 1, N, D] where `chosen` bool [B, N] (as many in each row) -> [B, V, D]."""
    return tokens.expand(len(chosen), -1, -1)[chosen].reshape(len(chosen), -1, tokens.shape[-1])


class PatchEmbedding(nn.Module):
    """Tubelet embedding: a 3-D convolution whose kernel is its stride, computed as one matrix product."""

    def __init__(self, geometry: MarlinGeometry) -> None:
        super().__init__()
        kernel = (geometry.tubelet, geometry.patch, geometry.patch)
        self.projection = nn.Conv3d(3, geometry.width, kernel_size=kernel, stride=kernel)

    def forward(self, clips: Tensor, visible: Tensor | None = None) -> Tensor:
        """[B, 3, T, H, W] -> [B, N, D], or the `visible` tokens only."""
        tubelet, patch, _ = self.projection.kernel_size
        tubelets = to_tubelets(clips, patch, tubelet)
        if visible is not None:
            tubelets = _select(tubelets, visible)
        return F.linear(tubelets, self.projection.weight.flatten(1), self.projection.bias)

    def of_windows(self, crops: Tensor, index: Tensor) -> Tensor:
        """Crops uint8 [m, H, W, 3] and the crops of each window, int64 [B, T] -> [B, N, D].

        The same as `forward` on the windows' pixels / 255, without building them: neighbouring windows and
        samples share crops, so pixels stay 8-bit until each tubelet is gathered in one go.
        """
        tubelet, p, _ = self.projection.kernel_size
        m, height, width, _ = crops.shape
        rows, columns = height // p, width // p
        patches = crops.reshape(m, rows, p, columns, p, 3).permute(0, 1, 3, 5, 2, 4).reshape(-1, 3 * p * p)
        place = torch.arange(rows * columns)
        frames = index.reshape(len(index), -1, 1, tubelet) * len(place)  # [B, T / tubelet, 1, tubelet]
        chosen = (frames + place[:, None]).reshape(-1)  # order: window, time, place, time inside the tubelet
        tubelets = patches.index_select(0, chosen).reshape(len(index), -1, tubelet * 3 * p * p)
        weight = self.projection.weight.transpose(1, 2).flatten(1) / 255.0  # time before colour
        return F.linear(tubelets.to(weight.dtype), weight, self.projection.bias)


class PositionTable(nn.Module):
    """The fixed table as a frozen parameter: it is stored in the official files."""

    def __init__(self, n_tokens: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Parameter(sincos_table(n_tokens, width), requires_grad=False)


class MarlinEncoder(nn.Module):
    """Clips [B, 3, T, H, W] in 0..1 (RGB, only scaled by 1/255) to tokens or one vector per clip."""

    def __init__(self, geometry: MarlinGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.patch_embedding = PatchEmbedding(geometry)
        self.pos_embedding = PositionTable(geometry.n_tokens, geometry.width)
        self.blocks = nn.ModuleList(
            Block(geometry.width, geometry.heads, geometry.mlp_ratio) for _ in range(geometry.depth)
        )
        self.norm = nn.LayerNorm(geometry.width)

    def _blocks(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def _pool(self, tokens: Tensor) -> Tensor:
        """LN(mean over tokens after all blocks), [B, N, D] -> [B, D]."""
        blocks: list[Any] = list(self.blocks)
        for block in blocks[:-1]:
            tokens = block(tokens)
        out: Tensor = self.norm(blocks[-1].mean(tokens))
        return out

    def forward(self, clips: Tensor, visible: Tensor | None = None) -> Tensor:
        """Normalised tokens [B, N, D]; with `visible` (bool [B, N], as many in each row) those only."""
        out: Tensor = self.norm(self._blocks(self._embed(clips, visible)))
        return out

    def pooled(self, clips: Tensor, visible: Tensor | None = None) -> Tensor:
        """One vector per clip [B, D]: LN(mean over tokens), the mean taken before the final norm."""
        return self._pool(self._embed(clips, visible))

    def pooled_windows(self, crops: Tensor, index: Tensor) -> Tensor:
        """`pooled` of windows over shared crops: uint8 [m, H, W, 3] and int64 [B, T] -> [B, D]."""
        return self._pool(self.patch_embedding.of_windows(crops, index) + self.pos_embedding.emb)

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Keep the blocks' matrices in this dtype, and so multiply and attend in it.

        The stream between the blocks, the norms and the embedding stay float32, which keeps bfloat16 within
        a relative error of 1e-2 of float32. Matrices are converted once, unlike under autocast.
        """
        for block in self.blocks:
            part: Any  # Attention or Mlp
            for part in (block.attn, block.mlp):
                part.to(dtype)
                part.pack()

    def _embed(self, clips: Tensor, visible: Tensor | None) -> Tensor:
        positions: Tensor = self.pos_embedding.emb
        tokens: Tensor = self.patch_embedding(clips, visible)
        return tokens + (positions if visible is None else _select(positions, visible))


class MarlinDecoder(nn.Module):
    """Visible tokens plus mask tokens to the pixels of the hidden tubelets."""

    def __init__(self, geometry: MarlinGeometry) -> None:
        super().__init__()
        width = geometry.decoder_width
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embedding = PositionTable(geometry.n_tokens, width)
        self.blocks = nn.ModuleList(
            Block(width, geometry.decoder_heads, geometry.mlp_ratio) for _ in range(geometry.decoder_depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, geometry.patch_values)

    def forward(self, visible_tokens: Tensor, visible: Tensor) -> Tensor:
        """[B, V, E] and bool [B, N] -> predictions for the hidden tubelets [B, N - V, P]."""
        n_visible = visible_tokens.shape[1]
        positions = self.pos_embedding.emb
        hidden = self.mask_token + _select(positions, ~visible)
        x = torch.cat((visible_tokens + _select(positions, visible), hidden), dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x[:, n_visible:]))
        return out


class MarlinAutoencoder(nn.Module):
    """Encoder, projection to the decoder's width, decoder: what masked pre-training trains."""

    def __init__(self, geometry: MarlinGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.encoder = MarlinEncoder(geometry)
        self.enc_dec_proj = nn.Linear(geometry.width, geometry.decoder_width, bias=False)
        self.decoder = MarlinDecoder(geometry)

    def forward(self, clips: Tensor, visible: Tensor) -> Tensor:
        """Clips [B, 3, T, H, W] and bool [B, N] -> predicted hidden tubelets [B, N - V, P]."""
        out: Tensor = self.decoder(self.enc_dec_proj(self.encoder(clips, visible)), visible)
        return out


def initialise(module: nn.Module, seed: int) -> None:
    """Weights from a seed, the same on every machine: Xavier-uniform matrices, zero biases, unit norms."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("pos_embedding.emb"):
                continue
            if name.endswith("mask_token"):
                parameter.normal_(std=0.02, generator=generator)
            elif parameter.ndim > 1:
                fan_out, fan_in = parameter.shape[0], parameter[0].numel()
                bound = (6.0 / (fan_in + fan_out)) ** 0.5
                parameter.uniform_(-bound, bound, generator=generator)
            else:
                is_norm_weight = ".norm" in f".{name}" and name.endswith("weight")
                parameter.fill_(1.0 if is_norm_weight else 0.0)
