"""Presets and the layers of a recipe: base, preset of a layer, the layer's own keys, --set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from expotion.errors import RecipeError
from expotion.matrix.declare import load_matrix
from expotion.recipe import Recipe, load_recipe
from expotion.recipe.schema import Generate, Train

RECIPES = Path(__file__).parents[2] / "recipes"

# What the paper says (3.2, 4.1 to 4.3) and, where it is silent, what the released code does.
EVERYTHING_PAPER: dict[str, dict[str, Any]] = {
    "adaptor": {
        "preset": "paper",
        "layers": "all",
        "prefix_attention": "full",
        "prefix_block": "attention",
        "positions": "fused",
        "fusion": "shared",
        "start": "table",
        "null": "zero",
        "null_branch": "full",
        "row_limit": "frames",
        "silent_when_dropped": False,
        "standardise": False,
        "position_rows": None,
    },
    "train": {
        "preset": "paper",
        "epochs": 40.0,
        "warmup_epochs": 2.0,
        "batch_size": 10,
        "accumulate": 1,
        "learning_rate": {"project": 0.01, "gates": 0.01, "other": 0.01},
        "schedule": "cosine",
        "final_learning_rate_ratio": 0.01,
        "weight_decay": 0.02,
        "betas": [0.9, 0.999],
        "clip_norm": 0.1,
        "context_swap": {
            "prob": 0.0,
            "min_frames": 25,
            "max_frames": 400,
            "more_prob": 0.0,
            "more_min_frames": 25,
            "more_max_frames": 100,
        },
        "condition_dropout": {"all": 0.0},
        "text_dropout": 0.3,
        "precision": "auto",
        "ema": None,
        "workers": 0,
        "early_stopping": None,
        "recompute_activations": False,
        "stretch_frames": None,
        "validation_clips": 0,
        "validate_every_steps": 20,
        "sample_every_steps": 0,
        "checkpoint_every_steps": 234,
        "callbacks": [],
        "seed": None,
    },
    "generate": {
        "preset": "paper",
        "cfg_scale": 3.0,
        "control_scale": None,
        "top_k": 250,
        "top_p": 0.0,
        "temperature": 1.0,
        "precision": "auto",
        "scales": {},
        "melody": None,
        "prompt_at": [],
        "negative": None,
        "batch_size": 8,
        "samples": 4,
        "seed": None,
    },
}
RELEASED = {
    "adaptor": {"prefix_attention": "causal", "prefix_block": "layer", "positions": "table", "fusion": "per_layer"},
    "train": {"epochs": 20.0, "accumulate": 4},
    "generate": {},
}


def released() -> dict[str, dict[str, Any]]:
    return {name: EVERYTHING_PAPER[name] | own | {"preset": "released_code"} for name, own in RELEASED.items()}


def sections(recipe: Recipe) -> dict[str, Any]:
    values = recipe.to_dict()
    return {name: values[name] for name in EVERYTHING_PAPER}


def test_every_value_of_the_main_jobs_paper_profile() -> None:
    assert sections(load_recipe(RECIPES / "face_motion.yaml", registry=None, profile="paper")) == EVERYTHING_PAPER


def test_every_value_of_table_1s_paper_profile() -> None:
    matrix = load_matrix(RECIPES / "table1.yaml", registry=None, profile="paper")
    assert matrix is not None
    trained = {cell.name: sections(cell.recipe) for cell in matrix.cells}
    frozen = trained.pop("musicgen")
    assert frozen["train"]["steps"] == 0 and "epochs" not in frozen["train"]
    expected = {**EVERYTHING_PAPER, "generate": EVERYTHING_PAPER["generate"] | {"samples": 2}}
    assert list(trained.values()) == [expected] * 6
    assert matrix.cell("musicgen").recipe.text.captioner_options == {"style": "fused"}
    assert matrix.cell("face").recipe.text.captioner_options == {}


def test_every_value_of_the_released_code() -> None:
    sets = [f"{name}.preset=released_code" for name in RELEASED]
    values = sections(load_recipe(RECIPES / "face_motion.yaml", registry=None, sets=sets))
    expected = released()
    expected["train"] |= {"checkpoint_every_steps": 50, "validate_every_steps": 50}  # the recipe's own
    assert values == expected


BASE = """\
name: dance
data: {source: conductor}
conditions: [{name: face, encoder: face_marlin}]
adaptor: {layers: last_half, positions: sinusoidal}
train: {steps: 200, batch_size: 8, warmup_steps: 3}
generate: {cfg_scale: 2.0, control_scale: 4.0, top_k: 99}
profiles:
  paper:
    adaptor: {preset: paper, start: vector}
    train: {preset: paper, batch_size: 5}
    generate: {preset: paper, top_k: 7}
  short: {extends: paper, train: {steps: 12}}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "dance.yaml"
    path.write_text(BASE)
    return path


