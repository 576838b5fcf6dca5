from __future__ import annotations

from dataclasses import replace

import pytest

from expotion.contracts import MetricSpec
from expotion.evaluate.registry import BUILT_IN
from expotion.report import wording
from expotion.report.data import MetricInfo
from expotion.report.results import difference_rows, result_table, strips


def numbers(mean, low, high, n=24):
    return {"mean": mean, "ci_low": low, "ci_high": high, "n": n}


def test_clear_effect_in_plain_words(data):
    beat, other = wording.statements(data)
    assert beat.verdict == "clear"
    assert beat.lead == "The video drives the beat."
    assert "0.61 [0.55, 0.67] with face + motion, 0.22 [0.18, 0.26] with text only" in beat.detail
    assert "another clip’s video" in beat.detail
    assert "Alone: face 0.30." in beat.detail
    assert other.verdict == "none"
    assert other.lead == "With and without the video are not told apart in brightness."


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(numbers(0.1, 0.02, 0.2), "likely"), (numbers(0.1, -0.1, 0.2), "none"), (numbers(-0.2, -0.3, -0.1), "worse")],
)
def test_overlapping_intervals_leave_it_to_the_pairs(data, metrics, difference, verdict):
    metrics["face+motion"]["beat_f1"] = numbers(0.25, 0.2, 0.3)
    comparisons = {control: {"face+motion": {"beat_f1": difference}} for control in ("text_only", "shuffled")}
    statement = wording.statements(replace(data, metrics=metrics, comparisons=comparisons))[0]
    assert statement.verdict == verdict


def test_errors_improve_downwards():
    assert wording.is_apart(numbers(5, 4, 6), numbers(20, 15, 30), higher_is_better=False)
    assert not wording.is_apart(numbers(5, 4, 16), numbers(20, 15, 30), higher_is_better=False)
    assert not wording.is_apart(numbers(None, None, None, 0), numbers(1, 0, 2), higher_is_better=True)


def test_a_worse_tempo_error_is_no_gain(data, metrics):
    for name, mean in (("text_only", 10.0), ("shuffled", 10.0), ("face+motion", 30.0)):
        metrics[name] = {"tempo_error_bpm": numbers(mean, mean - 1, mean + 1)}
    info = replace(data.metric_info[0], name="tempo_error_bpm", higher_is_better=False)
    comparisons = {"text_only": {"face+motion": {"tempo_error_bpm": numbers(20, 18, 22)}}}
    found = wording.statements(replace(data, metrics=metrics, comparisons=comparisons, metric_info=[info]))
    assert [statement.verdict for statement in found] == ["worse"]


def test_without_controls_nothing_is_claimed(data, metrics):
    alone = {"face+motion": metrics["face+motion"]}
    assert wording.statements(replace(data, metrics=alone)) == []
    assert wording.statements(replace(data, metrics={})) == []


def test_bold_only_where_the_interval_says_so(data):
    rows = {row.label: row for row in result_table(data)}
    assert rows["face + motion"].cells[0].strong
    assert not rows["face"].cells[0].strong
    assert not rows["face + motion"].cells[1].strong
    assert rows["face"].cells[1].mean == "–"
    assert rows["face"].n == "24", "the cell without a value says so itself"


def test_numbers_for_readers():
    plain, within = MetricInfo("reach", "", True), MetricInfo.of(BUILT_IN["tempo_within_4pct"])
    assert wording.number(-0.084, plain) == "−0.08"
    assert wording.number(-9.96, plain) == "−10.0"
    assert wording.number(0.25, within) == "25 %"
    assert wording.number(3.14, MetricInfo.of(BUILT_IN["tempo_error_bpm"])) == "3.1"
    assert wording.with_interval(numbers(0.25, 0.1, 0.4), within) == "25 % [10, 40]"
    assert wording.with_interval(None, plain) == "not defined"
    assert wording.clip_number(1.0, within) == "yes"


def test_a_plugins_metric_speaks_for_itself(data):
    spec = MetricSpec("beat_f1", "of a plugin", lambda: None, True, claim="The hands pull", thing="the pull")
    clear = wording.statements(replace(data, metric_info=[MetricInfo.of(spec)]))
    assert [statement.lead for statement in clear] == ["The hands pull."]
    silent = replace(spec, compared=False)
    assert wording.statements(replace(data, metric_info=[MetricInfo.of(silent)])) == []
    worse = MetricInfo.of(replace(spec, higher_is_better=False))
    found = wording.statements(replace(data, metric_info=[worse]))
    assert [statement.lead for statement in found] == ["The video does harm to the pull."]


def test_a_metric_of_a_table_written_before_it_had_a_sentence_can_be_read():
    old = {"name": "reach", "description": "how far", "unit": "m", "higher_is_better": True, "over": "clip"}
    assert MetricInfo.from_json(old) == MetricInfo("reach", "how far", True, "m")


def test_strips_and_differences(data):
    beat = strips(data)[0]
    assert [row.role for row in beat.rows] == ["control", "trained", "trained", "control"]
    assert beat.rows[2].whisker == "M550.0 50H670.0"
    assert beat.band == "M180.0 0H260.0V100H180.0Z"
    assert difference_rows(data) == [("face + motion − text only", ["0.39 [0.30, 0.45]", "not defined"])]
