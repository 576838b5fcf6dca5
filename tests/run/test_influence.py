"""What the controls are worth alone: a readout, a fader, clicks; and nats per code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from expotion.beats import track_beats
from expotion.contracts import Clip, TokenFeatures, Truth
from expotion.evaluate.level_metrics import level_db
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry
from expotion.run.influence import Readout, clicked, faded, nats_per_code
from expotion.video.memory import MemoryClip

RATE_HZ, SOUND_HZ = 50.0, 8000
TIMES_S = np.arange(501) / RATE_HZ


class Sounding(MemoryClip):
    """A clip with a sound and a truth."""

    def __init__(self, id: str, samples: np.ndarray, truth: Truth) -> None:
        super().__init__(id, len(samples) / SOUND_HZ)
        self.samples, self.truth = samples.astype(np.float32), truth

    def audio(self, sample_rate_hz: int) -> np.ndarray:  # type: ignore[override]
        assert sample_rate_hz == SOUND_HZ
        return self.samples


def played(seed: int) -> tuple[np.ndarray, Clip, np.ndarray, np.ndarray]:
    """Controls [501, 3] that know level and beat, the clip that they are of, its level in dB and its beats."""
    rng = np.random.default_rng(seed)
    level = np.interp(TIMES_S, np.arange(0, 11, 2.0), rng.uniform(-50.0, -20.0, 6))
    beats_s = np.arange(rng.uniform(0.1, 0.4), 9.8, rng.uniform(0.4, 0.7))
    bells = np.exp(-0.5 * ((TIMES_S[:, None] - beats_s) / 0.05) ** 2).max(axis=1)
    gain_db = np.interp(np.arange(10 * SOUND_HZ) / SOUND_HZ, TIMES_S, level)
    noise = rng.standard_normal(10 * SOUND_HZ) * 10 ** (gain_db / 20)
    clip = Sounding(f"clip-{seed}", noise, Truth(beats_s, TIMES_S, level))
    controls = np.stack([3 * level + 7, 2 - bells, rng.standard_normal(501)], axis=1)
    return controls, clip, level, beats_s


@pytest.fixture(scope="module")
def readout() -> Readout:
    found = Readout.fit([played(seed)[:2] for seed in range(4)], RATE_HZ, SOUND_HZ)
    assert found is not None
    return found


def test_a_line_reads_level_and_beat_of_a_clip_that_it_was_not_fitted_to(readout: Readout) -> None:
    controls, _, level, beats_s = played(9)
    read, beat = readout.read(controls)
    assert np.abs(read - level).mean() < 3.0
    music = np.random.default_rng(0).standard_normal(10 * SOUND_HZ).astype(np.float32) * np.float32(0.05)
    loud = level_db(faded(music, SOUND_HZ, read, RATE_HZ), SOUND_HZ, TIMES_S)
    assert np.corrcoef(loud, level)[0, 1] > 0.95
    heard = track_beats(clicked(0 * music, SOUND_HZ, beat, RATE_HZ), SOUND_HZ).beats_s
    assert len(heard) == len(beats_s) and np.abs(heard - beats_s).max() < 0.05


def test_without_sound_or_beats_there_is_no_readout() -> None:
    controls, _, _, _ = played(1)
    assert Readout.fit([(controls, MemoryClip("mute", 10.0))], RATE_HZ, SOUND_HZ) is None


def test_nats_are_the_mean_of_every_code_that_is_predicted() -> None:
    torch.manual_seed(0)
    lm = MusicGenLM(LMGeometry(n_layers=1, n_heads=2, width=8, ffn_width=16, n_codebooks=4, card=6, text_width=5))
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    text = TokenFeatures(np.ones((3, 5), np.float32), np.array([True, True, False]))
    codes = np.random.default_rng(0).integers(0, 6, (4, 20))

    def literal(part: Tensor) -> float:
        sequence = delay.build(part[None], lm.geometry.special_token, lm.geometry.delays, valid_only=True)
        source = lm.project_text(torch.from_numpy(text.values)[None], torch.from_numpy(text.mask)[None])
        logits = lm(sequence, source)[0].log_softmax(dim=-1)
        found = [
            -float(logits[k, f + late, part[k, f]])
            for k, late in enumerate(lm.geometry.delays)
            for f in range(part.shape[1])
            if f + late < part.shape[1]
        ]
        return float(np.mean(found))

    cuts = (slice(20), slice(12), slice(12, 20))
    with torch.no_grad():
        whole, first, second = (literal(torch.from_numpy(codes[:, at])) for at in cuts)
    assert nats_per_code(lm, text, codes, 20) == pytest.approx(whole, rel=1e-5)
    assert nats_per_code(lm, text, codes, 12) == pytest.approx((12 * first + 8 * second) / 20, rel=1e-5)
    other = TokenFeatures(-text.values, text.mask)
    assert nats_per_code(lm, other, codes, 20) != pytest.approx(whole, rel=1e-3), "the prompt is heard"
