"""PaSST: its layout, what it listens to, and both metrics, on small random models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import expotion_metrics_passt as plugin
from expotion.contracts import Scored
from expotion.errors import WeightsError
from expotion.testing import SyntheticClip, check_metric
from expotion_metrics_passt import mel, scores
from expotion_metrics_passt.passt import Geometry, Passt, load

SMALL = Geometry(dim=16, depth=2, heads=2, classes=11)


def seeded(geometry: Geometry) -> Passt:
    torch.manual_seed(0)
    model = Passt(geometry)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.eval()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> scores.Listener:
    heard = scores.Listener(seeded(SMALL))
    monkeypatch.setattr(scores, "_opened", [heard])
    return heard


def sound(seed: int, n: int = 64_000) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n).astype(np.float32)


def test_keys_and_shapes_are_those_of_the_release() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in Passt().state_dict().items()}
    assert shapes["time_new_pos_embed"] == (1, 768, 1, 99)
    assert shapes["freq_new_pos_embed"] == (1, 768, 12, 1)
    assert shapes["patch_embed.proj.weight"] == (768, 1, 16, 16)
    assert shapes["blocks.11.attn.qkv.weight"] == (2304, 768)
    assert shapes["blocks.0.mlp.fc1.bias"] == (3072,)
    assert shapes["head.1.weight"] == shapes["head_dist.weight"] == (527, 768)
    assert len(shapes) == 5 + 2 + 12 * 12 + 2 + 4 + 2


def test_mel_is_the_written_out_formula() -> None:
    samples = sound(1)
    found = mel.log_mel(samples)
    assert found.shape == (128, 200)
    bright = samples[1:].astype(np.float64) - 0.97 * samples[:-1]
    frame, band = 50, 30
    window = np.zeros(1024)
    window[112:912] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 799)
    power = np.abs(np.fft.rfft(bright[frame * 320 - 512 : frame * 320 + 512] * window)) ** 2
    top = 1127 * np.log(1 + 15_000 / 700)
    low, mid, high = (top * (band + i) / 129 for i in range(3))
    total = 0.0
    for i in range(512):
        at = 1127 * np.log(1 + i * 31.25 / 700)
        total += power[i] * max(0.0, min((at - low) / (mid - low), (high - at) / (high - mid)))
    assert float(found[band, frame]) == pytest.approx((np.log(total + 1e-5) + 4.5) / 5, rel=1e-4)


def test_divergence_is_zero_for_the_clips_own_sound_and_matches_the_sum(small: scores.Listener) -> None:
    clip = SyntheticClip()
    function = plugin.build_kl()
    own = clip.audio(32_000)
    assert function(Scored(own, 32_000, clip)).value == pytest.approx(0.0, abs=1e-9)
    p = np.exp(small.log_probabilities(own)[0].astype(np.float64))
    q = np.exp(small.log_probabilities(sound(2))[0].astype(np.float64))
    assert function(Scored(sound(2), 32_000, clip)).value == pytest.approx(sum(p * np.log(p / q)), rel=1e-5)
    assert function(Scored(sound(2), 32_000, SyntheticClip(with_audio=False))).value is None


def test_rows_are_probabilities_of_ten_seconds_each(small: scores.Listener) -> None:
    rows = plugin.build_rows()(Scored(sound(3, 25 * 32_000), 32_000, SyntheticClip()))
    assert rows.shape == (3, 11)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-5)
    first = small.log_probabilities(sound(3, 25 * 32_000)[:320_000])
    np.testing.assert_allclose(np.log(rows[:1]), first, rtol=1e-4, atol=1e-5)


def test_a_saved_model_comes_back_under_either_name(tmp_path: Path) -> None:
    model = seeded(SMALL)
    torch.save({f"net.{key}": value for key, value in model.state_dict().items()}, tmp_path / "net.pt")
    spectrum = torch.randn(1, 128, 400)
    torch.testing.assert_close(load(tmp_path / "net.pt", SMALL)(spectrum), model(spectrum))
    with pytest.raises(WeightsError, match="released state dict"):
        load(tmp_path / "net.pt", Geometry(dim=16, depth=1, heads=2, classes=11))


@pytest.mark.parametrize("spec", plugin.expotion_metrics(), ids=lambda spec: spec.name)
def test_the_metrics_keep_the_contract(
    spec: plugin.MetricSpec, small: scores.Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expotion.contracts.metrics.pulled_weights", lambda name: Path(__file__))
    check_metric(spec)


def test_weights_that_were_not_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    monkeypatch.setattr(scores, "_opened", [])
    assert plugin.KL.missing()[0].fix == "expotion models pull passt"
    with pytest.raises(WeightsError, match="models pull passt"):
        plugin.build_rows()
