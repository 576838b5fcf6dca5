from __future__ import annotations

import pytest
import torch

from expotion.musicgen import delay


def test_matches_audiocraft_exactly(golden):
    data = golden("delay_pattern")
    for case in data.about["cases"]:
        n_frames, delays, special = case["T"], case["delays"], case["special_token"]
        name = f"case{case['case']}"
        codes = data[f"{name}/codes"]
        for layout, valid_only in (("full", False), ("valid", True)):
            at = f"{name}/{layout}"
            sequence = delay.build(codes, special, delays, valid_only=valid_only)
            assert torch.equal(sequence, data[f"{at}_sequence"])
            cells = torch.arange(len(delays) * n_frames).view(1, len(delays), n_frames)
            indexes = delay.build(cells, cells.numel(), delays, valid_only=valid_only)[0]
            assert torch.equal(indexes, data[f"{at}_indexes"])
            assert torch.equal(indexes < cells.numel(), data[f"{at}_mask"])
            reverted, mask = delay.revert(sequence, n_frames, -1, delays)
            assert torch.equal(reverted, data[f"{at}_revert"])
            assert torch.equal(mask, data[f"{at}_revert_mask"])
            steps = torch.arange(indexes.numel()).view(1, *indexes.shape)
            back = delay.revert(steps, n_frames, steps.numel(), delays)[0][0]
            assert torch.equal(back, data[f"{at}_revert_indexes"])
            logits = data[f"{at}_logits_in"].permute(0, 2, 3, 1)  # [B, V, K, S] in the file
            back, logits_mask = delay.revert_logits(logits, n_frames, delays)
            wanted = data[f"{at}_logits_revert"].permute(0, 2, 3, 1)
            assert torch.equal(logits_mask, data[f"{at}_logits_revert_mask"])
            assert torch.equal(back.nan_to_num(99.0), wanted.nan_to_num(99.0))
        assert torch.equal(torch.arange(n_frames) + 1 + min(delays), data[f"{name}/first_step"])


@pytest.mark.parametrize("delays", [(0, 1, 2, 3), (0, 0, 0, 0), (2, 0, 1, 5)])
@pytest.mark.parametrize("n_frames", [1, 2, 9])
def test_full_layout_comes_back(delays, n_frames):
    codes = torch.randint(0, 7, (2, 4, n_frames))
    sequence = delay.build(codes, 7, delays, valid_only=False)
    assert torch.equal(delay.revert(sequence, n_frames, 7, delays)[0], codes)
    assert sequence.shape[2] == n_frames + max(delays) + 1
    assert bool((sequence[:, :, 0] == 7).all())


def test_training_scores_t_minus_k_frames():
    assert delay.target_mask(10, (0, 1, 2, 3)).sum(dim=1).tolist() == [10, 9, 8, 7]
