"""What cells share, made once before any of them: features and codes of each clip, and captions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from expotion.assemble import backbone_folder, build_encoders
from expotion.backbone.load import load_backbone
from expotion.contracts import Clip
from expotion.features.store import FeatureStore
from expotion.pipeline import material
from expotion.pipeline.captions import write_captions
from expotion.pipeline.matrix_job import explain
from expotion.pipeline.progress import stage_progress
from expotion.plugins import Registry
from expotion.recipe import Recipe
from expotion.recipe.schema import Condition

log = logging.getLogger("expotion")


def groups_of(recipes: Sequence[Recipe]) -> list[list[Recipe]]:
    """Recipes with the same clips and codec."""
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(recipe.section_hash("data", "backbone"), []).append(recipe)
    return list(groups.values())


def encoders_of(recipes: Sequence[Recipe]) -> list[Condition]:
    """Every encoder with its options once, as conditions with names of their own."""
    found: dict[str, Condition] = {}
    for recipe in recipes:
        for condition in recipe.conditions:
            key = f"{condition.encoder} {sorted(condition.options.items(), key=str)}"
            found.setdefault(
                key,
                Condition(name=f"c{len(found)}", encoder=condition.encoder, options=condition.options),
            )
    return list(found.values())


def prepare(recipes: Sequence[Recipe], registry: Registry, captions: Path, console: Console) -> None:
    """Extract every track of every clip and write every caption that the cells will ask for.

    Each clip is opened once for all encoders. What fails here fails again in the cells that need it, and is
    reported there.
    """
    store = FeatureStore()
    for group in groups_of(recipes):
        try:
            _extract(group, registry, store, console)
            _captions(group, registry, captions, console)
        except Exception as error:  # the cells that it concerns will say so
            log.warning("shared stages: %s", explain(error))
            console.print(f"[yellow]shared stages[/] {escape(explain(error))}", highlight=False)


def _clips(recipe: Recipe, registry: Registry, *, train: bool) -> list[Clip]:
    data = registry.data_source(recipe.data.source)
    source = data.build(data.options(**recipe.data.options))
    return [*(source.clips("train") if train else ()), *source.clips("test")]


def _extract(group: Sequence[Recipe], registry: Registry, store: FeatureStore, console: Console) -> None:
    train = any(recipe.conditions for recipe in group)
    union = group[0].model_copy(update={"conditions": encoders_of(group)})
    failures = material.Failures()
    source = backbone_folder(union.backbone.source, registry)
    with stage_progress(console, "clips, shared") as progress:
        material.extract_all(
            union,
            build_encoders(union, registry),
            source,
            _clips(union, registry, train=train),
            store,
            failures,
            progress=progress,
            codec=load_backbone(source, parts=frozenset({"codec"})).codec,
        )


def _captions(group: Sequence[Recipe], registry: Registry, path: Path, console: Console) -> None:
    """Captions by each captioner: of all clips where something is trained on them, else of the test clips."""
    told: dict[str, list[Recipe]] = {}
    for recipe in group:
        if recipe.text.captioner is not None:
            key = f"{recipe.text.captioner} {sorted(recipe.text.captioner_options.items(), key=str)}"
            told.setdefault(key, []).append(recipe)
    for recipes in told.values():
        train = any(recipe.conditions for recipe in recipes)
        with stage_progress(console, "captions, shared") as progress:
            write_captions(
                recipes[0], registry, _clips(recipes[0], registry, train=train), path, progress=progress
            )
