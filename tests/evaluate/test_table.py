"""The table from scores: what is bold, what is compared, and the four files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expotion.contracts import MetricSpec, Score
from expotion.errors import RunFolderError
from expotion.matrix.forms import read_results, to_csv, to_latex, to_markdown, to_text, write_results
from expotion.matrix.table import RowScores, Settings, build_table

UP = MetricSpec("hits", "more is better", lambda: lambda scored: Score(1.0), higher_is_better=True)
DOWN = MetricSpec("miss_bpm", "less is better", lambda: lambda scored: Score(1.0), False, unit="BPM")


def seed_of(rng: np.random.Generator, hits: float, miss: float, n: int = 30) -> Any:
    return {
        f"c{i}": {
            "hits": {"value": float(hits + rng.normal(0, 0.05)), "reason": None},
            "miss_bpm": {"value": float(miss + rng.normal(0, 1.0)), "reason": None},
        }
        for i in range(n)
    }


@pytest.fixture
def table() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rows = [
        RowScores("good", {"control": "face_1", "prompt": "a | b"}, "system", [seed_of(rng, 0.9, 2.0)]),
        RowScores("bad", {"control": "bad", "prompt": "-"}, "system", [seed_of(rng, 0.1, 40.0)]),
        RowScores("same", {"control": "same", "prompt": "-"}, "system", [seed_of(rng, 0.5, 20.0)]),
        RowScores("frozen", {"control": "frozen", "prompt": "-"}, "system", [seed_of(rng, 0.5, 20.0)]),
        RowScores("lost", {"control": "lost"}, "system", [], error="lost-seed_1 failed: no luck"),
        RowScores("human", {"control": "human"}, "outside", [seed_of(rng, 0.99, 0.0, n=12)]),
        RowScores("good/shuffled", {"control": "x"}, "control", [seed_of(rng, 0.4, 30.0)], control_of="good"),
        RowScores("silence", {"control": "silence"}, "control", [{"c0": {"hits": {"value": None, "reason": "-"}}}]),
    ]
    settings = Settings(
        reference="frozen",
        groups={"Rhythm": ["miss_bpm"]},
        published={"good": {"hits": 0.37, "FAD": 2.5}, "Video2Music": {"hits": 0.38}},
        published_source="another data set",
    )
    return build_table(
        rows, [UP, DOWN], settings, name="t", description="a table",
        durations_s={f"c{i}": 10.0 for i in range(30)}, notes=["human: no sound for c12"],
    )  # fmt: skip


def row(table: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in table["rows"] if one["name"] == name)
    return found


def test_verdicts_need_the_interval_and_the_corrected_p(table: dict[str, Any]) -> None:
    verdicts = {one["name"]: one["cells"]["hits"]["verdict"] for one in table["rows"]}
    assert verdicts["good"] == verdicts["human"] == "better"
    assert verdicts["bad"] == "worse" and verdicts["same"] == "open"
    assert verdicts["frozen"] is None and verdicts["silence"] is None and verdicts["lost"] is None
    assert row(table, "good")["cells"]["miss_bpm"]["verdict"] == "better"  # less is better
    cell = row(table, "same")["cells"]["hits"]["difference"]
    assert cell["ci_low"] <= 0 <= cell["ci_high"] or cell["p_holm"] >= 0.05
    assert table["n_comparisons"] == 8
    assert row(table, "human")["cells"]["hits"]["difference"]["n"] == 12


def test_a_row_is_compared_with_its_own_shuffled_control(table: dict[str, Any]) -> None:
    cell = row(table, "good")["cells"]["hits"]
    assert cell["against_shuffled"]["mean"] == pytest.approx(0.5, abs=0.05)
    assert cell["shuffled_verdict"] == "better"
    assert row(table, "bad")["cells"]["hits"]["against_shuffled"] is None


def test_sizes_and_durations_are_stated(table: dict[str, Any]) -> None:
    assert (table["clips"], table["duration_s"]) == (30, 300.0)
    human = row(table, "human")
    assert (human["clips"], human["duration_s"], human["seeds"]) == (12, 120.0, 1)
    assert "30 clips, 5.0 min in all; one training each" in to_markdown(table)


def test_markdown_marks_only_what_the_numbers_say(table: dict[str, Any]) -> None:
    text = to_markdown(table)
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "**0.90**" in lines["face_1"] or "**0.91**" in lines["face_1"] or "**0.89**" in lines["face_1"]
    assert "a \\| b" in lines["face_1"]
    assert "**" not in lines["same"] and "†" not in lines["same"]
    assert "†" in lines["bad"] and "**" not in lines["bad"]
    assert "*0.37*" in lines["face_1"] and "another data set" in text
    assert "lost-seed_1 failed: no luck" in text and "human: no sound for c12" in text
    header = lines["control"]
    assert header.index("miss_bpm ↓, BPM") < header.index("hits ↑")  # groups first


def test_latex_is_escaped_and_has_a_line_per_row(table: dict[str, Any]) -> None:
    text = to_latex(table)
    assert text.count("\\\\\n") == len(table["rows"]) + 2
    assert "face\\_1" in text and "\\textbf{" in text and "miss\\_bpm $\\downarrow$" in text
    assert text.count("{") == text.count("}")


def test_csv_holds_every_number(table: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(rows) == 2 * len(table["rows"])
    good = next(one for one in rows if one["row"] == "good" and one["metric"] == "hits")
    assert float(good["mean"]) == row(table, "good")["cells"]["hits"]["mean"]
    assert good["verdict"] == "better" and good["published"] == "0.37"
    assert float(good["difference_p_holm"]) < 0.05


def test_files_are_written_and_read_back(table: dict[str, Any], tmp_path: Path) -> None:
    write_results(tmp_path, table)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results.csv", "results.json", "results.md", "results.tex",
    ]  # fmt: skip
    assert read_results(tmp_path) == json.loads(json.dumps(table))
    assert "face_1" in to_text(read_results(tmp_path))
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(RunFolderError):
        read_results(tmp_path)


def test_a_column_without_a_value_has_its_reason_in_one_line_in_every_form() -> None:
    def scores(reason: str) -> dict[str, dict[str, dict[str, Any]]]:
        nothing = {"value": None, "reason": reason}
        return {f"c{i}": {"hits": nothing, "miss_bpm": {"value": 1.0, "reason": None}} for i in range(3)}

    one = RowScores("face", {}, "system", [{**scores("too short"), "c9": scores("no beat")["c0"]}])
    other = RowScores("silence", {}, "control", [scores("too short")])
    made = build_table(
        [one, other], [UP, DOWN], Settings(), name="t", description="a table", durations_s={"c0": 1.0}
    )
    line = "No row has a value of hits: too short."
    assert made["no_value"] == line
    assert to_text(made).splitlines().count(line) == 1
    assert f"|\n\n{line}\n\n" in to_markdown(made)
