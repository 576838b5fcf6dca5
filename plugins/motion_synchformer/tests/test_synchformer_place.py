"""Where the tiny encoder looks, and how cameras change pictures and flow alike in training."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from expotion.errors import WeightsError
from expotion_motion_synchformer import SPEC, SynchformerOptions
from expotion_motion_synchformer.encoder import SynchformerEncoder, seen
from expotion_motion_synchformer.options import GEOMETRIES
from expotion_motion_synchformer.place import SMALLEST, Square, look_at, moving_square, square_at

ROOT = Path(__file__).parents[3]
SIDE = GEOMETRIES["tiny_moving"].frame_px


def swinging(x, y, reach, *, noise=0.0, shake=0.0, frames=32):
    """A disc that swings up and down about (x, y) by `reach`, parts of the side, before a textured wall."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.uniform(60, 190, (SIDE, SIDE, 3)).astype(np.float32), (0, 0), 3)
    out = []
    for i in range(frames):
        picture = wall.copy()
        at = (round(SIDE * x), round(SIDE * (y + reach * np.sin(2 * np.pi * i / 16))))
        cv2.circle(picture, at, max(1, round(0.3 * SIDE * reach)), (230, 210, 190), -1)
        if shake:
            move = np.array([[1, 0, shake * np.sin(1.9 * i)], [0, 1, shake * np.cos(2.3 * i)]])
            picture = cv2.warpAffine(picture, move, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        out.append(picture + noise * rng.standard_normal(picture.shape))
    return np.clip(np.stack(out), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.3, 0.6), (0.7, 0.35)])
@pytest.mark.parametrize("more", [{}, {"noise": 4.0}, {"shake": 0.7}])
def test_what_moves_is_looked_at(x, y, more):
    square = moving_square(swinging(x, y, 0.15, **more))
    assert abs((square.left + square.side / 2) / SIDE - x) < 0.06
    assert abs((square.top + square.side / 2) / SIDE - y) < 0.06
    assert 0.3 < square.side / SIDE < 0.75


def test_a_square_is_as_large_as_the_movement():
    small, large = (moving_square(swinging(0.5, 0.5, reach)).side for reach in (0.14, 0.28))
    assert 1.6 < large / small < 2.3
    assert moving_square(swinging(0.5, 0.5, 0.03)).side == round(SMALLEST * SIDE)


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_where_nothing_moves_all_is_seen(noise):
    rng = np.random.default_rng(1)
    still = np.clip(120 + noise * rng.standard_normal((32, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    assert moving_square(still).side > 0.95 * SIDE


def test_squares_lie_in_the_picture():
    assert square_at(0.5, 0.5, 1.0, 96) == Square(0, 0, 96)
    assert square_at(0.0, 1.0, 0.5, 96) == Square(0, 48, 48)
    assert square_at(0.5, 0.25, 0.25, 96) == Square(36, 12, 24)
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8)[None, None, :, None], (2, 96, 96, 3))
    looked = look_at(np.ascontiguousarray(ramp), Square(24, 12, 48), 48)
    assert looked.shape == (2, 48, 48, 3)
    np.testing.assert_array_equal(looked[0, 0, :, 0], np.arange(24, 72))


def test_segments_are_looked_at_one_by_one():
    one, other = swinging(0.3, 0.5, 0.12), swinging(0.7, 0.4, 0.2)
    together = seen(torch.from_numpy(np.stack([one, other])), GEOMETRIES["tiny_moving"])
    alone = seen(torch.from_numpy(other[None]), GEOMETRIES["tiny_moving"])
    assert together.shape == (2, 32, 48, 48, 3)
    assert bool((together[1] == alone[0]).all())
    whole = torch.zeros((1, 16, 224, 224, 3), dtype=torch.uint8)
    assert seen(whole, GEOMETRIES["base"]) is whole


@pytest.fixture
def framing(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "plugins" / "motion_synchformer" / "train"))
    return importlib.import_module("framing")


def test_flow_goes_with_the_pictures(framing):
    """A wall that a camera shakes, turns and enlarges moves as `reflow` says of still cells."""
    rng = np.random.default_rng(3)
    wall = cv2.GaussianBlur(rng.uniform(0, 255, (96, 96, 3)).astype(np.float32), (0, 0), 4)
    wall = np.broadcast_to(cv2.normalize(wall, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8), (32, 96, 96, 3))
    shot = framing.draw_shot(5)
    shot = framing.replace(shot, zoom=1.3, shake=0.02, roll=0.1, exposure=0.0, flicker=0.0)
    camera = framing.framing(shot, np.arange(32) / 25.0, 96)
    square = Square(20, 24, 56)
    pictures = look_at(framing.reframe(np.ascontiguousarray(wall), camera), square, 48)
    told = framing.reflow(np.zeros((16, 2, 16, 16), np.float32), camera, square, 96, 48)
    # A thing that moves by (0.5, -1) in the rendered picture moves turned and enlarged on top of that.
    moving = np.broadcast_to(np.array([0.5, -1.0], np.float32)[None, :, None, None], (16, 2, 16, 16))
    more = framing.reflow(np.ascontiguousarray(moving), camera, square, 96, 48) - told
    wanted = camera.matrices[0::2, :, :2] @ np.array([0.5, -1.0]) * 48 / 56
    np.testing.assert_allclose(more.mean((2, 3)), wanted, atol=1e-4)
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = np.stack([method.calc(a, b, None) for a, b in zip(grey[0::2], grey[1::2], strict=True)])
    inner = found[:, 12:36, 12:36].mean((1, 2))
    assert np.abs(told).max() > 0.8
    assert np.sqrt(np.mean((inner - told[:, :, 4:12, 4:12].mean((2, 3))) ** 2)) < 0.25 * told.std()


@pytest.mark.slow
def test_beats_are_read_as_drawn_and_less_at_half_size():
    """`benchmarks/readout.py`, small. Weights that do transfer break the second bar: then it is raised."""
    spec = importlib.util.spec_from_file_location("readout", ROOT / "benchmarks" / "readout.py")
    readout = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(readout)
    sys.path[:] = before
    encoder = {"motion": SynchformerEncoder()}
    first = readout.FIRST_SEED + 900
    fitted = readout.examples(encoder, readout.conductor, range(first, first + 10), "as drawn")["motion"]
    f1 = {}
    for change in ("as drawn", "half size"):
        scored = readout.examples(encoder, readout.conductor, range(first + 10, first + 16), change)["motion"]
        f1[change] = readout.probe(fitted, scored).beat_f1
    assert f1["as drawn"] > 0.9 and f1["half size"] < 0.7, f1


def test_looking_at_what_moves_needs_weights_of_its_own():
    with pytest.raises(WeightsError, match="that plugins"):
        SynchformerEncoder(SynchformerOptions(geometry="tiny_moving"))
    seeded = SynchformerEncoder(SynchformerOptions(geometry="tiny_moving", weights="seeded"))
    assert seeded.geometry.frame_px == 96 and SPEC.weights(SynchformerOptions(geometry="tiny_moving")) == []
