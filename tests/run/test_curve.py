"""The curve in the terminal."""

from __future__ import annotations

import math

from expotion.run.training import curve_lines


def records(n: int = 100) -> list[dict[str, float]]:
    """A loss that falls from 3 to 1, validation every tenth step a little above, 3 without controls."""
    made = []
    for step in range(n):
        record = {"step": step, "loss": 3.0 - 2.0 * step / (n - 1)}
        if step % 10 == 0:
            record |= {"validation_loss": record["loss"] + 0.1, "baseline_loss": 3.0}
        made.append(record)
    return made


def test_a_falling_loss_falls() -> None:
    lines = curve_lines(records(), width=60, height=12)
    assert len(lines) == 12 + 3
    thirds = (range(20), range(20, 40), range(40, 60))
    heights = [
        min(row for row in range(12) for column in third if line_at(lines, row, column) == "·") for third in thirds
    ]
    assert heights[0] < heights[1] < heights[2]


def line_at(lines: list[str], row: int, column: int) -> str:
    text = lines[row].split("|", 1)[1]
    return text[column] if column < len(text) else " "


def test_axes_and_legend_name_the_values() -> None:
    lines = curve_lines(records(), width=60, height=12)
    assert lines[11].startswith("  1.0")
    assert lines[-2].split() == ["step", "0", "99"]
    assert "● validation 1.282" in lines[-1] and "- without controls 3.000" in lines[-1]


def test_a_run_without_validation_and_with_a_broken_step() -> None:
    lines = curve_lines([{"step": i, "loss": math.nan if i == 3 else 1.0} for i in range(8)])
    assert "validation" not in lines[-1]
    assert any("·" in line for line in lines)


def test_too_short_for_a_curve() -> None:
    assert curve_lines(records(2)) == []


def test_a_curve_fits_a_terminal_of_80_columns() -> None:
    assert max(map(len, curve_lines(records()))) < 80
