"""What the controls have to say: in the model, step by step; without it; and how strange it finds the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from expotion import timeline
from expotion.adaptor.adaptor import Adaptor
from expotion.beats import FRAME_RATE_HZ, follow
from expotion.contracts import Clip, MetricSpec, Score, Scored, TokenFeatures
from expotion.evaluate.beat_metrics import reference_beats
from expotion.evaluate.level_metrics import level_db
from expotion.features.material import Prompts
from expotion.music.request import Request, chroma_rows, request_inputs, text_sources
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.gate import add_gated, gate_input
from expotion.report import Gates
from expotion.run.folder import RunFolder
from expotion.run.generation import TestClip
from expotion.train.objective import codebook_loss
from expotion.video.sound_files import read_wav, write_wav

WHAT = "gated term relative to the layer's own attention (RMS)"


@torch.inference_mode()
def gate_influence(lm: MusicGenLM, adaptor: Adaptor, request: Request, codes: Tensor, rate_hz: float) -> Gates:
    """Per step and adapted layer: RMS of g S' over RMS of S.

    Measured in one pass over finished codes [K, T] (teacher forcing); zeros where nothing steers.
    """
    n_frames = codes.shape[-1]
    sequence = delay.build(codes[None], lm.geometry.special_token, lm.geometry.delays, valid_only=True)
    first, n_steps = adaptor.config.first_adapted_layer, sequence.shape[-1]
    layers = list(range(first, lm.n_layers))
    times_s = timeline.step_times_s(n_steps - 1, rate_hz)
    prefix = adaptor(lm, request_inputs(adaptor, [request], 0, n_frames))
    if prefix is None:
        return Gates(times_s, np.zeros((n_steps, len(layers)), np.float32), layers, WHAT)

    source, _ = text_sources(lm, [request.text], chroma_rows(lm, [request], 0.0))  # one prompt: nothing is padded
    x, front = lm.embed(sequence), 0
    if lm.geometry.chroma is not None:
        x, front = torch.cat([source.to(x.dtype), x], dim=1), source.shape[1]
    x = x + lm.position_table(0, front + n_steps)
    ratios = []
    for index in range(lm.n_layers):
        layer = lm.block(index)
        q, k, v = layer.heads(layer.norm1(x))
        own = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        attended = own
        if index >= first:
            gate = gate_input(prefix, index - first, n_steps, None)
            music = own[:, :, front:]
            steered = add_gated(music, q[:, :, front:], gate)
            ratios.append(_rms(steered - music) / _rms(music).clamp_min(1e-9))
            attended = torch.cat([own[:, :, :front], steered], dim=2) if front else steered
        x = x + layer.merge_heads(attended)
        if not front:
            x = x + layer.cross(x, *layer.text_keys(source), None)
        x = x + layer.feed_forward(x)
    return Gates(times_s, torch.stack(ratios, dim=-1).numpy(), layers, WHAT)


def _rms(heads: Tensor) -> Tensor:
    """RMS over heads and channels of [1, h, S, d/h]: float32 [S]."""
    return heads[0].float().square().mean(dim=(0, 2)).sqrt()


# What the controls are worth without the model: one ridge reads level and beat from them, and the frozen model's
# music is faded and clicked to it.

N_FITTED = 16
"""Training clips that the readout is fitted to."""
RIDGE = 100.0
BEAT_S = 0.05
"""Deviation of the bell around each beat that the readout is fitted to."""
GAIN_RANGE_DB = (-60.0, 20.0)
CLICK_HZ, CLICK_DECAY_S, CLICK_S = 2000.0, 0.005, 0.03
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Readout:
    """One ridge from smoothed controls [n, D] to the level in dB and to how much of a beat there is, both [n]."""

    mean: Floats
    scale: Floats
    weights: Floats

    @classmethod
    def fit(cls, clips: Sequence[tuple[Floats, Clip]], rate_hz: float, sample_rate_hz: int) -> Readout | None:
        """Fitted to controls [n, D] and the sounds and beats of their clips; None where no clip has both."""
        rows, targets = [], []
        for controls, clip in clips:
            sound, beats = clip.audio(sample_rate_hz), reference_beats(clip)
            if sound is None or beats is None or not len(beats.beats_s):
                continue
            times_s = np.arange(len(controls)) / rate_hz
            bells = np.exp(-0.5 * ((times_s[:, None] - beats.beats_s) / BEAT_S) ** 2).max(axis=1)
            rows.append(controls)
            targets.append(np.stack([level_db(sound, sample_rate_hz, times_s), bells], axis=1))
        if not rows:
            return None
        every = np.concatenate(rows)
        mean, scale = every.mean(axis=0), every.std(axis=0) + 1e-6
        known = _with_one((every - mean) / scale)
        square = known.T @ known + RIDGE * np.eye(known.shape[1])
        return cls(mean, scale, np.linalg.solve(square, known.T @ np.concatenate(targets)))

    def read(self, controls: Floats) -> tuple[Floats, Floats]:
        """(Level in dB [n], beat [n]) of controls [n, D]."""
        level, beat = (_with_one((controls - self.mean) / self.scale) @ self.weights).T
        return level, beat


def _with_one(rows: Floats) -> Floats:
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


def faded(samples: NDArray[np.float32], sample_rate_hz: int, level: Floats, rate_hz: float) -> NDArray[np.float32]:
    """Mono samples [n] brought to a level in dB [k] at `rate_hz`, by a fader that rides it."""
    times_s = np.arange(len(level)) / rate_hz
    gain_db = np.clip(level - level_db(samples, sample_rate_hz, times_s), *GAIN_RANGE_DB)
    at_s = np.arange(len(samples)) / sample_rate_hz
    return np.clip(samples * 10 ** (np.interp(at_s, times_s, gain_db) / 20), -1.0, 1.0).astype(np.float32)


def clicked(samples: NDArray[np.float32], sample_rate_hz: int, beat: Floats, rate_hz: float) -> NDArray[np.float32]:
    """Mono samples [n] with a click of full scale on each beat that the tracker follows in `beat` [k]."""
    n = int((len(beat) - 1) / rate_hz * FRAME_RATE_HZ) + 1
    activation = np.interp(np.arange(n) / FRAME_RATE_HZ, np.arange(len(beat)) / rate_hz, np.maximum(beat, 0.0))
    at_s = np.arange(round(CLICK_S * sample_rate_hz)) / sample_rate_hz
    click = np.exp(-at_s / CLICK_DECAY_S) * np.sin(2 * np.pi * CLICK_HZ * at_s)
    mixed = np.pad(samples.astype(np.float64), (0, len(click)))
    for beat_s in follow(activation).beats_s:
        first = min(round(float(beat_s) * sample_rate_hz), len(samples))
        mixed[first : first + len(click)] += click
    return np.clip(mixed[: len(samples)], -1.0, 1.0).astype(np.float32)


def joined(clip: TestClip) -> Floats:
    """All smoothed controls of a clip side by side, [T + 1, D]."""
    return np.concatenate([track.values for track in clip.tracks.values()], axis=1).astype(np.float64)


def play_alone(
    run: RunFolder,
    rows: Sequence[str],
    clips: Sequence[TestClip],
    readout: Readout,
    rate_hz: float,
    sample_rate_hz: int,
) -> None:
    """Write these rows' sounds: each clip's `text_only` under a fader, and with clicks, that its controls move."""
    for clip in clips:
        samples = read_wav(run.sample("text_only", clip.id))
        level, beat = readout.read(joined(clip))
        made = {
            "fader_on_frozen": faded(samples, sample_rate_hz, level, rate_hz),
            "clicks_on_frozen": clicked(samples, sample_rate_hz, beat, rate_hz),
        }
        for row in rows:
            write_wav(run.sample(row, clip.id), made[row], sample_rate_hz)


NATS_PER_CODE = MetricSpec(
    name="nats_per_code",
    description="surprise of the frozen model at the codes, given the clip's prompt and no controls, all codebooks",
    build=lambda: lambda scored: Score(None),  # of codes, not of the sound: the run gives it
    higher_is_better=False,
    not_comparable_with="values of another backbone or codec",
    label="Nats per code",
    compared=False,
)


@torch.inference_mode()
def nats_per_code(lm: MusicGenLM, text: TokenFeatures, codes: NDArray[np.integer], window: int) -> float:
    """Mean negative log likelihood of codes [K, T], given a prompt and no controls, `window` steps at a time."""
    values, mask = (torch.from_numpy(part)[None].to(lm.device) for part in (text.values, text.mask))
    source = lm.project_text(values, mask)
    total, n_frames = 0.0, int(codes.shape[1])
    for start in range(0, n_frames, window):
        part = torch.from_numpy(codes[None, :, start : start + window].astype(np.int64)).to(lm.device)
        sequence = delay.build(part, lm.geometry.special_token, lm.geometry.delays, valid_only=True)
        total += float(codebook_loss(lm, lm.hidden(sequence, source), part)) * part.shape[-1]
    return total / n_frames


def nats_of(
    run: RunFolder,
    lm: MusicGenLM,
    scored: Mapping[str, Sequence[Scored]],
    true_codes: Mapping[str, NDArray[np.int64]],
    prompts: Prompts,
    window: int,
) -> dict[str, dict[str, float]]:
    """Nats per code of every row made of codes, and of the clips' own sound: condition -> clip id -> value."""
    found: dict[str, dict[str, float]] = {}
    for condition, sounds in scored.items():
        for one in sounds:
            file = run.codes(condition, one.clip.id)
            codes = true_codes.get(one.clip.id) if condition == "ground_truth" else None
            if file.exists():
                codes = np.load(file, allow_pickle=False)
            if codes is not None:
                value = nats_per_code(lm, prompts[one.prompt], codes, window)
                found.setdefault(condition, {})[one.clip.id] = value
    return found
