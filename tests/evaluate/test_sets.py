"""Metrics over a set: rows once for each sound, a number for each condition, intervals by the jackknife."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import stdtrit

from expotion.contracts import MetricSpec, Rows, Score, Scored
from expotion.evaluate.evaluate import evaluate, load_evaluation, write_evaluation
from expotion.evaluate.sets import score_sets, set_difference

heard: list[int] = []


def build() -> Callable[[Scored], Rows]:
    def rows(scored: Scored) -> Rows:
        heard.append(scored.sample_rate_hz)
        return np.array([[float(scored.samples.mean()), 1.0]], np.float32)

    return rows


def mean_of_rows(sounds: Sequence[Rows], reference: Sequence[Rows]) -> Score:
    if not sounds:
        return Score(None, "no sounds")
    return Score(float(np.concatenate(sounds)[:, 0].mean()), "a note")


SPEC = MetricSpec("set_mean", "mean of means", build, True, over="set", statistic=mean_of_rows)


@pytest.fixture
def conditions(make_clip: Callable[..., Any]) -> dict[str, list[Scored]]:
    own = np.zeros(3200, np.float32)
    clips = [make_clip(own, clip_id=f"clip{i}") for i in range(5)]

    def sounds(values: Sequence[float]) -> list[Scored]:
        return [
            Scored(np.full(3200, value, np.float32), 32_000, clip)
            for value, clip in zip(values, clips, strict=True)
        ]

    return {"face": sounds([1, 2, 3, 4, 5]), "text_only": sounds([1, 1, 2, 2, 3])}


def test_the_jackknife_of_a_mean_is_its_standard_error(conditions: dict[str, list[Scored]]) -> None:
    found = score_sets(conditions, [SPEC]).by_condition["face"]["set_mean"].as_dict()
    half = stdtrit(4, 0.975) * np.std([1, 2, 3, 4, 5], ddof=1) / np.sqrt(5)
    assert found == {"mean": 3.0, "ci_low": pytest.approx(3 - half), "ci_high": pytest.approx(3 + half), "n": 5}


def test_differences_leave_the_same_clips_out_of_both(conditions: dict[str, list[Scored]]) -> None:
    scores = score_sets(conditions, [SPEC]).by_condition
    found = set_difference([scores["face"]["set_mean"]], [scores["text_only"]["set_mean"]])
    differences = np.array([0, 1, 1, 2, 2])
    half = stdtrit(4, 0.975) * differences.std(ddof=1) / np.sqrt(5)
    assert found.mean == pytest.approx(1.2)
    assert found.ci_high is not None and found.ci_high - found.mean == pytest.approx(half)


def test_a_single_sound_has_no_spread(conditions: dict[str, list[Scored]]) -> None:
    found = score_sets({"face": conditions["face"], "one": conditions["text_only"][:1]}, [SPEC])
    assert found.by_condition["one"]["set_mean"].as_dict() == {"mean": 1.0, "ci_low": 1.0, "ci_high": 1.0, "n": 1}
    apart = set_difference([found.by_condition["face"]["set_mean"]], [found.by_condition["one"]["set_mean"]])
    assert (apart.mean, apart.ci_low, apart.ci_high, apart.p) == (2.0, None, None, None)


def test_rows_are_made_once_for_metrics_that_share_them(conditions: dict[str, list[Scored]]) -> None:
    heard.clear()
    found = score_sets(conditions, [SPEC, replace(SPEC, name="again")])
    assert len(heard) == 10 + 5  # every sound, and every clip's own once
    assert found.by_condition["face"]["again"] == found.by_condition["face"]["set_mean"]


def test_many_clips_are_left_out_in_groups(make_clip: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    sounds = [
        Scored(np.full(10, rng.normal(), np.float32), 32_000, make_clip(None, clip_id=str(i))) for i in range(80)
    ]
    found = score_sets({"face": sounds}, [SPEC]).by_condition["face"]["set_mean"]
    assert len(found.left_out) == 32
    assert found.n == 80


def test_a_set_metric_stands_beside_the_others(conditions: dict[str, list[Scored]], tmp_path: Path) -> None:
    peak = MetricSpec("peak", "highest sample", lambda: lambda s: Score(float(s.samples.max())), True)
    told: list[tuple[str, int, int]] = []
    found = evaluate(
        conditions,
        [SPEC, replace(peak, measured_with=lambda: "by hand")],
        on_progress=lambda *args: told.append(args),
    )
    assert list(found.metrics["face"]) == ["set_mean", "peak"]
    assert "set_mean" not in found.per_clip["face"]["clip0"]
    assert found.comparisons["text_only"]["face"]["set_mean"]["mean"] == pytest.approx(1.2)
    assert found.notes == {"set_mean": ["a note"], "peak": ["by hand"]}
    assert told[-1] == ("text_only", 10, 10)
    write_evaluation(tmp_path, found)
    assert load_evaluation(tmp_path) == found


def test_faults_are_noted_and_the_rest_goes_on(conditions: dict[str, list[Scored]]) -> None:
    def fragile() -> Callable[[Scored], Any]:
        def rows(scored: Scored) -> Any:
            if scored.clip.id == "clip1":
                raise RuntimeError("no such layer")
            return Score(None, "too quiet") if scored.clip.id == "clip2" else np.ones((1, 2), np.float32)

        return rows

    def broken() -> Callable[[Scored], Any]:
        raise ImportError("no torch")

    specs = [replace(SPEC, name="fragile", build=fragile), replace(SPEC, name="broken", build=broken)]
    found = score_sets(conditions, specs)
    assert found.by_condition["face"]["fragile"].n == 3
    assert "face, clip1: left out, RuntimeError: no such layer" in found.notes["fragile"]
    assert "face, clip2: left out, ValueError: too quiet" in found.notes["fragile"]
    assert found.by_condition["face"]["broken"].as_dict() == {"mean": None, "ci_low": None, "ci_high": None, "n": 0}
    assert found.notes["broken"][-1] == "the metric could not be loaded: ImportError: no torch"


def test_sounds_come_at_the_rate_that_is_asked_for(conditions: dict[str, list[Scored]]) -> None:
    at_rates = [Scored(s.samples, s.sample_rate_hz, s.clip) for s in conditions["face"]]
    for scored in at_rates:
        scored.clip.audio = lambda rate_hz: np.zeros(rate_hz // 10, np.float32)  # type: ignore[method-assign]
    heard.clear()
    score_sets({"face": at_rates}, [replace(SPEC, sample_rate_hz=16_000)])
    assert set(heard) == {16_000}
