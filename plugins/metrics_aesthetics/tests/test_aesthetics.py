"""Audiobox aesthetics: windows, weights and scale, with a small model of the same interface."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expotion_metrics_aesthetics as plugin
from expotion.contracts import Scored
from expotion.testing import SyntheticClip, check_metric
from expotion_metrics_aesthetics import predict

SCALE = {axis: {"mean": 5.0 + i, "std": 2.0} for i, axis in enumerate(plugin.AXES)}


class Loudness(torch.nn.Module):
    """Says the RMS of the part that is not padding, on every axis."""

    target_transform = SCALE

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        wav, mask = batch["wav"], batch["mask"]
        assert wav.shape == mask.shape == (1, 1, 160_000)
        rms = (wav.square() * mask).sum(dim=(1, 2)).div(mask.sum(dim=(1, 2))).sqrt()
        return dict.fromkeys(plugin.AXES, rms)

    @classmethod
    def from_pretrained(cls, folder: str, **_: Any) -> Loudness:
        if not (Path(folder) / "config.json").exists():
            raise FileNotFoundError(f"{folder} has no config.json")
        return cls()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "_opened", [predict.Judge(Loudness())])


def test_windows_are_weighed_by_length_and_put_on_the_scale(opened: None) -> None:
    samples = np.concatenate([np.full(160_000, 0.5), np.full(40_000, 0.1)]).astype(np.float32)
    function = plugin.SPECS[0].build()
    found = function(Scored(samples, 16_000, SyntheticClip()))
    assert found.value == pytest.approx((1 * (5 + 2 * 0.5) + 0.25 * (5 + 2 * 0.1)) / 1.25, rel=1e-5)
    other = plugin.SPECS[3].build()(Scored(samples, 16_000, SyntheticClip()))
    assert other.value == pytest.approx(found.value + 3.0, rel=1e-5)
    assert function(Scored(samples[:100], 16_000, SyntheticClip())).reason == "the output is too short"


@pytest.mark.parametrize("spec", plugin.SPECS, ids=lambda spec: spec.name)
def test_the_metrics_keep_the_contract(spec: Any, opened: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expotion.contracts.metrics._not_installed", lambda text: None)
    monkeypatch.setattr("expotion.contracts.metrics.pulled_weights", lambda name: Path(__file__))
    check_metric(spec)


def test_the_folder_that_was_pulled_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("audiobox_aesthetics.model.aes")
    module.AesMultiOutput = Loudness  # type: ignore[attr-defined]
    for name in ("audiobox_aesthetics", "audiobox_aesthetics.model"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "audiobox_aesthetics.model.aes", module)
    monkeypatch.setattr(predict, "_opened", [])
    monkeypatch.setattr(predict, "pulled_weights", lambda name: tmp_path / "model.safetensors")
    with pytest.raises(predict.WeightsError, match=r"no config\.json"):
        predict.judge()
    (tmp_path / "config.json").write_text("{}")
    assert predict.judge() is predict.judge()


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    monkeypatch.setattr("expotion.contracts.metrics._not_installed", lambda text: "not installed")
    lacking = plugin.SPECS[0].missing()
    assert [problem.fix for problem in lacking] == [
        "install it: uv pip install 'audiobox_aesthetics>=0.0.4'",
        "expotion models pull audiobox_aesthetics",
    ]
