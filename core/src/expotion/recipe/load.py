"""From a file to a recipe: read, lay profile and --set over it, check it alone and against the plugins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from expotion.errors import Problem, RecipeError
from expotion.plugins import Registry
from expotion.recipe.merge import apply_profile, apply_set
from expotion.recipe.nodes import Node, read_file
from expotion.recipe.problems import in_file_order, problems_of
from expotion.recipe.resolve import Resolver, salvage
from expotion.recipe.schema import Recipe


def load_recipe(
    path: Path | str,
    *,
    registry: Registry | None,
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
    root: Node, registry: Registry | None, problems: Sequence[Problem] = (), *, ready: bool = False
) -> Recipe:
    """The resolved recipe of a tree. Raises `RecipeError` with `problems` and everything else that is wrong."""
    found, recipe = list(problems), None
    try:
        recipe = Recipe.model_validate(root.plain())
    except ValidationError as error:
        found += problems_of(error, Recipe, root)
    resolver = None
    if registry is not None:
        resolver = Resolver(recipe or salvage(root.plain()), root, registry, ready)
        found += resolver.run()
    if found or recipe is None:
        raise RecipeError(in_file_order(found))
    return recipe if resolver is None else resolver.complete()


def read_profiles(path: Path | str) -> list[str]:
    """Names of the profiles in a recipe file, in order. Raises `RecipeError` where it cannot be read."""
    _, profiles = _split(read_file(Path(path), []), [])
    return list(profiles)


def _split(root: Node, problems: list[Problem]) -> tuple[Node, dict[str, Node]]:
    """The recipe without its profiles, and the profiles."""
    if not isinstance(root.value, dict):
        fix = "begin with `name: ...`"
        raise RecipeError(Problem(root.where, "a mapping of fields", "something else", fix))
    rest = Node({key: child for key, child in root.value.items() if key != "profiles"}, root.where)
    profiles = root.value.get("profiles", Node(None, root.where))
    if isinstance(profiles.value, dict):
        return rest, profiles.value
    if profiles.value is not None:
        wanted = "a mapping from names to fields"
        problems.append(Problem(f"{profiles.where} profiles", wanted, "something else"))
    return rest, {}
