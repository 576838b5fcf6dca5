from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.errors import ExpotionError
from expotion.plugins import Registry
from expotion.recipe import Recipe, load_recipe
from expotion.recipe.plan import plan_of, read_geometry

Load = Callable[..., Recipe]


@pytest.fixture
def load(recipe_text: str, registry: Registry, write: Callable[[str], Path]) -> Load:
    path = write(recipe_text)
    return lambda *sets: load_recipe(path, registry=registry, sets=sets)


def test_shapes_and_rates_need_no_weights(load: Load, registry: Registry) -> None:
    plan = plan_of(load(), registry)
    assert plan.geometry is not None
    assert (plan.geometry.width, plan.geometry.n_layers, plan.geometry.rate_hz) == (192, 6, 50.0)
    assert plan.n_steps == 500
    assert [(c.width, c.rate_hz, c.rank) for c in plan.conditions] == [(96, 5.0, 12), (10, 25.0, 4)]
    assert plan.clips == {"train": 16, "test": 4}


def test_trainable_parameters_by_hand(load: Load, registry: Registry) -> None:
    # Projections, a merge matrix per layer, positions for input and layers, gates.
    plan = plan_of(load("adaptor.preset=released_code", "adaptor.layers=2"), registry)
    by_hand = (96 * 12 + 10 * 4) + 2 * 16 * 192 + 3 * 501 * 192 + 2
    assert plan.trainable == by_hand
    assert plan.n_adapted == 2


@pytest.mark.parametrize("preset", ["ours", "paper", "released_code"])
def test_trainable_parameters_are_those_of_the_adaptor(preset: str, load: Load, registry: Registry) -> None:
    recipe = load(f"adaptor.preset={preset}", "adaptor.layers=3")
    plan = plan_of(recipe, registry)
    modalities = tuple(Modality(c.name, c.width, c.rank, null=recipe.adaptor.null) for c in plan.conditions)
    config = AdaptorConfig(
        modalities,
        width=192,
        n_lm_layers=6,
        n_adapted=3,
        max_rows=plan.n_steps + 1 if recipe.adaptor.needs_rows else None,
        **recipe.adaptor.choices(),
    )
    assert plan.trainable == sum(p.numel() for p in Adaptor(config).parameters() if p.requires_grad)


def test_steps_follow_from_epochs_and_clips(load: Load, registry: Registry) -> None:
    by_steps, by_epochs = plan_of(load(), registry), plan_of(load("train.epochs=3.0"), registry)
    assert (by_steps.train_steps, by_epochs.train_steps) == (160, 3 * ((16 - 2) // 8))  # two of 16 clips validate
    assert plan_of(load("train.epochs=3.0", "train.accumulate=2"), registry).train_steps == 3
    assert plan_of(load("conditions=[]"), registry).train_steps == 0


def test_a_step_costs_by_its_clips(load: Load, registry: Registry) -> None:
    once, twice = plan_of(load(), registry), plan_of(load("train.accumulate=2"), registry)
    assert once.train_flops is not None
    assert twice.train_flops == pytest.approx(2 * once.train_flops)


def test_cost_grows_with_steps_and_is_nothing_without_conditions(load: Load, registry: Registry) -> None:
    short, long = plan_of(load("train.steps=10"), registry), plan_of(load("train.steps=20"), registry)
    assert short.train_flops is not None and long.train_flops is not None
    assert long.train_flops == pytest.approx(2 * short.train_flops)
    nothing = plan_of(load("conditions=[]"), registry)
    assert (nothing.trainable, nothing.train_flops) == (0, 0.0)


def test_a_hub_model_of_published_size_needs_no_download(load: Load, registry: Registry) -> None:
    plan = plan_of(load("backbone.source=hf:facebook/musicgen-large"), registry)
    assert plan.geometry is not None
    assert (plan.geometry.width, plan.geometry.n_layers) == (2048, 48)
    unknown = plan_of(load("backbone.source=hf:somebody/else"), registry)
    assert unknown.geometry is None and unknown.trainable is None


def test_a_folder_that_is_no_musicgen_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ExpotionError, match="no such file"):
        read_geometry(tmp_path)
    (tmp_path / "config.json").write_text('{"decoder": 3}')
    with pytest.raises(ExpotionError, match="the config of a MusicGen"):
        read_geometry(tmp_path)
