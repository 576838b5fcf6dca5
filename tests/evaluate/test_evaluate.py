from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from expotion.contracts import MetricSpec, Score, Scored
from expotion.errors import ExpotionError, OutputError, RunFolderError
from expotion.evaluate.evaluate import Evaluation, evaluate, load_evaluation, write_evaluation
from expotion.evaluate.registry import BUILT_IN
from expotion.evaluate.statistics import Interval
from expotion.evaluate.tables import counted, markdown, table_text


def spec(name, function, **more):
    return MetricSpec(name, name, lambda: function, higher_is_better=True, **more)


def loudest(scored):
    return Score(float(scored.samples.max()))


def sounds(make_clip, *peaks):
    return [
        Scored(np.array([peak], np.float32), 32_000, make_clip(None, clip_id=f"clip{index}"))
        for index, peak in enumerate(peaks)
    ]


@pytest.fixture
def evaluation(make_clip):
    conditions = {
        "text_only": sounds(make_clip, 0.0, 0.25, 0.5, 0.25),
        "face+motion": sounds(make_clip, 0.5, 0.75, 1.0, 0.75),
        "shuffled": sounds(make_clip, 0.25, 0.5, 0.0, 0.25),
    }
    return evaluate(conditions, [spec("peak", loudest)], seed=7)


def test_means_and_paired_differences(evaluation):
    assert evaluation.metrics["face+motion"]["peak"]["mean"] == pytest.approx(0.75)
    assert evaluation.metrics["text_only"]["peak"]["n"] == 4
    assert list(evaluation.comparisons) == ["text_only", "shuffled"]
    difference = evaluation.comparisons["text_only"]["face+motion"]["peak"]
    assert difference["mean"] == difference["ci_low"] == difference["ci_high"] == pytest.approx(0.5)
    assert "text_only" not in evaluation.comparisons["text_only"]


def test_values_that_are_given_stand_beside_what_is_measured(make_clip):
    def never(scored):
        raise AssertionError

    conditions = {"text_only": sounds(make_clip, 0.0, 0.5), "ground_truth": sounds(make_clip, 1.0)}
    given = {"nats": {"text_only": {"clip0": 1.0, "clip1": 2.0}}}
    found = evaluate(conditions, [spec("peak", loudest), spec("nats", never)], given=given)
    assert found.metrics["text_only"]["nats"]["mean"] == 1.5 and found.metrics["text_only"]["peak"]["n"] == 2
    assert found.metrics["ground_truth"]["nats"]["mean"] is None
    assert found.per_clip["ground_truth"]["clip0"]["nats"]["reason"]


def test_faults_become_reasons(make_clip):
    def broken(scored):
        raise RuntimeError("no such layer\nand a long story")

    def unloadable():
        raise ImportError("needs torchvggish")

    specs = [
        spec("broken", broken),
        MetricSpec("unloadable", "", unloadable, True),
        spec("endless", lambda scored: Score(math.inf)),
        spec("peak", loudest),
    ]
    found = evaluate({"face": sounds(make_clip, 0.5)}, specs)
    row = found.per_clip["face"]["clip0"]
    assert row["broken"] == {"value": None, "reason": "the metric failed: RuntimeError: no such layer"}
    assert "needs torchvggish" in str(row["unloadable"]["reason"])
    assert row["endless"]["value"] is None
    assert row["peak"] == {"value": 0.5, "reason": None}
    assert found.metrics["face"]["broken"] == {"mean": None, "ci_low": None, "ci_high": None, "n": 0}
    assert found.comparisons == {}


def test_n_counts_defined_values(make_clip):
    def first_only(scored):
        return Score(1.0) if scored.clip.id == "clip0" else Score(None, "not this one")

    found = evaluate({"face": sounds(make_clip, 0.5, 0.5)}, [spec("first", first_only)])
    assert found.metrics["face"]["first"]["n"] == 1
    assert found.per_clip["face"]["clip1"]["first"] == {"value": None, "reason": "not this one"}


