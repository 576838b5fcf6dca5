from __future__ import annotations

import pytest
import torch

from expotion.errors import ExpotionError
from expotion_verify import data as released_data


def test_stretch_pins_both_ends():
    rows = released_data.stretch(torch.tensor([[0.0], [3.0], [9.0]]), 5)[:, 0]
    assert rows.tolist() == [0.0, 1.5, 3.0, 6.0, 9.0]
    with pytest.raises(ExpotionError, match="n > 0"):
        released_data.stretch(torch.zeros(0, 3), 5)


def test_features_end_in_a_row_of_zeros_and_pictures_in_one_of_ones():
    rows = released_data.motion_features(torch.ones(4, 2), 6)
    assert rows.shape == (7, 2) and rows[-1].tolist() == [0.0, 0.0] and bool((rows[:-1] == 1).all())
    rows = released_data.image_features(torch.full((1, 3, 4, 2, 2), 5.0), 6)
    assert rows.shape == (7, 3) and rows[-1].tolist() == [1.0] * 3 and bool((rows[:-1] == 5).all())


def test_codes_are_padded_with_code_zero_or_cut():
    codes = torch.tensor([[4, 5, 6]])
    assert released_data.fit_codes(codes, 5).tolist() == [[4, 5, 6, 0, 0]]
    assert released_data.fit_codes(codes, 2).tolist() == [[4, 5]]


def test_inference_offset_counts_only_for_long_tracks():
    track = torch.arange(30.0)[None, :, None]
    crop = released_data.inference_crop
    assert crop(track, 2, rate_hz=5, duration_s=4)[0, :, 0].tolist() == list(range(10, 30))
    assert crop(track[:, :31], 0, rate_hz=5, duration_s=4)[0, -1, 0] == 20
    short = crop(track[:, :20], 2, rate_hz=5, duration_s=4)[0, :, 0]
    assert short.tolist() == [*range(20), 0]


def test_captions_lose_markers_and_newlines():
    assert released_data.clean_caption("<s> one.\n\ntwo </s>") == "one.two"


def test_masks_depend_on_rank_and_never_drop_at_zero():
    first, again, other = (released_data.ConditionMasks(rank) for rank in (0, 0, 1))
    draws = [[masks.by_track() for _ in range(40)] for masks in (first, again, other)]
    assert draws[0] == draws[1] != draws[2]
    assert set(draws[0]) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    masks = released_data.ConditionMasks()
    assert {masks.by_probability(0.0, 0.0) for _ in range(20)} == {(1, 1)}
    assert {masks.by_probability(1.1, 0.0) for _ in range(20)} == {(0, 0)}
    assert released_data.ConditionMasks.spread((0, 1), 3).tolist() == [[0, 0, 0], [1, 1, 1]]
