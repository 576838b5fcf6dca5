"""The resolved recipe: complete, written and read back, hashed, and what it derives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from expotion.plugins import Registry
from expotion.recipe import Recipe, load_recipe
from expotion.recipe.schema import Adaptor, Backbone, Train


@pytest.fixture
def recipe(recipe_text: str, registry: Registry, write: Callable[[str], Path]) -> Recipe:
    return load_recipe(write(recipe_text), registry=registry)


def test_options_are_complete_and_versions_kept(recipe: Recipe) -> None:
    assert recipe.condition("face").options == {"geometry": "tiny", "window_rate_hz": 5.0}
    assert recipe.versions["expotion-face-marlin"] == "0.1.0"
    assert next(iter(recipe.versions)) == "expotion"
    assert recipe.train.learning_rate.other == 1e-4


def test_the_resolved_recipe_reads_back_equal(
    recipe: Recipe, registry: Registry, write: Callable[[str], Path]
) -> None:
    again = load_recipe(write(recipe.to_yaml()), registry=registry)
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_the_hash_sees_content_and_not_names(recipe: Recipe) -> None:
    values = recipe.to_dict()
    renamed = Recipe.from_dict({**values, "name": "other", "description": "x", "versions": {}})
    assert renamed.content_hash == recipe.content_hash
    reseeded = Recipe.from_dict({**values, "seed": 8})
    assert reseeded.content_hash != recipe.content_hash
    assert reseeded.section_hash("data", "conditions") == recipe.section_hash("data", "conditions")


def test_the_table_has_its_order(recipe: Recipe) -> None:
    own = [
        "text_only",
        "face",
        "motion",
        "face+motion",
        "shuffled",
        "lenders_truth",
        "codec_ceiling",
        "ground_truth",
    ]
    assert recipe.evaluation_conditions() == own
    assert recipe.joint_name == "face+motion"
    more = Recipe.from_dict({**recipe.to_dict(), "evaluate": {"control_alone": True, "probes": 4}})
    assert more.evaluation_conditions() == [*own[:6], "fader_on_frozen", "clicks_on_frozen", *own[6:]]
    assert more.section_hash("evaluate") == Recipe.from_dict({**more.to_dict(), "evaluate": {}}).section_hash(
        "evaluate"
    ), "what is measured besides changes nothing that was made"
    alone = Recipe.from_dict({**recipe.to_dict(), "conditions": []})
    assert alone.evaluation_conditions() == ["text_only", "codec_ceiling", "ground_truth"]
    assert alone.joint_name == ""


def test_seeds_default_to_the_recipes(recipe: Recipe) -> None:
    assert (recipe.train_seed, recipe.generate_seed) == (7, 7)
    values = recipe.to_dict()
    values["train"]["seed"] = 3
    assert Recipe.from_dict(values).train_seed == 3


def test_dropout_by_condition(recipe: Recipe) -> None:
    assert [recipe.train.dropout_of(name) for name in ("face", "motion")] == [0.1, 0.1]
    values = recipe.to_dict()
    values["train"]["condition_dropout"] = {"face": 0.5}
    changed = Recipe.from_dict(values).train
    assert [changed.dropout_of(name) for name in ("face", "motion")] == [0.5, 0.0]


def test_short_forms_of_training() -> None:
    train = Train.model_validate({"learning_rate": 1e-2, "context_swap": False, "condition_dropout": 0.3})
    assert train.learning_rate.model_dump() == {"project": 1e-2, "gates": 1e-2, "other": 1e-2}
    assert train.context_swap.prob == 0.0
    assert train.condition_dropout == {"all": 0.3}
    with pytest.raises(ValidationError, match="the smallest number of frames"):
        Train.model_validate({"context_swap": {"min_frames": 9, "max_frames": 3}})


@pytest.mark.parametrize(("layers", "n"), [("all", 48), ("last_half", 24), ("last_quarter", 12), (5, 5), (99, 48)])
def test_adapted_layers(layers: int | str, n: int) -> None:
    assert Adaptor.model_validate({"layers": layers}).n_adapted(48) == n


@pytest.mark.parametrize("layers", ["some", 0, -1, True, 2.5, None])
def test_layers_that_are_none(layers: object) -> None:
    with pytest.raises(ValidationError, match="'all', 'last_half', 'last_quarter' or a number"):
        Adaptor.model_validate({"layers": layers})


def test_a_preset_fills_what_is_left_out() -> None:
    released = Adaptor.model_validate({"preset": "released_code", "positions": "fused"})
    assert (released.prefix_attention, released.null_branch) == ("causal", "full")
    assert released.positions == "fused"
    paper = Adaptor.model_validate({"preset": "paper"})
    assert (paper.prefix_attention, paper.fusion) == ("full", "shared")


@pytest.mark.parametrize(
    ("source", "kind", "reference"),
    [
        ("tiny", "plugin", "tiny"),
        ("hf:facebook/musicgen-large", "hf", "facebook/musicgen-large"),
        ("audiocraft:large", "audiocraft", "large"),
        ("./weights", "folder", "./weights"),
        ("~/weights", "folder", "~/weights"),
    ],
)
def test_kinds_of_backbone(source: str, kind: str, reference: str) -> None:
    backbone = Backbone(source=source)
    assert (backbone.kind, backbone.reference) == (kind, reference)


def test_a_recipe_does_not_change(recipe: Recipe) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]
