"""Recipes of another kind: `task: NAME` names a plugin's task, whose stages are run in place of those of music."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from expotion.contracts import Options
from expotion.errors import Problem, RecipeError
from expotion.plugins import Offer, Registry
from expotion.recipe.lacks import missing_of_metric
from expotion.recipe.load import read_tree
from expotion.recipe.nodes import Node
from expotion.recipe.problems import Loc, in_file_order, place, problems_of
from expotion.recipe.schema import Cluster, Data, Section, Seed, Train, Trained


class TaskEvaluate(Section):
    """What is measured; `metrics` null: those of the task."""

    metrics: list[str] | None = None
    bootstrap: int = Field(default=2_000, ge=100)


class TaskRecipe(Trained):
    """A whole run of a task. `options` are the task's own; `train` is that of every recipe."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    description: str = ""
    task: str
    seed: Seed = 0
    plugins: list[str] = Field(default_factory=list)
    data: Data | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    train: Train = Train()
    cluster: Cluster = Cluster()
    evaluate: TaskEvaluate = TaskEvaluate()
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """Hex SHA-256 of everything that can change a result; what is measured may change afterwards."""
        values = self.to_dict()
        kept = {name: values[name] for name in ("task", "seed", "data", "options", "train")}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def load_task(
    path: Path | str,
    *,
    registry: Registry | None,
    profile: str | None = None,
    sets: Sequence[str] = (),
    ready: bool = False,
) -> TaskRecipe | None:
    """The recipe of a task in a file, its options complete; None for a recipe that names no task.

    `registry` None checks the schema alone. Raises `RecipeError` with every problem found; with `ready` also for
    what a run needs and does not find here.
    """
    problems: list[Problem] = []
    root = read_tree(path, problems, profile=profile, sets=sets)
    if "task" not in root.value:
        return None
    recipe = None
    try:
        recipe = TaskRecipe.model_validate(root.plain())
    except ValidationError as error:
        problems += problems_of(error, TaskRecipe, root)
    if recipe is None or problems:
        raise RecipeError(in_file_order(problems))
    if registry is None:
        return recipe
    return _resolved(recipe, root, registry, ready)


def _resolved(recipe: TaskRecipe, root: Node, registry: Registry, ready: bool) -> TaskRecipe:
    """The recipe with every option of its task and its data, and with its metrics."""
    offer = _offer(registry, "task", recipe.task, root, ("task",))
    options = _checked(offer.spec.options, recipe.options, root, ("options",))
    data = recipe.data
    if data is not None:
        source = _offer(registry, "data source", data.source, root, ("data", "source"))
        known = _checked(source.spec.options, data.options, root, ("data",)).model_dump(mode="json")
        data = Data.model_validate({"source": data.source, **known})
    names = recipe.evaluate.metrics
    metrics = list(offer.spec.metrics) if names is None else names
    places: list[Loc] = [("task",) if names is None else ("evaluate", "metrics", i) for i in range(len(metrics))]
    specs = [_offer(registry, "metric", name, root, at).spec for name, at in zip(metrics, places, strict=True)]
    if ready:
        lacks = [lack.problem for spec in specs for lack in missing_of_metric(spec)]
        if lacks := [*lacks, *offer.spec.missing(options)]:
            raise RecipeError(lacks)
    update = {
        "data": data,
        "options": options.model_dump(mode="json"),
        "evaluate": recipe.evaluate.model_copy(update={"metrics": metrics}),
        "versions": {offer.distribution: offer.version},
    }
    return recipe.model_copy(update=update)


def _offer(registry: Registry, kind: str, name: str, root: Node, loc: Loc) -> Offer[Any]:
    offer = registry.offers(kind).get(name)
    if offer is None:
        raise RecipeError(Problem(place(root, loc), *registry.explain_missing(kind, name)))
    return offer


def _checked(model: type[Options], values: dict[str, Any], root: Node, loc: Loc) -> Options:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RecipeError(in_file_order(problems_of(error, model, root, loc))) from None
