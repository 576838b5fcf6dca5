"""The whole sync model: both encoders, their projections, and the transformer that names the offset.

14 segments of picture (8 rows each) and of sound (6 rows each) are normed and laid in a row with two tokens:
offset token, picture, modality token, sound. Three pre-normed blocks later the offset token's row is classified
into 21 offsets from -2 to 2 s. Names are those of the released checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion import weights
from expotion.errors import Problem, WeightsError
from expotion_motion_synchformer.loader import CONTAINERS, read_file
from expotion_motion_synchformer.model import VisualEncoder
from expotion_motion_synchformer.options import GEOMETRIES, Geometry
from expotion_motion_synchformer.sync_sound import TIME_PLACES, SoundEncoder

MAX_OFFSET_S = 2.0


@dataclass(frozen=True)
class SyncGeometry:
    """Sizes of the sync model; the defaults are the released ones."""

    visual: Geometry = GEOMETRIES["base"]
    segments: int = 14
    sound_depth: int = 12
    depth: int = 3
    heads: int = 8
    offsets: int = 21

    @property
    def tokens(self) -> int:
        """Length of the sequence (198)."""
        return 2 + self.segments * (self.visual.rows + TIME_PLACES)


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key, self.query, self.value, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        out = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return result


class SyncBlock(nn.Module):
    """Attention and MLP, pre-normed and residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = _Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, D] -> the same shape."""
        x = x + self.attn(self.ln1(x))
        result: Tensor = x + self.mlp(self.ln2(x))
        return result


class _Positions(nn.Module):
    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(torch.zeros(1, tokens, dim))


class OffsetTransformer(nn.Module):
    """Rows of picture and sound to logits of the offsets."""

    def __init__(self, geometry: SyncGeometry) -> None:
        super().__init__()
        dim = geometry.visual.dim
        self.vis_in_lnorm, self.aud_in_lnorm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.OFF_tok = nn.Parameter(torch.zeros(1, 1, dim))
        self.MOD_tok = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_emb_cfg = _Positions(geometry.tokens, dim)
        self.blocks = nn.Sequential(*(SyncBlock(dim, geometry.heads) for _ in range(geometry.depth)))
        self.ln_f = nn.LayerNorm(dim)
        self.off_head = nn.Linear(dim, geometry.offsets)

    def forward(self, picture: Tensor, sound: Tensor) -> Tensor:
        """picture [B, S 8, D], sound [B, S 6, D] -> logits [B, offsets]."""
        batch = len(picture)
        tokens = (
            self.OFF_tok.expand(batch, -1, -1),
            self.vis_in_lnorm(picture),
            self.MOD_tok.expand(batch, -1, -1),
            self.aud_in_lnorm(sound),
        )
        x = self.blocks(torch.cat(tokens, dim=1) + self.pos_emb_cfg.pos_emb)
        result: Tensor = self.off_head(self.ln_f(x)[:, 0])
        return result


class SyncModel(nn.Module):
    """Everything in a released sync checkpoint."""

    def __init__(self, geometry: SyncGeometry = SyncGeometry()) -> None:
        super().__init__()
        dim = geometry.visual.dim
        self.geometry = geometry
        self.vfeat_extractor = VisualEncoder(geometry.visual)
        self.afeat_extractor = SoundEncoder(dim, geometry.sound_depth, geometry.visual.heads)
        self.vproj, self.aproj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.transformer = OffsetTransformer(geometry)

    def see(self, segments: Tensor) -> Tensor:
        """Pictures [S, 3, F, H, W] in [-1, 1] -> rows [S, 8, D], one segment at a time."""
        return torch.cat([self.vproj(self.vfeat_extractor(segment[None])) for segment in segments])

    def hear(self, mel: Tensor) -> Tensor:
        """Log mel [S, 66, 128] -> rows [S, 6, D]."""
        result: Tensor = self.aproj(self.afeat_extractor(mel))
        return result

    def logits(self, picture: Tensor, sound: Tensor) -> Tensor:
        """Rows of S segments each -> logits [offsets]."""
        result: Tensor = self.transformer(picture.flatten(0, 1)[None], sound.flatten(0, 1)[None])[0]
        return result

    @property
    def offsets_s(self) -> Tensor:
        """The offsets that the classes stand for, in seconds."""
        return torch.linspace(-MAX_OFFSET_S, MAX_OFFSET_S, self.geometry.offsets)


def load_sync(path: Path, geometry: SyncGeometry = SyncGeometry()) -> SyncModel:
    """The sync model in a released checkpoint. Raises WeightsError where it holds none (as stage I does not)."""
    content = read_file(path)
    for container in CONTAINERS:
        if container in content:
            content = content[container]
            break
    state = {
        key.removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor) and ".patch_embed.proj." not in key
    }
    parts = ("vfeat_extractor", "afeat_extractor", "vproj", "aproj", "transformer")
    missing = [part for part in parts if not any(name.startswith(part) for name in state)]
    if missing:
        wanted = f"a whole sync checkpoint: {', '.join(parts)}"
        raise WeightsError(Problem(str(path), wanted, f"none of {', '.join(missing)}"))
    model = SyncModel(geometry)
    weights.fill(model, state, str(path))
    return model.eval().requires_grad_(False)
