"""Recordings in CSV: samples in columns, or events with a name."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.errors import MediaError, Problem

Floats = NDArray[np.float64]


def read_columns(path: Path, channels: tuple[str, ...]) -> dict[str, tuple[Floats, Floats]]:
    """Times and values of each channel, in order of time; empty cells are left out."""
    rows = _rows(path, ("time_s", *channels))
    return {name: _ordered(path, [(row["time_s"], row[name]) for row in rows if row[name]]) for name in channels}


def read_events(path: Path, channels: tuple[str, ...]) -> dict[str, tuple[Floats, Floats]]:
    """Times and values of each event name, in order of time; a name that never comes has none."""
    rows = _rows(path, ("time_s", "name", "value"))
    return {
        name: _ordered(path, [(row["time_s"], row["value"]) for row in rows if row["name"] == name])
        for name in channels
    }


def _rows(path: Path, wanted: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            header = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MediaError(Problem(str(path), "a readable CSV file", str(error))) from error
    missing = [name for name in wanted if name not in header]
    if missing:
        raise MediaError(
            Problem(str(path), f"columns {', '.join(wanted)}", f"no {', '.join(missing)}", "rename the columns")
        )
    return rows


def _ordered(path: Path, cells: list[tuple[str, str]]) -> tuple[Floats, Floats]:
    try:
        table = np.array([[float(time), float(value)] for time, value in cells]).reshape(-1, 2)
    except ValueError as error:
        raise MediaError(Problem(str(path), "a number in every cell", str(error))) from error
    table = table[np.isfinite(table).all(axis=1)]
    times_s, last = np.unique(table[::-1, 0], return_index=True)  # of equal times the last counts
    return times_s, table[::-1][last, 1]
