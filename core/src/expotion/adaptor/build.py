"""A recipe's adaptor: its geometry from the recipe's choices, its projections from the encoders."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.contracts import Encoder
from expotion.musicgen.geometry import LMGeometry
from expotion.recipe import Recipe


def build_adaptor(recipe: Recipe, encoders: Mapping[str, Encoder], geometry: LMGeometry, n_rows: int) -> Adaptor:
    """A fresh adaptor with each encoder's own projection, seeded by the recipe; `n_rows` = T + 1 in training."""
    torch.manual_seed(recipe.train_seed)
    settings, widths = recipe.adaptor, _widths(recipe, encoders)
    config = AdaptorConfig(
        modalities=tuple(
            Modality(name=c.name, d_in=widths[c.name], rank=c.rank, null=settings.null) for c in recipe.conditions
        ),
        width=geometry.width,
        n_lm_layers=geometry.n_layers,
        n_adapted=settings.n_adapted(geometry.n_layers),
        max_rows=(settings.position_rows or n_rows) if settings.needs_rows else None,
        **settings.choices(),
    )
    return Adaptor(config, build_projections(recipe, encoders), seed=recipe.train_seed)


def build_projections(recipe: Recipe, encoders: Mapping[str, Encoder]) -> dict[str, nn.Module]:
    """Each encoder's own projection by condition name: what `load_adaptor` needs to build the same modules."""
    widths = _widths(recipe, encoders)
    return {c.name: encoders[c.name].project(widths[c.name], c.rank) for c in recipe.conditions}


def _widths(recipe: Recipe, encoders: Mapping[str, Encoder]) -> dict[str, int]:
    return {c.name: encoders[c.name].spec.width(encoders[c.name].options) for c in recipe.conditions}
