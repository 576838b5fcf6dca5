"""ImageBind (Girdhar et al. 2023), picture and sound only, in the layout of `imagebind_huge.pth`.

Picture: five stretches of 2 s, evenly over the clip; of each the first and the last frame, shorter side 224, three
crops along the longer side. Sound: three stretches of 2 s; Kaldi's log mel of each without its mean, 128 bands, 204
frames, plus 4.268, by 9.138. Each input's embedding has length 1; a clip's is their mean, the value the cosine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from expotion.contracts import Video
from expotion.weights import fill, read_state
from expotion_metrics_video.fbank import fbank

RATE_HZ = 16_000
STRETCH_S = 2.0
N_PICTURES, N_SOUNDS, N_CROPS = 5, 3, 3
BANDS, FRAMES = 128, 204
AUDIO_MEAN, AUDIO_STD = -4.268, 9.138
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PATCH, AUDIO_PATCH, AUDIO_STRIDE = 14, 16, 10


@dataclass(frozen=True)
class Sizes:
    """Width, blocks and heads of both trunks; the defaults are those of the released file."""

    vision: tuple[int, int, int] = (1280, 32, 16)
    audio: tuple[int, int, int] = (768, 12, 12)
    out: int = 1024
    side: int = 224


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)


class Block(nn.Module):
    """Attention and MLP, pre-normed and residual; the audio trunk has a learned key and value more."""

    def __init__(self, dim: int, heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, add_bias_kv=bias_kv, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.mlp = _Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, D] -> the same shape."""
        normed = self.norm_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        hidden = functional.gelu(self.mlp.fc1(self.norm_2(x)))
        result: Tensor = x + self.mlp.fc2(hidden)
        return result


class _Stem(nn.Module):
    def __init__(self, proj: nn.Module, norm: nn.Module | None) -> None:
        super().__init__()
        self.proj = proj
        if norm is not None:
            self.norm_layer = norm


class _Positions(nn.Module):
    def __init__(self, places: int, dim: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + places, dim))


class _Preprocessor(nn.Module):
    def __init__(self, stem: nn.Module, places: int, dim: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.rgbt_stem = stem
        self.pos_embedding_helper = _Positions(places, dim)


class _Trunk(nn.Module):
    def __init__(self, sizes: tuple[int, int, int], pre_norm: bool) -> None:
        super().__init__()
        dim, depth, heads = sizes
        self.pre_transformer_layer = nn.Sequential(nn.LayerNorm(dim, eps=1e-6) if pre_norm else nn.Identity())
        self.blocks = nn.Sequential(*(Block(dim, heads, bias_kv=not pre_norm) for _ in range(depth)))


class ImageBind(nn.Module):
    """Two of the six modalities, under the names that they are released with."""

    def __init__(self, sizes: Sizes = Sizes()) -> None:
        super().__init__()
        self.sizes = sizes
        seen, heard = sizes.vision[0], sizes.audio[0]
        kernel = (2, PATCH, PATCH)
        places = (sizes.side // PATCH) ** 2
        audio_places = ((BANDS - AUDIO_PATCH) // AUDIO_STRIDE + 1) * ((FRAMES - AUDIO_PATCH) // AUDIO_STRIDE + 1)
        vision_stem = nn.Sequential(
            nn.Identity(), nn.Conv3d(3, seen, kernel_size=kernel, stride=kernel, bias=False)
        )
        audio_stem = nn.Conv2d(1, heard, kernel_size=AUDIO_PATCH, stride=AUDIO_STRIDE, bias=False)
        self.modality_preprocessors = nn.ModuleDict(
            {
                "vision": _Preprocessor(_Stem(vision_stem, None), places, seen),
                "audio": _Preprocessor(_Stem(audio_stem, nn.LayerNorm(heard)), audio_places, heard),
            }
        )
        self.modality_trunks = nn.ModuleDict(
            {"vision": _Trunk(sizes.vision, pre_norm=True), "audio": _Trunk(sizes.audio, pre_norm=False)}
        )
        self.modality_heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.LayerNorm(dim, eps=1e-6), nn.Identity(), nn.Linear(dim, sizes.out, bias=False)
                )
                for name, dim in (("vision", seen), ("audio", heard))
            }
        )

    def embed(self, kind: str, inputs: Tensor) -> Tensor:
        """Inputs [k, ..] of a modality -> embedding [out] of length 1, the mean over them.

        Vision: [k, 3, 2, side, side]; audio: [k, 1, 128, 204].
        """
        before: Any = self.modality_preprocessors[kind]
        tokens = before.rgbt_stem.proj(inputs).flatten(2).transpose(1, 2)
        if kind == "audio":
            tokens = before.rgbt_stem.norm_layer(tokens)
        x = torch.cat((before.cls_token.expand(len(inputs), -1, -1), tokens), dim=1)
        x = x + before.pos_embedding_helper.pos_embed
        trunk: Any = self.modality_trunks[kind]
        x = trunk.blocks(trunk.pre_transformer_layer(x))
        single = functional.normalize(self.modality_heads[kind](x)[:, 0], dim=-1)
        return functional.normalize(single.mean(dim=0), dim=-1)


