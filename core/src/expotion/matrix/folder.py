"""The folder of a matrix: `cells/NAME` are ordinary runs, `matrix.json` says which are done and which failed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expotion.errors import ExpotionError, Problem, RunFolderError
from expotion.files import write_json, write_text
from expotion.lock import LOCK
from expotion.matrix.declare import Cell, Matrix
from expotion.recipe.nodes import to_text
from expotion.run.folder import STATE, RunFolder

FORMAT = 1
MATRIX_STATE = "matrix.json"
CELLS = "cells"


class CellsFailed(ExpotionError):
    """Some cells of a matrix failed; the others are done and the table is written."""


@dataclass
class MatrixFolder:
    """Paths and state: cell -> state (`done`, `failed`, `open`), versions, error."""

    path: Path
    state: dict[str, Any]

    @classmethod
    def create(cls, path: Path, matrix: Matrix) -> MatrixFolder:
        """Start in a new or empty folder, or take up one of before.

        Raises RunFolderError for a folder with other files, and for cells whose settings have changed.
        """
        file = path / MATRIX_STATE
        if file.exists():
            folder = cls.open(path)
            folder._check(matrix)
        else:
            if path.exists() and any(each.name != LOCK for each in path.iterdir()):
                wanted, got = "a new or empty folder, or that of a matrix", "a folder with other files"
                raise RunFolderError(Problem(str(path), wanted, got, "give another --out"))
            path.mkdir(parents=True, exist_ok=True)
            state = {
                "format": FORMAT,
                "name": matrix.name,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": " ".join(["expotion", *sys.argv[1:]]),
                "cells": {},
                "shared_seconds": 0.0,
            }
            folder = cls(path, state)
        kept = folder.state["cells"]
        folder.state["cells"] = {c.name: kept.get(c.name, {"state": "open"}) for c in matrix.cells}
        folder.save()
        text = to_text(dict(matrix.plain))
        write_text(path / "recipe.yaml", text)
        return folder

    @classmethod
    def open(cls, path: Path) -> MatrixFolder:
        """Read a matrix's folder. Raises RunFolderError where it is none."""
        file = path / MATRIX_STATE
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(Problem(str(file), "the state of a matrix", str(error))) from None
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise RunFolderError(Problem(str(file), f"a matrix of format {FORMAT}", "another"))
        return cls(path, state)

    def save(self) -> None:
        """Write the state."""
        write_json(self.path / MATRIX_STATE, self.state)

    def cell(self, name: str) -> Path:
        """A cell's run folder."""
        return self.path / CELLS / name

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell is finished with these settings and these versions, as far as its files tell."""
        entry = self.state["cells"].get(cell.name, {})
        if entry.get("state") != "done" or entry.get("versions") != cell.recipe.versions:
            return False
        try:
            run = RunFolder.open(self.cell(cell.name), cell.recipe)
        except RunFolderError:
            return False
        report = run.state["stages"].get("report", {})
        return bool(report.get("done")) and (run.path / "report.html").exists()

    def note(self, cell: Cell, failure: str | None) -> None:
        """Keep how a cell ended."""
        entry: dict[str, Any] = {"state": "done" if failure is None else "failed", "versions": cell.recipe.versions}
        if failure is not None:
            entry["error"] = failure
        self.state["cells"][cell.name] = entry
        self.save()

    def failures(self) -> dict[str, str]:
        """Cell -> why it failed."""
        return {
            name: str(entry.get("error"))
            for name, entry in self.state["cells"].items()
            if entry["state"] == "failed"
        }

    def _check(self, matrix: Matrix) -> None:
        problems = []
        for cell in matrix.cells:
            folder = self.cell(cell.name)
            if not (folder / STATE).exists():
                continue
            try:
                RunFolder.open(folder, cell.recipe)
            except RunFolderError as error:
                fix = "give another --out, or remove the cell's folder to have it run again"
                problems += [Problem(p.where, p.wanted, p.got, fix) for p in error.problems]
        if problems:
            raise RunFolderError(problems)
