"""A recipe on imported features, from the import to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from expotion.cli.main import run
from expotion.features.precomputed import as_track
from expotion.features.store import FeatureStore
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan

RECIPE = """
name: imported
seed: 1
data: {source: conductor, train_clips: 2, test_clips: 2, clip_s: 2.0, train_seed: 5000600, test_seed: 5000700}
conditions:
  - {name: motion, encoder: precomputed, rank: 2, options: {features: hands, width: 2, rate_hz: 25.0}}
train: {steps: 2, batch_size: 2}
generate: {samples: 1}
evaluate: {metrics: [beat_f1], conditions: [motion], bootstrap: 10}
"""


def import_hands(seeds: list[int]) -> None:
    """The true height of both wrists, 25 times a second, as if somebody else had computed it."""
    for seed in seeds:
        clip = ConductorClip(make_plan(seed, 2.0))
        times_s = (np.arange(50) + 0.5) / 25.0
        joints = clip.figure.joints(times_s)
        rows = np.stack([joints["left_wrist"][:, 1], joints["right_wrist"][:, 1]], axis=1) / 192.0
        track = as_track(rows.astype(np.float32), 2.0, 25.0, clip.id)
        FeatureStore().save_imported(clip, "hands", track, 25.0, {})


@pytest.mark.slow
def test_a_recipe_takes_imported_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EXPOTION_WORKERS", "1")
    recipe = tmp_path / "imported.yaml"
    recipe.write_text(RECIPE)
    import_hands([5_000_600, 5_000_601, 5_000_700])
    assert run(["recipe", "run", str(recipe), "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "conductor-5000701" in said  # nothing was imported for it: named, and the others go on
    metrics = json.loads((tmp_path / "run" / "metrics_per_clip.json").read_text())
    assert list(metrics["motion"]) == ["conductor-5000700"]
    described = json.loads((tmp_path / "run" / "adaptor" / "adaptor.json").read_text())
    assert described["config"]["modalities"][0]["d_in"] == 2
