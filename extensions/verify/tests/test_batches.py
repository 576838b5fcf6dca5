"""Golden files of other batches: rows stacked, doubled, in another order; and cut in time where that is known.

What the reference gave for a row does not depend on its neighbours, and what a causal model gave for a step does
not depend on later ones: so the numbers of these files are known without the reference.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from expotion_verify.golden import Golden
from expotion_verify.run import check_golden

MEANS_OVER_ROWS = {"expotion_adaptor", "expotion_maskvariant", "expotion_train"}
"""A loss and its gradient stay known where every row comes equally often."""
ROW_AXES = {
    "delay_pattern": {r"case\d+/(codes|(full|valid)_(sequence|revert|logits_in|logits_revert))": 0},
    "musicgen_lm": {r"gen/.*_cfg_logits": 1, r"(in|out|gen)/.*": 0},
    "encodec": {r"hf/codes": 1, r"(in|out|hf)/.*": 0},
    "expotion_adaptor": {r"gen/.*_cfg_logits": 1, r"out/(loss|grad_.*)": None, r"(in|out|gen)/.*": 0},
    "expotion_maskvariant": {r"gen/.*_cfg_logits": 1, r"out/(loss|grad_.*)": None, r"(in|out|gen)/.*": 0},
    "expotion_train": {r"in/text_.*": 0, r"in/.*": 1},
    "expotion_data": {r"(in|out)/crop_long.*": 0},
    "marlin": {r"(in|out)/.*": 0},
    "marlin_postable": {r"rows|table\d+": 0},
    "synchformer": {r"in/segments_u8|out/features": 1, r"out/tokens_before_norm": 0},
    "raft_small": {r"(in|out)/.*": 0},
    "raft_large": {r"(in|out)/.*": 0},
}
"""Where each array of a kind has its rows, by the first pattern that its name matches; others stay as they are."""
WITHOUT_ROWS = {"lr_schedule"}


def row_axis(kind: str, name: str) -> int | None:
    return next((axis for pattern, axis in ROW_AXES[kind].items() if re.fullmatch(pattern, name)), None)


def put(golden: Golden, arrays: dict[str, np.ndarray]) -> Golden:
    """The file with these arrays in place of its own, listed as they are."""
    golden.arrays.update(arrays)
    listing = {name: {"shape": list(value.shape), "dtype": str(value.dtype)} for name, value in arrays.items()}
    golden.about["arrays"].update(listing)
    return golden


def failures(golden: Golden, registry) -> list[str]:
    check = registry.offers("golden check")[golden.path.name.removesuffix("_dev")].spec.build()
    return [f"{found.quantity}: {found.note}" for found in check_golden(golden, check) if not found.passed]


def test_every_kind_is_here(kinds):
    assert ROW_AXES.keys() | WITHOUT_ROWS == set(kinds)


@pytest.mark.parametrize("kind", ROW_AXES)
def test_rows_doubled_and_in_another_order(kind, read, registry):
    golden = read(kind)
    axes = {name: axis for name in golden.names if (axis := row_axis(kind, name)) is not None}
    assert axes, kind
    changed = {}
    for name, axis in axes.items():
        n_rows = golden.arrays[name].shape[axis]
        backward = np.arange(n_rows)[::-1]
        twice = np.concatenate((backward, backward))
        order = twice if kind in MEANS_OVER_ROWS or n_rows == 1 else np.append(backward, 0)
        changed[name] = np.take(golden.arrays[name], order, axis)
    assert failures(put(golden, changed), registry) == []


@pytest.mark.parametrize("kind", sorted(ROW_AXES.keys() - MEANS_OVER_ROWS - {"expotion_data"}))
def test_one_row_alone(kind, read, registry):
    golden = read(kind)
    last = {
        name: np.take(golden.arrays[name], [-1], axis)
        for name in golden.names
        if (axis := row_axis(kind, name)) is not None
    }
    assert failures(put(golden, last), registry) == []


def test_clips_of_the_loader_in_another_order(read, registry):
    golden = read("expotion_data")
    moved = {}
    for name in golden.names:
        if (found := re.fullmatch(r"((?:in|out)/(?:feature|features|inference|rvq|mix)_)(\d)", name)) is not None:
            first, second = golden.arrays[name], (int(found[2]) + 1) % 3
            moved[f"{found[1]}{second}"] = moved[f"{found[1]}{second + 3}"] = first
    assert len(moved) == 30
    assert failures(put(golden, moved), registry) == []


def test_videos_of_segments_stacked(read, registry):
    golden = read("synchformer")
    names = ("in/segments_u8", "out/features", "out/tokens_before_norm")
    assert (
        failures(put(golden, {name: np.concatenate([golden.arrays[name]] * 2) for name in names}), registry) == []
    )


@pytest.mark.parametrize("n_frames", [1, 3, 11])
def test_a_causal_model_cut_in_time(n_frames, read, registry):
    """A frame of codebook k is scored where its prediction, k steps later, is still in the sequence."""
    golden = read("musicgen_lm")
    scored = np.add.outer(np.arange(4), np.arange(n_frames)) < n_frames
    logits = np.where(scored[None, :, :, None], golden.arrays["out/logits"][:, :, :n_frames], np.nan)
    cut = {
        "in/codes": golden.arrays["in/codes"][:, :, :n_frames],
        "out/logits": logits.astype(np.float32),
        "out/mask": np.broadcast_to(scored, (2, 4, n_frames)),
        "in/raw_sequence": golden.arrays["in/raw_sequence"][:, :, :n_frames],
        "out/raw_logits": golden.arrays["out/raw_logits"][:, :, :n_frames],
    }
    assert failures(put(golden, cut), registry) == []
