"""LanguageBind: towers in the released layout on small random weights, what they see and hear, the cosine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import expotion_metrics_video as plugin
from expotion.contracts import Scored
from expotion.errors import WeightsError
from expotion.testing import SyntheticClip, check_metric
from expotion_metrics_video import languagebind
from expotion_metrics_video.fbank import fbank
from expotion_metrics_video.tower import Geometry, Tower, load

VIDEO: dict[str, Any] = {
    "projection_dim": 6,
    "vision_config": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "patch_size": 14,
        "image_size": 28,
        "num_frames": 4,
        "add_time_attn": True,
    },
}
AUDIO: dict[str, Any] = {
    "projection_dim": 6,
    "vision_config": VIDEO["vision_config"]
    | {
        "add_time_attn": False,
        "num_frames": 1,
        "num_mel_bins": 28,
        "target_length": 112,
        "audio_sample_rate": 16_000,
        "audio_mean": -4.2,
        "audio_std": 9.1,
    },
}


def saved(folder: Path, config: dict[str, Any], name: str = "pytorch_model.bin") -> Path:
    torch.manual_seed(len(name))
    tower = Tower(Geometry.of(config))
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.normal_(std=0.3)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    extra = {"logit_scale": torch.zeros(()), "text_model.embeddings.token_embedding.weight": torch.zeros(3, 2)}
    torch.save(tower.state_dict() | extra, folder / name)
    return folder / name


@pytest.fixture
def pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    for weights, config in ((plugin.LANGUAGEBIND_VIDEO, VIDEO), (plugin.LANGUAGEBIND_AUDIO, AUDIO)):
        file = saved(tmp_path / "hub" / weights.name, config)
        note = tmp_path / "models" / weights.name / "model.json"
        note.parent.mkdir(parents=True)
        note.write_text(json.dumps({"file": str(file)}))


def test_keys_and_shapes_are_those_of_the_release() -> None:
    with torch.device("meta"):
        shapes = {
            key: tuple(value.shape)
            for key, value in Tower(Geometry.of({"vision_config": {"num_frames": 8, "add_time_attn": True}}))
            .state_dict()
            .items()
        }
    layer = "vision_model.encoder.layers.23."
    assert shapes["vision_model.embeddings.position_embedding.weight"] == (257, 1024)
    assert shapes["vision_model.embeddings.patch_embedding.weight"] == (1024, 3, 14, 14)
    assert shapes[layer + "temporal_embedding"] == (1, 8, 1024)
    assert shapes[layer + "temporal_attn.out_proj.bias"] == (1024,)
    assert shapes[layer + "self_attn.q_proj.weight"] == (1024, 1024)
    assert shapes[layer + "mlp.fc1.weight"] == (4096, 1024)
    assert shapes["visual_projection.weight"] == (768, 1024)
    assert "vision_model.pre_layrnorm.weight" in shapes
    with torch.device("meta"):
        heard = Tower(Geometry.of({"vision_config": {"num_mel_bins": 112, "target_length": 1036}}))
    assert heard.vision_model.embeddings.position_embedding.weight.shape == (8 * 74 + 1, 1024)


def test_without_time_it_is_transformers_clip(tmp_path: Path) -> None:
    """The same weights in transformers' CLIP vision model give the same embedding."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tower, _ = load(
        saved(tmp_path / "clip", VIDEO | {"vision_config": VIDEO["vision_config"] | {"add_time_attn": False}})
    )
    keys = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "patch_size",
        "image_size",
    )
    theirs = CLIPVisionModelWithProjection(
        CLIPVisionConfig(**{key: VIDEO["vision_config"][key] for key in keys}, projection_dim=6, hidden_act="gelu")
    ).eval()
    missing, unexpected = theirs.load_state_dict(tower.state_dict(), strict=False)
    assert (missing, unexpected) == ([], [])
    pictures = torch.randn(3, 3, 28, 28)
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(theirs(pictures).image_embeds, dim=-1)
    torch.testing.assert_close(tower(pictures), wanted, atol=1e-5, rtol=1e-4)


def test_attention_over_time_is_at_each_place() -> None:
    torch.manual_seed(0)
    block = Tower(Geometry.of(VIDEO)).vision_model.encoder.layers[0]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.3)
    x = torch.randn(2 * 4, 5, 16)  # two videos of four frames
    found = block(x)
    wanted = x.clone()
    for video in range(2):
        for place in range(5):
            frames = x[4 * video : 4 * video + 4, place] + block.temporal_embedding[0]
            attended = block.temporal_attn(block.temporal_layer_norm1(frames)[None])[0]
            wanted[4 * video : 4 * video + 4, place] = frames + attended
    wanted = wanted + block.self_attn(block.layer_norm1(wanted))
    wanted = wanted + block.mlp(block.layer_norm2(wanted))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_filter_bank_is_the_written_out_formula() -> None:
    samples = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    found = fbank(samples, 16_000, 28)
    assert found.shape == (98, 28)
    frame = samples[160 * 7 : 160 * 7 + 400].astype(np.float64)
    frame -= frame.mean()
    bright = [frame[0] - 0.97 * frame[0]] + [frame[i] - 0.97 * frame[i - 1] for i in range(1, 400)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = np.abs(np.fft.rfft(np.array(bright) * hann, 512)) ** 2
    low, high = (1127 * np.log(1 + hz / 700) for hz in (20.0, 8000.0))
    a, b, c = (low + (high - low) * (11 + i) / 29 for i in range(3))
    total = 0.0
    for i in range(256):
        at = 1127 * np.log(1 + i * 31.25 / 700)
        total += power[i] * max(0.0, min((at - a) / (b - a), (c - at) / (c - b)))
    assert found[7, 11] == pytest.approx(np.log(total), rel=1e-5)


def test_short_sounds_are_repeated_and_long_ones_cut_in_three() -> None:
    rng = np.random.default_rng(1)
    short = languagebind.spectrogram(rng.normal(size=5_000).astype(np.float32), AUDIO)
    assert short.shape == (3, 28, 112)
    torch.testing.assert_close(short[0], short[2])
    sound = rng.normal(size=40_000).astype(np.float32)
    long = languagebind.spectrogram(sound, AUDIO)
    mel = (fbank(sound - sound.mean(), 16_000, 28) + 4.2) / 9.1
    starts = [int(part[0]) for part in np.array_split(np.arange(len(mel) - 111), 3)]
    for channel, start in zip(long, starts, strict=True):
        np.testing.assert_allclose(channel.numpy(), mel[start : start + 112].T, rtol=1e-5)


def test_the_metric_is_a_cosine_and_keeps_the_contract(pulled: None) -> None:
    assert plugin.LANGUAGEBIND.missing() == []
    check_metric(plugin.LANGUAGEBIND)
    score = plugin.build_languagebind()
    sound = np.random.default_rng(2).normal(scale=0.1, size=32_000).astype(np.float32)
    found = score(Scored(sound, 16_000, SyntheticClip())).value
    assert found is not None
    assert -1.0 <= found <= 1.0
    assert score(Scored(sound, 16_000, SyntheticClip(n_frames=0))).reason == "the clip has no picture"


def test_lora_and_strangers_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "lora", VIDEO)
    state = torch.load(file, weights_only=True)
    torch.save(state | {"vision_model.encoder.layers.0.self_attn.lora_A": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match="_FT"):
        load(file)
    other = saved(tmp_path / "other", VIDEO)
    (other.parent / "config.json").write_text(json.dumps(AUDIO))
    with pytest.raises(WeightsError, match="LanguageBind as released"):
        load(other)
