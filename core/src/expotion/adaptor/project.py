"""From features to latents: z_i = n_i + a_i (W_i f_i - n_i), one modality at a time.

    f_i [B, R, D_i]   features at the model's steps, standardised channel by channel if statistics were set
    W_i [r_i, D_i]    trainable, no bias (paper eq. 2, 4); an encoder may bring its own module
    n_i               what a dropped stretch looks like: a learned vector [r_i], zero, or a row per layer and step
    a_i [B, R]        strength; 0 exactly where the features are invalid or the modality is dropped

a_i = 0 gives n_i itself, so the features are not needed; a_i = 1 gives W_i f_i itself. The paper has no null
vectors and no strengths; a fixed mean and scale in front of W_i is a departure too (W_i could absorb the scale,
and the positions the mean, but not at one learning rate for all encoders).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.errors import ExpotionError, Problem


@dataclass(frozen=True)
class TrackInput:
    """A modality's tracks for a batch of clips.

    values float32 [B, R, D]; valid bool [B, R] (None: everywhere); keep is the strength: a number, [B] or
    [B, R], where 0 drops the modality.
    """

    values: Tensor
    valid: Tensor | None = None
    keep: Tensor | float = 1.0


def check_inputs(config: AdaptorConfig, inputs: Mapping[str, TrackInput]) -> None:
    """Names and shapes; all problems at once (ExpotionError)."""
    known = {modality.name: modality for modality in config.modalities}
    problems = []
    shapes = {tuple(track.values.shape[:2]) for track in inputs.values()}
    if len(shapes) > 1:
        problems.append(Problem("conditions", "one batch size and one length", str(sorted(shapes))))
    for name, track in inputs.items():
        where, shape = f"condition {name!r}", list(track.values.shape)
        if name not in known:
            problems.append(Problem(where, f"one of {', '.join(known)}"))
        elif len(shape) != 3 or shape[2] != known[name].d_in:
            problems.append(Problem(where, f"values [B, R, {known[name].d_in}]", str(shape)))
        if track.valid is not None and list(track.valid.shape) != shape[:2]:
            problems.append(Problem(where, "valid [B, R]", str(list(track.valid.shape))))
    if problems:
        raise ExpotionError(problems)


def strength(track: TrackInput | None, batch: int, n_rows: int, device: torch.device) -> Tensor | None:
    """a_i float32 [B, R], or None where it is 1 everywhere. An absent track has strength 0."""
    if track is None:
        return torch.zeros(batch, n_rows, device=device)
    keep = torch.as_tensor(track.keep, dtype=torch.float32, device=device)
    keep = keep.reshape(-1, 1) if keep.dim() < 2 else keep
    keep = keep.expand(batch, n_rows)
    if track.valid is not None:
        keep = keep.where(track.valid, 0.0)
    return None if bool((keep == 1).all()) else keep


class Projector(nn.Module):
    """W_i, n_i and the statistics of one modality."""

    def __init__(self, modality: Modality, config: AdaptorConfig, projection: nn.Module | None) -> None:
        super().__init__()
        self.modality = modality
        if modality.projection == "identity":
            projection = nn.Identity()
        self.linear = projection if projection is not None else nn.Linear(modality.d_in, modality.rank, bias=False)
        self.null: nn.Parameter | None = None
        if modality.null == "vector":
            self.null = nn.Parameter(torch.zeros(modality.rank))
        elif modality.null == "layer_table":
            self.null = nn.Parameter(torch.randn(config.n_adapted, config.max_rows or 0, modality.rank))
        self.mean: Tensor | None
        self.scale: Tensor | None
        standardised = config.standardise and modality.projection == "linear"
        self.register_buffer("mean", torch.zeros(modality.d_in) if standardised else None)
        self.register_buffer("scale", torch.ones(modality.d_in) if standardised else None)

    @property
    def per_layer(self) -> bool:
        """Whether the latent differs from layer to layer."""
        return self.modality.null == "layer_table"

    def null_latent(self, layer: int, n_rows: int, start: int = 0) -> Tensor | float:
        """n_i for one adapted layer, broadcastable to [B, R, r], of rows that begin at position `start`."""
        if self.null is None:
            return 0.0
        return self.null[layer, start : start + n_rows] if self.per_layer else self.null

    def projected(self, track: TrackInput) -> Tensor:
        """W_i f_i, float32 [B, R, r]; invalid features count as 0."""
        values = track.values.float()
        if self.mean is not None and self.scale is not None:
            values = (values - self.mean) / self.scale
        if track.valid is not None:
            values = values.where(track.valid[:, :, None], 0.0)
        result: Tensor = self.linear(values)
        return result

    def latent(
        self, projected: Tensor | None, keep: Tensor | None, layer: int, shape: tuple[int, int], start: int = 0
    ) -> Tensor:
        """z_i [B, R, r] of one adapted layer; `projected` None means dropped, `keep` None means 1."""
        null = self.null_latent(layer, shape[1], start)
        if projected is None:
            device = None if keep is None else keep.device
            empty = torch.zeros(*shape, self.modality.rank, device=device)
            return empty + null
        if keep is None:
            return projected
        amount = keep[:, :, None]
        mixed = null + amount * (projected - null)
        return torch.where(amount == 1, projected, mixed)