def test_a_profiles_preset_lies_over_the_base_and_below_its_own_keys(base: Path) -> None:
    recipe = load_recipe(base, registry=None, profile="paper")
    assert (recipe.adaptor.layers, recipe.adaptor.positions, recipe.adaptor.start) == ("all", "fused", "vector")
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.warmup_epochs) == (40.0, 5, 2.0)
    assert (recipe.generate.cfg_scale, recipe.generate.control_scale, recipe.generate.top_k) == (3.0, None, 7)


def test_set_lies_over_everything(base: Path) -> None:
    sets = ["adaptor.positions=table", "train.steps=4", "generate.control_scale=2.5"]
    recipe = load_recipe(base, registry=None, profile="paper", sets=sets)
    assert (recipe.adaptor.positions, recipe.adaptor.fusion) == ("table", "shared")
    assert (recipe.train.steps, recipe.train.epochs, recipe.train.warmup_epochs) == (4, None, 2.0)
    assert recipe.generate.control_scale == 2.5


def test_a_preset_by_set_lies_over_the_base(base: Path) -> None:
    recipe = load_recipe(base, registry=None, sets=["train.preset=released_code", "train.weight_decay=0.5"])
    assert (recipe.train.epochs, recipe.train.accumulate, recipe.train.weight_decay) == (20.0, 4, 0.5)


def test_a_preset_of_the_base_fills_what_is_left_out(base: Path) -> None:
    base.write_text(BASE.replace("train: {steps", "train: {preset: paper, steps", 1))
    train = load_recipe(base, registry=None).train
    assert (train.steps, train.epochs, train.batch_size, train.weight_decay) == (200, None, 8, 0.02)
    assert (train.warmup_steps, train.warmup_epochs) == (3, None)


@pytest.mark.parametrize("preset", ["paper", "released_code"])
def test_generation_as_released_says_what_the_null_half_sees(base: Path, preset: str) -> None:
    recipe = load_recipe(base, registry=None, sets=[f"generate.preset={preset}"])
    assert (recipe.adaptor.null_branch, recipe.adaptor.row_limit) == ("full", "frames")
    values = recipe.to_dict() | {"generate": {"preset": preset}, "adaptor": {"null_branch": "none"}}
    assert (Recipe.from_dict(values).adaptor.null_branch, Recipe.from_dict(values).adaptor.row_limit) == (
        "none",
        "frames",
    )


def test_epochs_and_steps_are_never_both_in_force(base: Path) -> None:
    assert load_recipe(base, registry=None, profile="short").train.in_steps(50).steps == 12
    with pytest.raises(ValidationError, match="steps or epochs, not both"):
        Train.model_validate({"steps": 3, "epochs": 2.0})
    base.write_text(BASE.replace("batch_size: 5", "batch_size: 5, epochs: 3.0, steps: 3"))
    with pytest.raises(RecipeError, match="steps or epochs, not both"):
        load_recipe(base, registry=None, profile="paper")


@pytest.mark.parametrize(("n_clips", "steps", "warmup"), [(2340, 9360, 468), (2349, 9360, 468), (3, 40, 2)])
def test_steps_follow_from_epochs(n_clips: int, steps: int, warmup: int) -> None:
    train = Train.model_validate({"preset": "paper"}).in_steps(n_clips)
    assert (train.steps, train.warmup_steps, train.epochs, train.warmup_epochs) == (steps, warmup, None, None)
    released = Train.model_validate({"preset": "released_code"}).in_steps(1872)
    assert (released.steps, released.warmup_steps) == (20 * (1872 // 40), 2 * (1872 // 40))


def test_a_recipe_in_epochs_is_read_back_as_it_was(base: Path) -> None:
    recipe = load_recipe(base, registry=None, profile="paper")
    again = Recipe.from_dict(recipe.to_dict())
    assert again == recipe and again.content_hash == recipe.content_hash
    assert (
        again.content_hash
        != load_recipe(base, registry=None, profile="paper", sets=["train.epochs=41.0"]).content_hash
    )


def test_the_presets_name_alone_changes_no_hash() -> None:
    plain = Recipe.from_dict({"name": "a", "data": {"source": "b"}, "generate": {"control_scale": None}})
    named = plain.model_copy(update={"generate": Generate(preset="ours", control_scale=None)})
    other = plain.model_copy(update={"generate": Generate(preset="paper")})
    assert plain.section_hash("generate") == named.section_hash("generate") == other.section_hash("generate")
