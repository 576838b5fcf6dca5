"""`matrix:`: which cells there are, what differs between them, and what is said of mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from expotion.errors import RecipeError
from expotion.matrix.cost import cost_of
from expotion.matrix.declare import Matrix, load_matrix
from expotion.recipe.load import load_recipe

BASE = """\
name: small
seed: 3
data: {source: lamps, train_clips: 4, test_clips: 2}
conditions:
  - {name: face, encoder: eye, rank: 2}
  - {name: motion, encoder: arm, rank: 3, options: {side: left}}
train: {steps: 4}
evaluate: {metrics: [loudness]}
"""
Load = Callable[..., Matrix]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def read(text: str, *sets: str, profile: str | None = None) -> Matrix:
        path = tmp_path / "small.yaml"
        path.write_text(BASE + text)
        matrix = load_matrix(path, registry=None, sets=sets, profile=profile)
        assert matrix is not None
        return matrix

    return read


def problems(load: Load, text: str, *sets: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(text, *sets)
    return [str(problem) for problem in caught.value.problems]


def test_a_recipe_without_a_matrix_has_none(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(BASE)
    assert load_matrix(path, registry=None) is None


def test_cells_are_the_product_of_rows_and_axes_and_ordinary_recipes(load: Load) -> None:
    matrix = load(
        """\
matrix:
  reference_row: alone-rank_2
  rows:
    alone: {labels: {control: face}, conditions: [{name: face, encoder: eye, rank: 9}]}
    both: {train.steps: 8, text: {prompt: a lamp}}
  axes:
    conditions[0].rank: [1, 2]
    seed: [5, 6]
"""
    )
    assert [cell.name for cell in matrix.cells][:3] == [
        "alone-rank_1-seed_5",
        "alone-rank_1-seed_6",
        "alone-rank_2-seed_5",
    ]
    assert [row.name for row in matrix.rows] == ["alone-rank_1", "alone-rank_2", "both-rank_1", "both-rank_2"]
    assert matrix.rows[0].cells == ("alone-rank_1-seed_5", "alone-rank_1-seed_6")
    assert matrix.rows[0].labels == {"control": "face", "rank": "1"}
    cell = matrix.cell("both-rank_2-seed_6").recipe
    assert (cell.seed, cell.train.steps, cell.text.prompt) == (6, 8, "a lamp")
    assert [condition.rank for condition in cell.conditions] == [2, 3]
    assert cell.name == "small-both-rank_2-seed_6"
    assert [c.name for c in matrix.cell("alone-rank_1-seed_5").recipe.conditions] == ["face"]


def test_an_axis_of_named_values_changes_several_fields(load: Load) -> None:
    matrix = load(
        """\
matrix:
  axes:
    encoder:
      arm: {}
      leg: {"conditions[motion].encoder": leg, "conditions[motion].rank": 7}
"""
    )
    first, second = (cell.recipe.conditions[1] for cell in matrix.cells)
    assert (first.encoder, first.options) == ("arm", {"side": "left"})
    # Options belong to the encoder they were written for.
    assert (second.encoder, second.rank, second.options) == ("leg", 7, {})


def test_exclusions_take_cells_out(load: Load) -> None:
    matrix = load(
        """\
matrix:
  rows: {a: {}, b: {}}
  axes: {train.steps: [1, 2, 3]}
  exclude: [{row: a, train.steps: [1, 2]}, {train.steps: 3}]
"""
    )
    assert [cell.name for cell in matrix.cells] == ["b-steps_1", "b-steps_2"]


def test_profiles_and_sets_reach_the_matrix_and_what_cells_share(load: Load) -> None:
    text = """\
matrix: {rows: {a: {train: {steps: 2}}, b: {}}}
profiles:
  big: {data: {train_clips: 9}, matrix: {rows: {a: {train: {batch_size: 1}}}}}
