"""What can be trained here, and what a run will need and take: said before anything is made."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from expotion.files import write_text
from expotion_studio.recipes import PROFILES, recipe_of, shipped_recipe
from expotion_studio.training import LEAST_SONGS, TEST_SHARE, says

if TYPE_CHECKING:
    from expotion.plugins import Registry
    from expotion.recipe import Recipe
    from expotion.recipe.lacks import Lack
    from expotion.recipe.plan import Plan

GPUS_FROM_S = 3 * 3600.0
"""Trainings that take longer than this on two cores are also told for GPUs."""


def offered() -> dict[str, Any]:
    """Models, and controls that can be trained: encoders of a picture, with what each lacks here."""
    from expotion import plugins
    from expotion.recipe.lacks import missing_weights

    shipped = {condition.encoder: condition.name for condition in shipped_recipe().conditions}
    controls = []
    for name, offer in sorted(plugins.discover().offers("encoder").items()):
        spec = offer.spec
        if set(spec.needs) != {"video"}:
            continue
        with contextlib.suppress(ValidationError):  # one that must be told more than its name is not for a page
            lacks = [str(lack.problem) for lack in missing_weights(spec, spec.options())]
            told = {"encoder": name, "name": shipped.get(name, name), "about": spec.description, "lacks": lacks}
            controls.append({**told, "usual": name in shipped})
    controls.sort(key=lambda one: (not one["usual"], bool(one["lacks"]), one["encoder"]))
    return {"controls": controls, "models": {name: profile.title for name, profile in PROFILES.items()}}


def planned(text: str) -> dict[str, Any]:
    """What a run will take, of a JSON text: what is asked, and `takes` as [piece, performer, duration_s].

    Raises RecipeError for what no recipe can hold. `lacks` must be there first; `fetches` a run with a connection
    fetches itself; `times` are of two cores.
    """
    from expotion import plugins
    from expotion.progress import rough_time
    from expotion.recipe.load import load_recipe
    from expotion.recipe.plan import Found, plan_of

    given, registry = json.loads(text), plugins.discover()
    takes, clip_s = given["takes"], given["clip_s"]
    n_songs = len({song for song, _, _ in takes})
    lacks: list[Lack] = []
    with tempfile.TemporaryDirectory() as folder:
        (manifest := Path(folder) / "manifest.jsonl").touch()
        content = recipe_of(given, manifest, "an estimate", tested=n_songs >= LEAST_SONGS)
        write_text(Path(folder) / "recipe.yaml", yaml.safe_dump(content))
        recipe = load_recipe(Path(folder) / "recipe.yaml", registry=registry, lacks=lacks)
    clips = sum(max(1, int(duration_s // clip_s)) for _, _, duration_s in takes)
    test = max(1, round(clips * max(TEST_SHARE, 1 / n_songs))) if n_songs >= LEAST_SONGS else 1
    train = max(1, clips - test) if n_songs >= LEAST_SONGS else clips
    longest_s = min(clip_s, max(duration_s for _, _, duration_s in takes))
    plan = plan_of(recipe, registry, Found({"train": train, "test": test}, longest_s))
    return {
        "clips": clips,
        "songs": n_songs,
        "note": says(n_songs, len({who for _, who, _ in takes})),
        "trainable": plan.trainable,
        "lacks": [_told(lack) for lack in lacks if not lack.fetched],
        "fetches": [_told(lack) for lack in lacks if lack.fetched],
        "times": {name: rough_time(s) for name, s in _times(recipe, registry, plan).items()},
        "gpus": _gpus(recipe, plan),
    }


def _told(lack: Lack) -> str:
    """What is not here and how it comes, without where the estimate's own recipe names it."""
    problem = lack.problem
    return f"{problem.wanted}: {problem.fix}" if problem.fix else f"{problem.wanted}, got {problem.got}"


def _times(recipe: Recipe, registry: Registry, plan: Plan) -> dict[str, float]:
    """Seconds of each part on two cores, as far as they can be told."""
    from expotion.recipe.schema import NOT_GENERATED
    from expotion.timeline import CODEC_RATE_HZ

    seconds: dict[str, float] = {}
    specs = [(registry.encoder(condition.encoder), condition.options) for condition in recipe.conditions]
    costs = [spec.cost_s(spec.options(**options)) for spec, options in specs]
    if all(cost is not None for cost in costs):
        seconds["looking"] = sum(filter(None, costs)) * sum(plan.clips.values()) * plan.clip_s / 2
    offer = registry.offers("backbone").get(recipe.backbone.source)
    train_s, music_s = plan.train_seconds, plan.generate_seconds
    if offer is not None and offer.spec.train_cost_s is not None:  # measured, where the other is computed
        settings = recipe.train
        trained_s = min(plan.clip_s, (settings.stretch_frames or math.inf) / CODEC_RATE_HZ)
        train_s = settings.clips_per_step * trained_s * plan.train_steps * offer.spec.train_cost_s / 2
    if offer is not None and offer.spec.generate_cost_s is not None:
        sampled = {*recipe.evaluation_conditions()} - {*NOT_GENERATED}
        music_s = plan.clips["test"] * plan.clip_s * len(sampled) * offer.spec.generate_cost_s / 2
    seconds |= {"training": train_s} if train_s is not None else {}
    seconds |= {"music of the test": music_s} if music_s is not None else {}
    return seconds


def _gpus(recipe: Recipe, plan: Plan) -> list[str]:
    """What training takes on GPUs, a line each, where two cores are slow; computed, not measured."""
    from expotion.machine.gpus import GPUS
    from expotion.progress import rough_time
    from expotion.recipe.plan import n_decoder
    from expotion.rehearse.estimate import CODEC_BYTES, on_gpu

    if plan.train_seconds is None or plan.geometry is None or plan.train_seconds < GPUS_FROM_S:
        return []
    model_gb = (2 * n_decoder(plan.geometry) + CODEC_BYTES) / 1e9
    told = [
        f"{model_gb:.1f} GB of memory hold the frozen model; what training adds, `expotion recipe rehearse` tells"
    ]
    for gpu in GPUS:
        took = rough_time(on_gpu(gpu, [(recipe, plan)])["training"])
        told.append(f"{gpu.name} with {gpu.memory_gb:g} GB: training about {took}")
    return told
