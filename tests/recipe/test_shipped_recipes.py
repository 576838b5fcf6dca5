"""Every recipe of the repository, with every profile, is in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from expotion.recipe import load_recipe, read_profiles

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.rglob("*.yaml"))
CASES = [(path, profile) for path in FILES for profile in (None, *read_profiles(path))]


def test_the_recipes_are_there() -> None:
    names = {path.stem for path in FILES}
    assert {"face_motion", "face", "motion_synchformer", "motion_raft", "text_only"} <= names
    assert {"best", "paper"} <= set(read_profiles(RECIPES / "face_motion.yaml"))


@pytest.mark.parametrize(("path", "profile"), CASES, ids=[f"{p.stem}-{q or 'default'}" for p, q in CASES])
def test_each_recipe_and_profile_loads(path: Path, profile: str | None) -> None:
    recipe = load_recipe(path, registry=None, profile=profile)
    assert recipe.name == path.stem
    assert recipe.plugins, "a shipped recipe declares its plugins"
    assert recipe.description


def test_the_paper_profile_has_the_papers_numbers() -> None:
    paper = load_recipe(RECIPES / "face_motion.yaml", registry=None, profile="paper")
    assert paper.backbone.source == "hf:facebook/musicgen-large"
    assert [condition.rank for condition in paper.conditions] == [12, 12]
    assert paper.train.learning_rate.model_dump() == dict.fromkeys(("project", "gates", "other"), 1e-2)
    assert paper.train.batch_size == 10
    assert paper.train.steps == 40 * (2340 // 10)
