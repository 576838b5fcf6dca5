"""VGGish: its layout, what it listens to, and the metrics made of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import expotion_metrics_fad as plugin
from expotion.contracts import Scored
from expotion.errors import WeightsError
from expotion.testing import SyntheticClip, check_metric
from expotion_metrics_fad import vggish

RELEASED = {
    "features.0.weight": (64, 1, 3, 3),
    "features.3.weight": (128, 64, 3, 3),
    "features.6.weight": (256, 128, 3, 3),
    "features.8.weight": (256, 256, 3, 3),
    "features.11.weight": (512, 256, 3, 3),
    "features.13.weight": (512, 512, 3, 3),
    "embeddings.0.weight": (4096, 12288),
    "embeddings.2.weight": (4096, 4096),
    "embeddings.4.weight": (128, 4096),
}
BIASES = {key.replace("weight", "bias"): (shape[0],) for key, shape in RELEASED.items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights in the released layout; rows are stretches of a million random numbers, as 72 million take long."""
    numbers = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))
    state = {}
    for name, shape in (RELEASED | BIASES).items():
        n_inputs = math.prod(shape[1:])
        apart = min(n_inputs, (len(numbers) - n_inputs) // shape[0])
        inner = [math.prod(shape[i + 1 :]) for i in range(1, len(shape))]
        state[name] = (numbers / n_inputs**0.5).as_strided(shape, (apart, *inner))
    path: Path = tmp_path_factory.mktemp("vggish") / "vggish.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def model(weights: Path) -> vggish.VGGish:
    return vggish.load(weights)


@pytest.fixture
def pulled(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    note = tmp_path / "models" / "vggish" / "model.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"file": str(weights)}))
    return weights


def test_keys_and_shapes_are_those_of_the_release() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in vggish.VGGish().state_dict().items()}
    assert shapes == RELEASED | BIASES


def test_mel_is_the_written_out_formula() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=16_000).astype(np.float32)
    mel = vggish.log_mel(samples)
    assert mel.shape == (1, 96, 64)
    k, band = 17, 40
    frame = samples[k * 160 : k * 160 + 400].astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    spectrum = np.abs(np.fft.fft(np.pad(frame * hann, (0, 112)))[:257])
    mels = 1127 * np.log(1 + np.arange(257) * 16_000 / 512 / 700)
    low, high = (1127 * np.log(1 + hz / 700) for hz in (125.0, 7500.0))
    edges = [low + (high - low) * i / 65 for i in range(66)]
    total = 0.0
    for i in range(1, 257):
        up = (mels[i] - edges[band]) / (edges[band + 1] - edges[band])
        down = (edges[band + 2] - mels[i]) / (edges[band + 2] - edges[band + 1])
        total += spectrum[i] * max(0.0, min(up, down))
    assert mel[0, k, band] == pytest.approx(np.log(total + 0.01), rel=1e-5)


def test_embeddings_are_flattened_channels_last(model: vggish.VGGish) -> None:
    mel = torch.randn(2, 96, 64, generator=torch.Generator().manual_seed(1))
    found = model(mel)
    features = model.features(mel[:, None]).numpy()
    flat = np.stack([features[:, c, t, f] for t in range(6) for f in range(4) for c in range(512)], axis=1)
    torch.testing.assert_close(found, model.embeddings(torch.from_numpy(flat)))


def test_rows_of_a_sound(pulled: Path, model: vggish.VGGish) -> None:
    sound = np.random.default_rng(0).normal(size=48_000).astype(np.float32)
    rows = plugin.build()(Scored(sound, 16_000, SyntheticClip()))
    assert rows.shape == (3, 128)
    torch.testing.assert_close(torch.from_numpy(rows[1:2]), model(torch.from_numpy(vggish.log_mel(sound)[1:2])))


@pytest.mark.parametrize("spec", [plugin.FAD_VGGISH, plugin.FAD_VGGISH_INFINITY], ids=lambda spec: spec.name)
def test_the_metric_keeps_the_contract(
    spec: plugin.MetricSpec, pulled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network of one layer: `test_rows_of_a_sound` has the whole one."""
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(96 * 64, 128)).requires_grad_(False)
    monkeypatch.setattr(vggish, "load", lambda path: layers)
    check_metric(spec)
    assert spec.missing() == []


def test_missing_weights_are_said_before_and_refused_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    lack = plugin.FAD_VGGISH.missing()
    assert [problem.fix for problem in lack] == ["expotion models pull vggish"]
    with pytest.raises(WeightsError, match="models pull vggish"):
        plugin.build()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "half.pth")
    with pytest.raises(WeightsError, match="state dict of VGGish"):
        vggish.load(tmp_path / "half.pth")
