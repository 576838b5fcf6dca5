"""`matrix:` of a recipe: many runs declared at once, each cell an ordinary resolved recipe.

Rows are named sets of overrides, axes are lists of values; the cells are their product without the exclusions.
Cells that differ in a seed only are one row of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from expotion.errors import Problem, RecipeError
from expotion.matrix.cells import Combination, combinations
from expotion.plugins import Registry
from expotion.recipe.lacks import Lack
from expotion.recipe.load import read_tree, recipe_of
from expotion.recipe.names import Names, misnamed
from expotion.recipe.nodes import Node
from expotion.recipe.problems import field_path, in_file_order, problems_of
from expotion.recipe.schema import Recipe, Section

Control = Literal["ground_truth", "codec_ceiling", "silence"]
CONTROLS: tuple[Control, ...] = ("ground_truth", "codec_ceiling", "silence")


class Published(Section):
    """Numbers from elsewhere, shown beside ours and never compared: row -> metric -> value."""

    source: str = Field(min_length=1)
    rows: dict[str, dict[str, float]] = Field(default_factory=dict)


class MatrixSection(Section):
    """What `matrix:` may say.

    `rows`: name -> overrides, and `labels` (column -> text). `axes`: a path -> a list of values, or any name ->
    label -> overrides. `exclude`: combinations `{row or axis: value or list of values}` to leave out.
    `reference_row` is what the other rows are compared with. `groups` puts metrics under common heads. `controls`
    are the rows that need no model; `players` is the number of clips to listen to.
    """

    rows: dict[str, dict[str, Any]] = Field(default_factory=dict)
    axes: dict[str, list[Any] | dict[str, dict[str, Any]]] = Field(default_factory=dict)
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    reference_row: Annotated[str | None, Names("row")] = None
    groups: dict[str, Annotated[list[str], Names("metric")]] = Field(default_factory=dict)
    published: Published | None = None
    controls: list[Control] = Field(default_factory=lambda: list(CONTROLS))
    players: int = Field(default=4, ge=0)


@dataclass(frozen=True)
class Cell:
    """One run: its folder's name, the row of the table that it belongs to, and its recipe."""

    name: str
    row: str
    recipe: Recipe


@dataclass(frozen=True)
class Row:
    """A row of the table: its labels by column, and its cells (several where seeds differ)."""

    name: str
    labels: Mapping[str, str]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """All cells of a recipe, resolved. `plain` is the recipe with its matrix, profile and --set laid over it."""

    name: str
    description: str
    spec: MatrixSection
    cells: tuple[Cell, ...]
    rows: tuple[Row, ...]
    outside: Mapping[str, Path]
    plain: Mapping[str, Any]

    def cell(self, name: str) -> Cell:
        """The cell of that name. Raises KeyError."""
        return {cell.name: cell for cell in self.cells}[name]


def load_matrix(
    path: Path | str,
    *,
    registry: Registry | None,
    profile: str | None = None,
    sets: Sequence[str] = (),
    ready: bool = False,
    lacks: list[Lack] | None = None,
) -> Matrix | None:
    """The matrix of a recipe file, every cell resolved; None where it declares none.

    `ready` and `lacks` as for `load_recipe`; what several cells lack is told once.

    Raises `RecipeError` with every problem found: of the matrix, and of each cell, each once.
    """
    problems: list[Problem] = []
    root = read_tree(path, problems, profile=profile, sets=sets)
    section = root.value.get("matrix")
    if section is None or section.value is None:
        return None
    spec = _section(section, problems)
    if spec is None:
        raise RecipeError(in_file_order(problems))
    found = combinations(root.without("matrix"), section, problems)
    cells: list[Cell] = []
    for combination in found:
        try:
            own: list[Lack] | None = None if lacks is None else []
            recipe = recipe_of(combination.root, registry, ready=ready, lacks=own)
            known = {(lack.problem.wanted, lack.problem.got) for lack in lacks or ()}
            for lack in own or ():
                if lacks is not None and (lack.problem.wanted, lack.problem.got) not in known:
                    lacks.append(lack)
            cells.append(Cell(combination.name, combination.row, recipe))
        except RecipeError as error:
            problems += error.problems
    rows = _rows(found)
    _check_names(spec, section, rows, cells, problems)
    if problems:
        raise RecipeError(in_file_order(list(dict.fromkeys(problems))))
    outside = dict(cells[0].recipe.evaluate.outside)
    # Rows from outside are scored once for the whole table, not in every cell.
    alone = [cell.recipe.evaluate.model_copy(update={"outside": {}}) for cell in cells]
    resolved = tuple(
        replace(cell, recipe=cell.recipe.model_copy(update={"evaluate": evaluate}))
        for cell, evaluate in zip(cells, alone, strict=True)
    )
    plain = root.plain()
    description = str(plain.get("description") or "")
    return Matrix(plain["name"], description, spec, resolved, rows, outside, plain)


def _section(section: Node, problems: list[Problem]) -> MatrixSection | None:
    if not isinstance(section.value, dict):
        wanted = "a mapping with rows or axes"
        problems.append(Problem(f"{section.where} matrix", wanted, repr(section.plain())))
        return None
    try:
        return MatrixSection.model_validate(section.plain())
    except ValidationError as error:
        problems += [p.at(p.where.replace(" ", " matrix.", 1)) for p in problems_of(error, MatrixSection, section)]
        return None


def _rows(found: Sequence[Combination]) -> tuple[Row, ...]:
    names = dict.fromkeys(combination.row for combination in found)
    rows = []
    for name in names:
        own = [combination for combination in found if combination.row == name]
        rows.append(Row(name, own[0].labels, tuple(combination.name for combination in own)))
    return tuple(rows)


def _check_names(
    spec: MatrixSection, section: Node, rows: Sequence[Row], cells: Sequence[Cell], problems: list[Problem]
) -> None:
    """The reference row and the groups name what there is, and the outside rows nothing twice."""
    known: dict[str, list[str]] = {"row": [row.name for row in rows]} if rows else {}
    if cells:
        known["metric"] = list(dict.fromkeys(name for cell in cells for name in cell.recipe.evaluate.metrics))
    for loc, wanted, got, fix in misnamed(spec, known):
        problems.append(Problem(f"{section.at(loc).where} matrix.{field_path(loc)}", wanted, got, fix))
    taken = {*known.get("row", ()), *CONTROLS}
    for name in cells[0].recipe.evaluate.outside if cells else ():
        if name in taken:
            fix = "choose another name"
            problems.append(Problem(f"evaluate.outside.{name}", "a name of its own", "a row's name", fix))