def test_progress_and_doubled_clip(make_clip):
    heard = []
    twice = sounds(make_clip, 0.1, 0.2)
    evaluate({"a": twice}, [spec("peak", loudest)], on_progress=lambda *told: heard.append(told))
    assert heard == [("a", 1, 2), ("a", 2, 2)]
    with pytest.raises(ExpotionError, match="'clip0' again"):
        evaluate({"a": [twice[0], twice[0]]}, [spec("peak", loudest)])


def test_files_come_back(evaluation, tmp_path):
    write_evaluation(tmp_path / "run", evaluation)
    assert load_evaluation(tmp_path / "run") == evaluation
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert list(metrics) == ["text_only", "face+motion", "shuffled"]
    assert sorted(metrics["shuffled"]["peak"]) == ["ci_high", "ci_low", "mean", "n"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "comparisons.json",
        "metrics.json",
        "metrics_notes.json",
        "metrics_per_clip.json",
    ]


def test_broken_files_are_named(evaluation, tmp_path):
    with pytest.raises(RunFolderError, match=r"metrics\.json"):
        load_evaluation(tmp_path)
    write_evaluation(tmp_path, evaluation)
    whole = (tmp_path / "comparisons.json").read_text()
    for broken in ("[1", "[]", '{"text_only": []}', '{"a": {"b": {"c": {"mean": 1}}}}'):
        (tmp_path / "comparisons.json").write_text(broken)
        with pytest.raises(
            RunFolderError, match=r"comparisons\.json.* measure again: expotion recipe run --resume"
        ):
            load_evaluation(tmp_path)
    (tmp_path / "comparisons.json").write_text(whole)
    (tmp_path / "metrics.json").write_text('{"a": {"b": {"mean": [], "ci_low": 0, "ci_high": 0, "n": 0}}}')
    with pytest.raises(RunFolderError, match=r"metrics\.json"):
        load_evaluation(tmp_path)


def test_full_disk_leaves_what_was_there(evaluation, tmp_path, monkeypatch):
    write_evaluation(tmp_path, evaluation)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_evaluation(tmp_path, Evaluation({}, {}, {}))
    assert load_evaluation(tmp_path) == evaluation


def test_tables(evaluation):
    specs = [spec("peak", loudest)]
    text = table_text(evaluation.metrics, specs)
    assert text.splitlines()[0].split() == ["condition", "peak", "↑", "clips"]
    assert "face+motion  0.75 [" in text
    empty = {"face": {"peak": {"mean": None, "ci_low": None, "ci_high": None, "n": 0}}}
    assert table_text(empty, specs).splitlines()[2].split() == ["face", "-", "0"]


def test_a_table_in_markdown_has_its_numbers_to_the_right_and_no_stray_columns():
    lines = markdown([["row", "prompt", "peak"], ["face", "a | b", "0.25"]], n_labels=2)
    assert lines == ["| row | prompt | peak |", "| --- | --- | ---: |", "| face | a \\| b | 0.25 |"]


def test_a_row_says_how_many_clips_its_values_have():
    assert [counted(counts) for counts in ([], [3, 3], [5, 2, 4], [0, 3])] == ["0", "3", "2-5", "3"]


def test_the_number_of_draws_is_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def interval(values: Any, *, seed: int, n_resamples: int) -> Interval:
        drawn.append(n_resamples)
        return Interval(0.0, 0.0, 0.0, len(values))

    monkeypatch.setattr("expotion.evaluate.evaluate.mean_interval", interval)
    evaluate({"face": []}, [BUILT_IN["beat_f1"]], n_resamples=77)
    assert drawn == [77]


def test_comparisons_are_corrected_for_all_of_them(evaluation):
    """Those against text only and those against the shuffled row are one family."""
    every = [one for rows in evaluation.comparisons.values() for row in rows.values() for one in row.values()]
    assert len(every) > 2 and all(one["p_holm"] >= one["p"] for one in every)
    smallest = min(every, key=lambda one: one["p"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, len(every) * smallest["p"]))
