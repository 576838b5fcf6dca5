"""Which tracker hears the sounds, and what a recipe is told when a metric cannot be computed here."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from expotion.beats import sound
from expotion.contracts import MetricSpec, Weights
from expotion.evaluate import trackers
from expotion.evaluate.registry import BUILT_IN

NOISE = np.random.default_rng(0).normal(scale=0.1, size=64_000).astype(np.float32)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    monkeypatch.delenv(trackers.VARIABLE, raising=False)
    trackers._tracker.cache_clear()
    monkeypatch.setattr(sound, "_tracks", sound.Memo(9))


def pretend_beat_this(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A package beat_this 1.1.0 whose tracker beats every half second, with pulled weights."""
    asked: list[str] = []

    class Audio2Beats:
        def __init__(self, checkpoint_path: str, device: str, dbn: bool) -> None:
            asked.append(checkpoint_path)

        def __call__(self, samples: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
            return np.arange(1, 4) / 2, np.zeros(0)

    module = types.ModuleType("beat_this.inference")
    module.Audio2Beats = Audio2Beats  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "beat_this", types.ModuleType("beat_this"))
    monkeypatch.setitem(sys.modules, "beat_this.inference", module)
    monkeypatch.setattr(trackers, "_version", lambda package: "1.1.0")
    note = tmp_path / "models" / trackers.BEAT_THIS.name / "model.json"
    note.parent.mkdir(parents=True)
    (tmp_path / "final0.ckpt").touch()
    note.write_text(json.dumps({"file": str(tmp_path / "final0.ckpt")}))
    return asked


def test_core_tracks_where_nothing_better_is_there() -> None:
    assert trackers.tracker_name() == "core"
    assert trackers.measured_with() == "beats tracked by core's own tracker, version 2"
    assert trackers.problems() == []


def test_beat_this_is_taken_when_package_and_weights_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = pretend_beat_this(monkeypatch, tmp_path)
    found = trackers.beats_of(NOISE, 32_000)
    np.testing.assert_array_equal(found.beats_s, [0.5, 1.0, 1.5])
    assert found.tempo_bpm == pytest.approx(120.0)
    assert trackers.beats_of(NOISE.copy(), 32_000) is found
    assert asked == [str(tmp_path / "final0.ckpt")]
    assert trackers.measured_with() == "beats tracked by beat_this 1.1.0, final0"
    assert len(trackers.beats_of(np.zeros(64_000, np.float32), 32_000).beats_s) == 0
    monkeypatch.setenv(trackers.VARIABLE, "core")
    assert trackers.measured_with() == "beats tracked by core's own tracker, version 2"


def test_a_tracker_that_is_asked_for_and_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "_version", lambda package: None)
    monkeypatch.setenv(trackers.VARIABLE, "beat_this")
    assert [problem.fix for problem in BUILT_IN["beat_f1"].missing()] == [
        "install it: uv pip install beat-this",
        "expotion models pull beat_this_final0",
    ]
    monkeypatch.setenv(trackers.VARIABLE, "libroso")
    assert trackers.problems()[0].fix == "did you mean 'librosa'?"


def test_missing_packages_and_weights_are_told_together() -> None:
    spec = MetricSpec(
        "deep",
        "a model",
        lambda: lambda scored: None,
        True,
        packages=("no-such-package>=2", "numpy>=900"),
        weights=(Weights("deep_weights", "hf:someone/deep", "MIT"), Weights("own", "shipped", "MIT")),
    )
    told = [str(problem) for problem in spec.missing()]
    assert told[0] == (
        "metric 'deep': the package no-such-package>=2, got not installed; "
        "install it: uv pip install 'no-such-package>=2'"
    )
    assert told[1].startswith("metric 'deep': the package numpy>=900, got numpy ")
    assert told[2].endswith("got not pulled; expotion models pull deep_weights")
    assert len(told) == 3
