"""The clips that a recipe's data source has: how many, and how long. Nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from expotion.recipe.resolve import Catalogue
from expotion.recipe.schema import Recipe


@dataclass(frozen=True)
class Found:
    """Number of clips by split, and the length of the longest clip in seconds."""

    clips: dict[str, int]
    clip_s: float


def found_clips(recipe: Recipe, registry: Catalogue, *, train: bool) -> Found:
    """Ask the data source of a resolved recipe, for clips to train on only where `train`.

    Raises what the source raises: a lost manifest, an empty split.
    """
    spec = registry.offers("data source")[recipe.data.source].spec
    source = spec.build(spec.options(**recipe.data.options))
    clips = {"train": source.clips("train") if train else (), "test": source.clips("test")}
    longest_s = max((clip.duration_s for some in clips.values() for clip in some), default=0.0)
    return Found({split: len(some) for split, some in clips.items()}, longest_s)
