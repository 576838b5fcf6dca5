"""Every recipe of the repository, with every profile, is in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from expotion.matrix.declare import load_matrix
from expotion.recipe import load_recipe, read_profiles
from expotion.recipe.tasks import load_task

RECIPES = Path(__file__).parents[2] / "recipes"
TASKS = [path for path in sorted(RECIPES.rglob("*.yaml")) if load_task(path, registry=None)]
FILES = [path for path in sorted(RECIPES.rglob("*.yaml")) if path not in TASKS]
CASES = [(path, profile) for path in FILES for profile in (None, *read_profiles(path))]


def test_the_recipes_are_there() -> None:
    names = {path.stem for path in FILES}
    assert {"face_motion", "face", "motion_synchformer", "motion_dis", "text_only"} <= names
    assert {"best", "paper"} <= set(read_profiles(RECIPES / "face_motion.yaml"))


@pytest.mark.parametrize(("path", "profile"), CASES, ids=[f"{p.stem}-{q or 'default'}" for p, q in CASES])
def test_each_recipe_and_profile_loads(path: Path, profile: str | None) -> None:
    recipe = load_recipe(path, registry=None, profile=profile)
    assert recipe.name == path.stem
    assert recipe.plugins, "a shipped recipe declares its plugins"
    assert recipe.description


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_each_recipe_of_a_task_loads_and_lacks_nothing(path: Path) -> None:
    from expotion.plugins import discover

    recipe = load_task(path, registry=discover(), ready=True)
    assert recipe is not None and recipe.name == path.stem
    assert recipe.plugins and recipe.description and recipe.evaluate.metrics


def test_the_scenes_are_there() -> None:
    assert {path.stem for path in TASKS} == {"musiscene"}
    matrix = load_matrix(RECIPES / "scene_prompts.yaml", registry=None)
    assert matrix is not None
    words = {row.name: matrix.cell(row.name).recipe.text for row in matrix.rows}
    assert [text.captioner for text in words.values()] == [
        "conductor_watcher",
        "conductor_listener",
        "conductor_watcher",
        "musiscene",
    ]
    assert words["fused_captions"].captioner_options == {"of": "fused"} != words["video_captions"].captioner_options


def test_the_matrices_are_there() -> None:
    ablations = {"rank", "layers", "prefix_attention", "positions", "feature_rate"}
    assert {path.stem for path in (RECIPES / "ablations").glob("*.yaml")} == ablations
    assert (RECIPES / "table1.yaml").is_file()


@pytest.mark.parametrize(("path", "profile"), CASES, ids=[f"{p.stem}-{q or 'default'}" for p, q in CASES])
def test_each_cell_of_each_matrix_loads(path: Path, profile: str | None) -> None:
    matrix = load_matrix(path, registry=None, profile=profile)
    if matrix is None:
        assert "matrix:" not in path.read_text()
        return
    hashes = {cell.recipe.content_hash for cell in matrix.cells}
    assert len(hashes) == len(matrix.cells) > 1, "cells that do not differ"
    assert matrix.spec.reference_row in {row.name for row in matrix.rows}


def test_table1_has_the_papers_rows_and_numbers() -> None:
    world = load_matrix(RECIPES / "table1.yaml", registry=None)
    assert world is not None
    flow = {"motion_dis_generic", "motion_dis"}
    assert flow <= {row.name for row in world.rows}
    assert not [row for row in world.rows if "RAFT" in row.labels.values()]
    table = load_matrix(RECIPES / "table1.yaml", registry=None, profile="raft")
    assert table is not None and table.spec.published is not None
    published = table.spec.published.rows
    assert {row.name for row in table.rows} == set(published) - {"Video2Music", "VidMuse"}
    assert published["motion_raft_generic"]["tempo_error_bpm"] == 28.07
    assert published["musicgen"]["beat_f1"] == 0.33
    generic = table.cell("motion_raft_generic").recipe.text
    assert (generic.prompt, generic.captioner) == ("music with catchy melody", None)
    assert table.cell("motion_raft").recipe.text.captioner == "conductor_listener"
    assert table.cell("musicgen").recipe.conditions == []


def test_the_paper_profile_has_the_papers_numbers() -> None:
    paper = load_recipe(RECIPES / "face_motion.yaml", registry=None, profile="paper")
    assert paper.backbone.source == "hf:facebook/musicgen-large"
    assert [condition.rank for condition in paper.conditions] == [12, 12]
    assert paper.train.learning_rate.model_dump() == dict.fromkeys(("project", "gates", "other"), 1e-2)
    assert paper.train.batch_size == 10
    assert paper.train.in_steps(2340).steps == 40 * (2340 // 10)
