"""From crops to features: precision, batches, memory, and the frames of the reference's windows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from expotion_face_marlin import SPEC, FaceMarlinOptions
from expotion_face_marlin.encoder import FaceMarlinEncoder
from expotion_face_marlin.geometry import MarlinGeometry
from expotion_face_marlin.model import MarlinEncoder, initialise
from expotion_face_marlin.windows import place_windows, reference_starts_s

WIDE = MarlinGeometry(image_height=64, image_width=64, width=384, depth=6, heads=6)


@pytest.fixture(scope="module")
def windows() -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth crops uint8 [12, 64, 64, 3] and three windows [3, 16] of them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(12, 3, 8, 8, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear")
    index = torch.arange(16)[None] // 2 + torch.tensor([[0], [2], [4]])
    return (fine * 255).byte().permute(0, 2, 3, 1).contiguous(), index


def network() -> MarlinEncoder:
    model = MarlinEncoder(WIDE)
    initialise(model, 0)
    return model.requires_grad_(False).eval()


def test_bfloat16_products_stay_close_to_float32(windows: tuple[torch.Tensor, torch.Tensor]) -> None:
    plain, half = network(), network()
    half.multiply_in(torch.bfloat16)
    with torch.inference_mode():
        wanted, found = plain.pooled_windows(*windows), half.pooled_windows(*windows)
    assert found.dtype == torch.float32
    assert half.blocks[0].norm1.weight.dtype == torch.float32
    assert float((found - wanted).norm() / wanted.norm()) < 1e-2
    assert float(torch.cosine_similarity(found, wanted).min()) > 0.999


def test_pooling_before_the_last_layer_is_pooling_after_it(windows: tuple[torch.Tensor, torch.Tensor]) -> None:
    model = network()
    crops, index = windows
    clips = crops[index].permute(0, 4, 1, 2, 3).float() / 255.0
    with torch.inference_mode():
        tokens = model.patch_embedding(clips) + model.pos_embedding.emb
        for block in model.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(model.pooled(clips), model.norm(tokens.mean(dim=1)))


@pytest.mark.parametrize(
    ("options", "has", "runs"),
    [
        ({}, True, "float32"),
        ({"geometry": "base"}, True, "bfloat16"),
        ({"geometry": "base"}, False, "float32"),
        ({"geometry": "base", "precision": "float32"}, True, "float32"),
        ({"precision": "bfloat16"}, False, "bfloat16"),
    ],
)
def test_which_precision_runs(options: dict[str, str], has: bool, runs: str) -> None:
    assert FaceMarlinOptions(**options).runs_in(has) == runs


def test_a_precision_left_to_the_machine_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expotion_face_marlin.encoder.multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(FaceMarlinOptions, "runs_in", lambda self, has: "bfloat16")
    assert FaceMarlinEncoder(SPEC, FaceMarlinOptions(weights_seed=0)).computed_in == "bfloat16"
    monkeypatch.undo()
    assert FaceMarlinEncoder(SPEC, FaceMarlinOptions()).computed_in == ""


def test_long_clips_do_not_pile_up_crops(fakes: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame is cropped once, and only the crops of the windows at hand are held, whatever the batch."""
    rng = np.random.default_rng(0)
    video = fakes.video(rng.integers(0, 255, (500, 48, 48, 3), dtype=np.uint8), np.arange(500) / 25.0)
    clip = fakes.clip(video, 20.0)
    encoder = FaceMarlinEncoder(SPEC, FaceMarlinOptions(crop="frame", batch_size=4))
    held = []
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda crops, index: (held.append(len(crops)), encode(crops, index))[1])
    track = encoder.extract(clip)
    assert video.asked == 500
    assert len(held) == 25 and max(held) <= 4 * 6 + 1
    whole = FaceMarlinEncoder(SPEC, FaceMarlinOptions(crop="frame", batch_size=100)).extract(clip)
    np.testing.assert_allclose(track.values, whole.values, atol=1e-4)


@pytest.mark.parametrize("fps", [12.0, 24.0, 25.0, 30000 / 1001, 30.0, 60.0, 80.0])
def test_reference_windows_see_what_reencoding_to_80_fps_shows(fps: float, fakes: SimpleNamespace) -> None:
    """Frame i is on from sample round(80 t_i) on; samples after the last frame repeat it."""
    times_s = np.arange(round(10 * fps)) / fps
    video = fakes.video(np.zeros((len(times_s), 4, 4, 3), np.uint8), times_s)
    found = place_windows(video, reference_starts_s(10.0, 16), 16, 10.0, as_reencoded=True).frame
    begins = np.floor(80.0 * times_s + 0.5 + 1e-9).astype(int)
    wanted = np.searchsorted(begins, np.arange(49 * 16), side="right") - 1
    np.testing.assert_array_equal(found.ravel(), wanted)
    assert found.shape == (49, 16)


def test_reference_windows_through_the_encoder(fakes: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    video = fakes.video(rng.integers(0, 255, (300, 48, 48, 3), dtype=np.uint8), np.arange(300) / 30.0)
    encoder = FaceMarlinEncoder(SPEC, FaceMarlinOptions(crop="frame", reference_windows=True))
    track = encoder.extract(fakes.clip(video, 10.0))
    assert track.values.shape == (49, 96)
    assert track.valid.all()
    assert float(np.abs(np.diff(track.times_s) - 0.2).max()) < 0.02
