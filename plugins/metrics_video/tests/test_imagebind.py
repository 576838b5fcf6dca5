"""ImageBind: two modalities in the released layout on small random weights, what they see and hear, the cosine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import expotion_metrics_video as plugin
from expotion.contracts import Scored
from expotion.errors import WeightsError
from expotion.testing import SyntheticClip, SyntheticVideo, check_metric
from expotion_metrics_video import imagebind
from expotion_metrics_video.fbank import fbank
from expotion_metrics_video.imagebind import ImageBind, Sizes, load_imagebind

SMALL = Sizes(vision=(16, 2, 2), audio=(12, 1, 2), out=8, side=28)


def seeded() -> ImageBind:
    torch.manual_seed(0)
    model = ImageBind(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


def test_keys_and_shapes_are_those_of_the_release() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in ImageBind().state_dict().items()}
    assert shapes["modality_preprocessors.vision.rgbt_stem.proj.1.weight"] == (1280, 3, 2, 14, 14)
    assert shapes["modality_preprocessors.vision.pos_embedding_helper.pos_embed"] == (1, 257, 1280)
    assert shapes["modality_preprocessors.audio.rgbt_stem.proj.weight"] == (768, 1, 16, 16)
    assert shapes["modality_preprocessors.audio.rgbt_stem.norm_layer.weight"] == (768,)
    assert shapes["modality_preprocessors.audio.pos_embedding_helper.pos_embed"] == (1, 229, 768)
    assert shapes["modality_trunks.vision.pre_transformer_layer.0.weight"] == (1280,)
    assert shapes["modality_trunks.vision.blocks.31.attn.in_proj_weight"] == (3840, 1280)
    assert shapes["modality_trunks.audio.blocks.11.attn.bias_k"] == (1, 1, 768)
    assert "modality_trunks.vision.blocks.0.attn.bias_k" not in shapes
    assert shapes["modality_trunks.audio.blocks.0.mlp.fc2.weight"] == (768, 3072)
    assert shapes["modality_heads.vision.2.weight"] == (1024, 1280)


def test_a_clip_is_the_mean_of_its_inputs() -> None:
    model = seeded()
    inputs = torch.randn(3, 1, 128, 204)
    with torch.no_grad():
        single = torch.stack([model.embed("audio", one[None]) for one in inputs])
        wanted = torch.nn.functional.normalize(single.mean(dim=0), dim=0)
        torch.testing.assert_close(model.embed("audio", inputs), wanted, atol=1e-5, rtol=1e-4)


def test_pictures_are_first_and_last_frames_in_three_crops() -> None:
    def scene(time_s: float) -> np.ndarray:
        """Brightness tells the time, the left column the side."""
        picture = np.full((28, 56, 3), round(20 * time_s), np.uint8)
        picture[:, :14] += 5
        return picture

    video = SyntheticVideo(scene, np.arange(250) / 25)
    found = imagebind.crops(video, 10.0, 28)
    assert found.shape == (15, 3, 2, 28, 28)
    shown = (found * torch.tensor(imagebind.STD)[:, None, None, None]) + torch.tensor(imagebind.MEAN)[
        :, None, None, None
    ]
    level = (shown * 255)[:, 0, :, 14, 20]
    starts_s = [0.0, 2.0, 4.0, 6.0, 8.0]
    for k, start_s in enumerate(starts_s):
        assert float(level[3 * k + 1, 0]) == pytest.approx(round(20 * start_s), abs=0.5)
        assert float(level[3 * k + 1, 1]) == pytest.approx(round(20 * (start_s + 1.96)), abs=0.5)
    assert float((shown[0, 0, 0, 14, 3] - shown[2, 0, 0, 14, 3]) * 255) == pytest.approx(5.0, abs=0.1)


def test_sounds_are_three_stretches() -> None:
    sound = np.random.default_rng(0).normal(size=160_000).astype(np.float32)
    found = imagebind.spectrograms(sound)
    assert found.shape == (3, 1, 128, 204)
    piece = sound[64_000:96_000]
    mel = fbank(piece - piece.mean(), 16_000, 128)
    np.testing.assert_allclose(found[1, 0, :, :198].numpy(), (mel.T + 4.268) / 9.138, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1, 0, :, 198:].numpy(), 4.268 / 9.138, rtol=1e-5)


def test_the_metric_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    lack = plugin.IMAGEBIND.missing()
    assert lack[0].fix == "expotion models pull imagebind_huge"
    with pytest.raises(WeightsError, match="models pull imagebind_huge"):
        plugin.build_imagebind()
    file = tmp_path / "imagebind_huge.pth"
    torch.save(seeded().state_dict() | {"modality_trunks.text.blocks.0.norm_1.weight": torch.zeros(3)}, file)
    note = tmp_path / "models" / "imagebind_huge" / "model.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"file": str(file)}))
    monkeypatch.setattr(imagebind, "load_imagebind", lambda path: load_imagebind(path, SMALL))
    check_metric(plugin.IMAGEBIND)
    score = plugin.build_imagebind()
    sound = np.random.default_rng(1).normal(scale=0.1, size=48_000).astype(np.float32)
    found = score(Scored(sound, 16_000, SyntheticClip(3.0))).value
    assert found is not None
    assert -1.0 <= found <= 1.0
    with pytest.raises(WeightsError, match="released state dict"):
        load_imagebind(file)
