"""The parts of the training script that carry its claims: what is heard, and how it is measured."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

TRAIN = Path(__file__).parents[1] / "train"


@pytest.fixture(autouse=True)
def train_folder(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAIN))


def script(name):
    spec = importlib.util.spec_from_file_location(f"synchformer_train_{name}", TRAIN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def clicks(tempo_bpm, first_s, duration_s=6.0, rate_hz=8000):
    samples = np.zeros(round(duration_s * rate_hz), np.float32)
    for beat_s in np.arange(first_s, duration_s - 0.1, 60.0 / tempo_bpm):
        start = round(beat_s * rate_hz)
        samples[start : start + 400] += np.exp(-np.arange(400) / 80).astype(np.float32) * np.sin(np.arange(400))
    return samples, rate_hz


@pytest.mark.parametrize(("tempo_bpm", "first_s"), [(64.0, 0.3), (120.0, 0.11), (176.0, 0.05)])
def test_the_pulse_is_heard(tempo_bpm, first_s):
    rhythm = script("rhythm")

    heard = rhythm.listen(*clicks(tempo_bpm, first_s))
    assert heard.tempo_hz * 60 == pytest.approx(tempo_bpm, rel=0.02)
    phase = heard.phase(np.array([first_s]))[0]
    assert abs(phase - round(phase)) / heard.tempo_hz < 0.03


def test_probe_reads_a_track_that_holds_the_beat_and_not_noise():
    probe = script("beat_probe")

    rng = np.random.default_rng(0)

    def example(holds_beat):
        hz, first = rng.uniform(1, 3), rng.uniform(0, 0.3)
        times_s = np.arange(0.04, 10, 0.04)
        beats_s = np.arange(first, 10, 1 / hz)
        turn = 2 * np.pi * hz * (times_s - first)
        values = np.stack([np.cos(turn), np.sin(turn), np.cos(2 * turn), np.cos(3 * turn)], axis=1)
        values = values if holds_beat else rng.normal(size=values.shape)
        grid_s = np.arange(501) / 50
        return probe.Example(values.astype(np.float32), times_s, beats_s, 60 * hz, grid_s, np.sin(grid_s))

    good = probe.probe([example(True) for _ in range(6)], [example(True) for _ in range(6)])
    bad = probe.probe([example(False) for _ in range(6)], [example(False) for _ in range(6)])
    assert good.phase_r > 0.95 and good.beat_f1 > 0.95
    assert bad.phase_r < 0.2 and bad.beat_f1 < 0.6


def test_smoke(tmp_path, monkeypatch):
    from expotion_motion_synchformer import loader
    from expotion_motion_synchformer.options import GEOMETRIES

    tiny = script("tiny")
    out = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(sys, "argv", ["tiny.py", "--smoke", "--cache", str(tmp_path), "--out", str(out)])
    tiny.main()
    loaded = loader.load(out, GEOMETRIES["tiny_moving"])
    assert loaded.mean is not None and out.stat().st_size < 3e6
