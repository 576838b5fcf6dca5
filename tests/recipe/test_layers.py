"""Profiles and --set over the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from expotion.errors import RecipeError
from expotion.plugins import Registry
from expotion.recipe import Recipe, load_recipe, read_profiles
from expotion.recipe.merge import parse_path

Load = Callable[..., Recipe]


@pytest.fixture
def load(recipe_text: str, registry: Registry, write: Callable[[str], Path]) -> Load:
    path = write(recipe_text)

    def load_with(*sets: str, profile: str | None = None) -> Recipe:
        return load_recipe(path, registry=registry, profile=profile, sets=sets)

    return load_with


def test_a_profile_merges_deep_and_leaves_the_rest(load: Load) -> None:
    recipe = load(profile="best")
    assert (recipe.train.steps, recipe.train.batch_size) == (1000, 8)
    assert recipe.data.options == {"train_clips": 64, "test_clips": 4, "clip_s": 10.0}


def test_a_profile_extends_another(load: Load) -> None:
    recipe = load(profile="longer")
    assert recipe.train.steps == 2000
    assert recipe.data.options["train_clips"] == 64


def test_another_source_takes_none_of_the_old_options(load: Load) -> None:
    assert load(profile="own").data.options == {"root": "clips"}
    assert load("data.source=folder", "data.root=here").data.options == {"root": "here"}


def test_another_encoder_takes_none_of_the_old_options(load: Load) -> None:
    sets = ("conditions[face].options.geometry=base", "conditions[face].encoder=flow")
    assert load(*sets).condition("face").options == {}


def test_an_unknown_profile_gets_the_closest_one(load: Load) -> None:
    with pytest.raises(RecipeError, match=r"--profile bset: a profile of this recipe.*did you mean 'best'"):
        load(profile="bset")


def test_profiles_in_a_circle_are_an_error(
    recipe_text: str, registry: Registry, write: Callable[[str], Path]
) -> None:
    path = write(recipe_text.replace("  best:\n", "  best:\n    extends: longer\n"))
    with pytest.raises(RecipeError, match="a circle: best -> longer"):
        load_recipe(path, registry=registry, profile="best")


def test_a_fault_in_a_profile_stands_on_its_own_line(
    recipe_text: str, registry: Registry, write: Callable[[str], Path]
) -> None:
    path = write(recipe_text.replace("{steps: 2000}", "{steps: -2}"))
    with pytest.raises(RecipeError, match=r"^dance\.yaml:20 train\.steps: a number of at least 0, got -2$"):
        load_recipe(path, registry=registry, profile="longer")


def test_profiles_are_listed_in_order(recipe_text: str, write: Callable[[str], Path]) -> None:
    assert read_profiles(write(recipe_text)) == ["best", "longer", "own"]


def test_set_changes_fields_by_path_index_and_name(load: Load) -> None:
    recipe = load(
        "train.steps=20",
        "conditions[0].rank=5",
        "conditions[motion].rank=6",
        "train.learning_rate.gates=1e-2",
        "evaluate.conditions=[face, shuffled]",
        "text.prompt=soft piano",
        "adaptor.positions=table",
        "generate.control_scale=",
    )
    assert recipe.train.steps == 20
    assert [condition.rank for condition in recipe.conditions] == [5, 6]
    assert recipe.train.learning_rate.gates == 1e-2
    assert recipe.evaluation_conditions() == ["face", "shuffled"]
    assert recipe.text.fixed_prompt == "soft piano"
    assert recipe.adaptor.positions == "table"
    assert recipe.generate.control_scale is None


def test_set_wins_over_the_profile(load: Load) -> None:
    assert load("train.steps=3", profile="best").train.steps == 3


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.stepz=3", "--set train.stepz=3 train.stepz: unknown field; did you mean 'steps'?"),
        ("train.steps=x", "--set train.steps=x train.steps: a whole number, got 'x'"),
        ("train.steps", "--set train.steps: path=value; for example --set conditions[motion].rank=4"),
        ("=3", "--set =3: path=value; for example --set conditions[motion].rank=4"),
        (
            "conditions[moton].rank=3",
            "--set conditions[moton].rank=3: the name of an entry, got 'moton'; did you mean 'motion'?",
        ),
        ("conditions[7].rank=3", "--set conditions[7].rank=3: an index below 2, got 7; entries: face, motion"),
        ("seed.x=3", "--set seed.x=3: a path into a mapping or list, got 'x' below the value 7; check the path"),
        (
            "text.prompt=[a",
            "--set text.prompt=[a: a YAML value, got expected ',' or ']', but got '<stream end>'; close its "
            "brackets and quotes, or quote it as a whole",
        ),
    ],
)
def test_faults_of_set(assignment: str, message: str, load: Load) -> None:
    with pytest.raises(RecipeError) as caught:
        load(assignment)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a.b[0].c", ["a", "b", 0, "c"]),
        ("a[x-1]", ["a", "x-1"]),
        ("", None),
        ("a..b", None),
        ("a[", None),
        ("[0]", None),
    ],
)
def test_paths(text: str, steps: list[str | int] | None) -> None:
    assert parse_path(text) == steps
