"""From a file to a recipe: read, lay profile and --set over it, check it alone and against the plugins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from expotion.errors import Problem, RecipeError
from expotion.recipe.merge import apply_profile, apply_set
from expotion.recipe.nodes import Node, read_file
from expotion.recipe.problems import in_file_order, problems_of
from expotion.recipe.resolve import Catalogue, Resolver, draft_of, salvage
from expotion.recipe.schema import Recipe


def load_recipe(
    path: Path | str,
    *,
    registry: Catalogue | None,
    profile: str | None = None,
    sets: Sequence[str] = (),
    ready: bool = False,
) -> Recipe:
    """The recipe in a file, resolved: options checked by their plugins and complete, versions filled in.

    `registry` comes from `expotion.plugins.discover`; None checks the schema alone. `ready` also asks for what a
    run needs here: packages and weights of the metrics. Raises `RecipeError` with every problem found, each with
    file, line, field, what was wanted and how to fix it. Of a recipe with a `matrix` it is what the cells share;
    `expotion.matrix.declare.load_matrix` gives the cells.
    """
    problems: list[Problem] = []
    root = without_matrix(read_tree(path, problems, profile=profile, sets=sets))
    return recipe_of(root, registry, problems, ready=ready)


def read_tree(
    path: Path | str, problems: list[Problem], *, profile: str | None = None, sets: Sequence[str] = ()
) -> Node:
    """The tree of a file with a profile and --set laid over it; `matrix`, where there is one, still in it."""
    root, profiles = _split(read_file(Path(path), problems), problems)
    if profile is not None:
        root = apply_profile(root, profiles, profile, problems)
    for assignment in sets:
        root = apply_set(root, assignment, problems)
    return root


def without_matrix(root: Node) -> Node:
    """The tree without its `matrix`: what all cells share."""
    return Node({key: child for key, child in root.value.items() if key != "matrix"}, root.where)


def recipe_of(
    root: Node, registry: Catalogue | None, problems: Sequence[Problem] = (), *, ready: bool = False
) -> Recipe:
    """The resolved recipe of a tree. Raises `RecipeError` with `problems` and everything else that is wrong."""
    found = list(problems)
    recipe = _validate(root, found)
    if registry is None:
        if found or recipe is None:
            raise RecipeError(in_file_order(found))
        return recipe
    draft = draft_of(recipe) if recipe is not None else salvage(root.plain())
    resolver = Resolver(draft, root, registry, ready)
    found += resolver.run()
    if found or recipe is None:
        raise RecipeError(in_file_order(found))
    return resolver.complete(recipe)


def read_profiles(path: Path | str) -> list[str]:
    """Names of the profiles in a recipe file, in order. Raises `RecipeError` where it cannot be read."""
    _, profiles = _split(read_file(Path(path), []), [])
    return list(profiles)


def _split(root: Node, problems: list[Problem]) -> tuple[Node, dict[str, Node]]:
    """The recipe without its profiles, and the profiles."""
    if not isinstance(root.value, dict):
        raise RecipeError(
            Problem(root.where, "a mapping of fields", "something else", "begin with `name: ...`")
        )
    profiles = root.value.get("profiles")
    rest = Node({key: child for key, child in root.value.items() if key != "profiles"}, root.where)
    if profiles is None or profiles.value is None:
        return rest, {}
    if not isinstance(profiles.value, dict):
        problems.append(
            Problem(f"{profiles.where} profiles", "a mapping from names to fields", "something else")
        )
        return rest, {}
    return rest, profiles.value


def _validate(root: Node, problems: list[Problem]) -> Recipe | None:
    try:
        return Recipe.model_validate(root.plain())
    except ValidationError as error:
        problems += problems_of(error, Recipe, root)
        return None