def load_imagebind(path: Path, sizes: Sizes = Sizes()) -> ImageBind:
    """ImageBind from the released file; the other modalities in it are left out. Raises WeightsError."""
    with torch.device("meta"):  # a billion numbers are not drawn to be replaced
        model = ImageBind(sizes)
    model.to_empty(device="cpu")
    parts = ("modality_preprocessors", "modality_trunks", "modality_heads")
    kept = tuple(f"{part}.{kind}." for part in parts for kind in ("vision", "audio"))
    kept_state = {name: tensor for name, tensor in read_state(path).items() if name.startswith(kept)}
    fill(model, kept_state, f"{path} (ImageBind's released state dict)")
    return model.eval().requires_grad_(False)


def starts_s(duration_s: float, count: int) -> NDArray[np.float64]:
    """Where stretches of 2 s start, evenly from 0 to the last that fits."""
    return np.linspace(0.0, max(0.0, duration_s - STRETCH_S), count)


def crops(video: Video, end_s: float, side: int) -> Tensor:
    """Inputs of the picture up to `end_s`: float32 [15, 3, 2, side, side], three crops of each stretch."""
    shown = video.frame_times_s[video.frame_times_s < end_s]
    period_s = float(np.median(np.diff(shown))) if len(shown) > 1 else 0.04
    times_s = [
        time_s
        for start_s in starts_s(end_s, N_PICTURES)
        for time_s in (start_s, max(start_s, min(start_s + STRETCH_S, end_s) - period_s))
    ]
    frames = torch.from_numpy(video.frames_at(np.asarray(times_s), shorter_side=side))  # [10, H, W, 3]
    scaled = (frames.float() / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)
    pairs = scaled.permute(0, 3, 1, 2).unflatten(0, (N_PICTURES, 2)).transpose(1, 2)  # [5, 3, 2, H, W]
    height, width = pairs.shape[-2:]
    found = []
    for k in range(N_CROPS):
        top, left = math.ceil((height - side) / 2), math.ceil((width - side) / 2)
        if height > width:
            top = (0, top, height - side)[k]
        else:
            left = (0, left, width - side)[k]
        found.append(pairs[..., top : top + side, left : left + side])
    return torch.stack(found, dim=1).flatten(0, 1)


def spectrograms(samples: NDArray[np.float32]) -> Tensor:
    """Inputs of a sound float32 [n] at 16 kHz: float32 [3, 1, 128, 204]."""
    found = []
    for start_s in starts_s(len(samples) / RATE_HZ, N_SOUNDS):
        piece = samples[int(start_s * RATE_HZ) : int((start_s + STRETCH_S) * RATE_HZ)]
        mel = fbank(piece - piece.mean(), RATE_HZ, BANDS)[:FRAMES]
        found.append(np.pad(mel, ((0, FRAMES - len(mel)), (0, 0))).T)
    scaled = (np.stack(found) - AUDIO_MEAN) / AUDIO_STD
    return torch.from_numpy(np.asarray(scaled, dtype=np.float32))[:, None]
