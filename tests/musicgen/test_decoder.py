from __future__ import annotations

import torch

from expotion.musicgen import delay
from expotion.musicgen.decoder import sinusoid


def test_training_logits_match_audiocraft(golden, golden_lm):
    data = golden("musicgen_lm")
    lm = golden_lm(data)
    sequence = delay.build(data["in/codes"], lm.geometry.special_token, lm.geometry.delays, valid_only=True)
    logits, mask = delay.revert_logits(
        lm(sequence, data["in/cross_source"]), data.about["config"]["T"], lm.geometry.delays
    )
    assert torch.equal(mask.expand(2, -1, -1), data["out/mask"])
    assert torch.equal(logits.isnan(), data["out/logits"].isnan())
    assert (logits - data["out/logits"]).nan_to_num().abs().max() < 1e-4


def test_raw_logits_match_audiocraft(golden, golden_lm):
    data = golden("musicgen_lm")
    logits = golden_lm(data)(data["in/raw_sequence"], data["in/cross_source"])
    assert (logits - data["out/raw_logits"]).abs().max() < 1e-4


def test_equals_transformers(musicgen_folder):
    from transformers import MusicgenForConditionalGeneration

    from expotion.musicgen.load import load_backbone

    theirs = MusicgenForConditionalGeneration.from_pretrained(musicgen_folder).eval()
    lm = load_backbone(musicgen_folder, parts={"lm"}).lm
    tokens = torch.randint(0, 17, (2, 4, 9))
    source = torch.randn(2, 5, 32)
    with torch.no_grad():
        wanted = theirs.decoder(
            input_ids=tokens.reshape(8, 9), encoder_hidden_states=source, use_cache=False
        ).logits  # [B K, S, V]
    assert (lm(tokens, source) - wanted.view(2, 4, 9, 16)).abs().max() < 1e-5


def test_bfloat16_stays_close(small_lm):
    tokens = torch.randint(0, 21, (2, 4, 12))
    source = torch.randn(2, 4, 32)
    exact = small_lm(tokens, source)
    rounded = small_lm.to(torch.bfloat16)(tokens, source).float()
    assert (rounded - exact).norm() / exact.norm() < 0.03


def test_the_future_does_not_reach_the_past(small_lm):
    tokens = torch.randint(0, 21, (1, 4, 8))
    source = torch.randn(1, 3, 32)
    before = small_lm(tokens, source)
    tokens[:, :, 5:] = (tokens[:, :, 5:] + 1) % 21
    after = small_lm(tokens, source)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert not torch.allclose(before[:, :, 5:], after[:, :, 5:])


def test_a_source_mask_makes_padding_disappear(small_lm):
    tokens = torch.randint(0, 21, (1, 4, 6))
    short = torch.randn(1, 3, 32)
    padded = torch.cat([short, torch.zeros(1, 2, 32)], dim=1)
    mask = torch.tensor([[True, True, True, False, False]])
    alone = small_lm(tokens, short)
    assert (small_lm(tokens, padded, source_mask=mask) - alone).abs().max() < 1e-5
    assert (small_lm(tokens, padded) - alone).abs().max() > 1e-3  # as audiocraft: padding counts


def test_padded_and_null_text_are_exactly_zero(small_lm):
    hidden = torch.randn(2, 3, 12)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    source = small_lm.project_text(hidden, mask)
    assert bool((source[0, 2] == 0).all()) and bool((source[1] == 0).all())
    assert not source[1:].any() and source[0].any()
    assert bool((source[0, :2] != 0).any())


def test_positions_by_hand():
    table = sinusoid(3, 2, 4)  # m = 2: frequencies 1 and 1/10000
    angles = torch.tensor([[3.0, 3.0e-4], [4.0, 4.0e-4]])
    assert torch.allclose(table, torch.cat([angles.cos(), angles.sin()], dim=1))


def test_weights_never_ask_for_a_gradient(small_lm):
    assert not any(parameter.requires_grad for parameter in small_lm.parameters())
    assert not small_lm(torch.zeros(1, 4, 2, dtype=torch.int64), torch.zeros(1, 1, 32)).requires_grad
