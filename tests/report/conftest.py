"""A small but complete report: two clips, four conditions."""

from __future__ import annotations

import numpy as np
import pytest

from expotion.evaluate.registry import BUILT_IN
from expotion.report import Control, Gates, MetricInfo, ReportData, RunInfo, Sample, Sound, TrainingHistory

RATE_HZ = 16_000
DURATION_S = 2.0


def numbers(mean, low, high, n=24):
    return {"mean": mean, "ci_low": low, "ci_high": high, "n": n}


@pytest.fixture
def metrics():
    nothing = numbers(None, None, None, 0)
    return {
        "text_only": {"beat_f1": numbers(0.22, 0.18, 0.26), "brightness": numbers(3.0, 2.0, 4.0)},
        "face": {"beat_f1": numbers(0.3, 0.24, 0.36), "brightness": nothing},
        "face+motion": {"beat_f1": numbers(0.61, 0.55, 0.67), "brightness": numbers(3.2, 2.5, 4.1)},
        "shuffled": {"beat_f1": numbers(0.2, 0.15, 0.25), "brightness": numbers(3.1, 2.2, 4.0)},
    }


@pytest.fixture
def data(metrics):
    rng = np.random.default_rng(0)
    times_s = np.arange(101) / 50
    valid = np.ones(101, dtype=bool)
    valid[20:40] = False
    samples = []
    for index in range(2):
        sounds = {
            name: Sound(
                (0.1 * rng.normal(size=int(RATE_HZ * DURATION_S))).astype(np.float32),
                RATE_HZ,
                np.array([0.5, 1.02, 1.8]),
            )
            for name in ("original", "face+motion", "text_only")
        }
        samples.append(
            Sample(
                id=f"clip{index}",
                caption='a "calm" <tune> & more',
                duration_s=DURATION_S,
                video=None,
                sounds=sounds,
                beats_true_s=np.array([0.5, 1.0, 1.5]),
                intensity_times_s=times_s,
                intensity=np.linspace(0, 1, 101),
                controls=[Control("face", times_s, rng.normal(size=(101, 8)).astype(np.float32), valid)],
                gates=Gates(times_s, rng.normal(size=(101, 12)).astype(np.float32)),
            )
        )
    steps = [{"step": s, "loss": 5.0 - 0.1 * s, "learning_rate": 8e-3} for s in range(20)]
    history = TrainingHistory(
        steps,
        validation=[{"step": 0, "loss": 5.0}, {"step": 19, "loss": 3.4}],
        gates=[{"step": s, "gates": [0.01 * s, -0.02 * s]} for s in range(0, 20, 5)],
    )
    values = {"beat_f1": {"value": 0.6, "reason": None}, "brightness": {"value": None, "reason": "too <short>"}}
    return ReportData(
        run=RunInfo(
            name="face_motion <script>alert(1)</script>",
            command="expotion recipe run recipes/face_motion.yaml",
            recipe_yaml="name: face_motion # <b>",
            versions={"torch": "2.14"},
            hashes={"recipe": "ab" * 32},
            stage_seconds={"train": 139.0, "generate": 9.0},
            warnings=["clip1: a face in 12 % of the frames"],
            failures=["clip7: no picture & no sound"],
        ),
        metrics=metrics,
        comparisons={"text_only": {"face+motion": {"beat_f1": numbers(0.39, 0.3, 0.45)}}},
        per_clip={name: {f"clip{i}": values for i in range(3)} for name in metrics},
        metric_info=[MetricInfo.of(BUILT_IN["beat_f1"]), MetricInfo("brightness", "centroid", True, "Hz")],
        training=history,
        samples=samples,
    )