"""
    matrix = load(text, "train.steps=7", "matrix.players=1", profile="big")
    a, b = (cell.recipe for cell in matrix.cells)
    assert (a.train.steps, a.train.batch_size, b.train.steps, b.train.batch_size) == (2, 1, 7, 8)
    assert a.data.options["train_clips"] == 9
    assert matrix.spec.players == 1


def test_outside_rows_belong_to_the_table_and_not_to_the_cells(load: Load) -> None:
    text = "matrix: {rows: {a: {}}}\n"
    plain, more = load(text), load(text, "evaluate.outside.vidmuse=folder")
    assert more.outside == {"vidmuse": Path("folder")}
    assert more.cells[0].recipe.evaluate.outside == {}
    assert more.cells[0].recipe.content_hash == plain.cells[0].recipe.content_hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix: {}\n", "matrix: rows or axes"),
        ("matrix: {rows: {a: {trian: {steps: 1}}}}\n", "matrix.rows.a: a path that begins with a field"),
        ("matrix: {axes: {train.stepz: [1]}}\n", "matrix.axes.train.stepz: train.stepz: unknown field"),
        ("matrix: {axes: {seed: []}}\n", "matrix.axes.seed: at least one value, got none"),
        ("matrix: {axes: {seed: [1, 1]}}\n", "matrix.axes.seed: each value once, got 1 twice"),
        ("matrix: {axes: {train: [{steps: 1}]}}\n", "name the values"),
        ("matrix: {axes: {'conditions[voice].rank': [1]}}\n", "matrix.axes.conditions[voice].rank: the name of"),
        ("matrix: {rows: {a: {}, a: {}}}\n", "a"),
        ("matrix: {rows: {shuffled: {}}}\n", "not like a control"),
        ("matrix: {rows: {a: {}}, exclude: [{row: b}]}\n", "matrix.exclude[0]: a combination that the matrix has"),
        ("matrix: {rows: {a: {}}, exclude: [{raw: a}]}\n", "did you mean 'row'?"),
        ("matrix: {rows: {a: {}}, exclude: [{row: a}]}\n", "at least one cell that is left"),
        ("matrix: {rows: {a: {}}, reference_row: b}\n", "matrix.reference_row: one of a, got 'b'"),
        ("matrix: {rows: {a: {}}, groups: {x: [loud]}}\n", "did you mean 'loudness'?"),
        ("matrix: {rows: {a: {}}, palyers: 1}\n", "matrix.palyers: unknown field; did you mean 'players'?"),
        ("matrix: {axes: {seed: [1, 2], train.seed: " + str(list(range(300))) + "}}\n", "at most 500 cells"),
    ],
)
def test_mistakes_are_named_with_their_axis_or_field(load: Load, text: str, said: str) -> None:
    found = problems(load, text)
    assert any(said in line for line in found), found
    assert all("small.yaml:" in line for line in found)


def test_a_mistake_of_all_cells_is_said_once(load: Load) -> None:
    assert len(problems(load, "matrix: {axes: {seed: [1, 2, 3]}}\ngenerate: {topk: 1}\n")) == 1


def test_the_recipe_alone_is_what_cells_share(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(BASE + "matrix: {axes: {seed: [1, 2]}}\n")
    assert load_recipe(path, registry=None).seed == 3


def test_all_stands_for_every_control_together(load: Load) -> None:
    matrix = load("matrix: {rows: {both: {}, none: {conditions: []}}}\n", "evaluate.conditions=[all, shuffled]")
    both, none = (cell.recipe.evaluation_conditions() for cell in matrix.cells)
    assert both == ["face+motion", "shuffled"]
    assert none == ["text_only"]


def test_what_is_measured_does_not_change_what_is_made(load: Load) -> None:
    text = "matrix: {rows: {a: {}}}\n"
    one = load(text).cells[0].recipe
    other = load(text, "evaluate.metrics=[loudness, softness]").cells[0].recipe
    assert one.content_hash == other.content_hash
    assert one.section_hash("evaluate") == other.section_hash("evaluate")
    fewer = load(text, "evaluate.conditions=[face]").cells[0].recipe
    assert fewer.content_hash != one.content_hash


def test_the_estimate_counts_shared_stages_once() -> None:
    from expotion.plugins import discover

    registry = discover()
    path = Path(__file__).parents[2] / "recipes" / "table1.yaml"
    matrix = load_matrix(path, registry=registry)
    assert matrix is not None
    cost = cost_of(matrix, registry)
    raft = next(part for part in cost.shared if part.what == "features of motion_dis")
    assert raft.cells == ("motion_dis_generic", "motion_dis")
    clips = [part for part in cost.shared if "opened" in part.what]
    assert len(clips) == 1 and len(clips[0].cells) == len(matrix.cells)
    frozen = next(cell for cell in cost.cells if cell.name == "musicgen")
    assert frozen.train_s == 0.0 and frozen.generate_s is not None
    minutes = cost.minutes(2)
    assert minutes is not None and 10 < minutes < 45
    assert cost.minutes(1) == pytest.approx(2 * minutes)
