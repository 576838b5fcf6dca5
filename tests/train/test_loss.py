"""The fast loss against the one written out in float64, and what its mask means."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from expotion.adaptor.project import TrackInput
from expotion.errors import ExpotionError
from expotion.train import objective as loss
from expotion.train.draw import draw_step

literal = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("literal.py"))))
trained = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("worker.py"))))


def heads_of(lm):
    geometry = lm.geometry
    return lm.output_heads.weight.detach().double().numpy().reshape(geometry.n_codebooks, geometry.card, -1)


@pytest.mark.parametrize("chunk", [7, 4096])
def test_value_and_gradient_are_those_of_the_literal_form(small_lm, monkeypatch, chunk):
    monkeypatch.setattr(loss, "CHUNK_ROWS", chunk)
    torch.manual_seed(0)
    codes = torch.randint(0, 20, (3, 4, 11))
    mask = torch.rand(3, 4, 11) > 0.3
    hidden = torch.randn(3, 12, 32, requires_grad=True)
    value, slope, _ = literal.loss(
        hidden.detach().double().numpy(), heads_of(small_lm), codes.numpy(), mask.numpy()
    )
    fast = loss.codebook_loss(small_lm, hidden, codes, mask)
    assert fast.item() == pytest.approx(value, rel=1e-6)
    (ours,) = torch.autograd.grad(fast * 2.5, hidden)
    assert (ours.double() - 2.5 * torch.from_numpy(slope)).abs().max() < 1e-6 * abs(slope).max()


@pytest.mark.parametrize(("probability", "dropped"), [(0.0, 0.0), (0.2, 0.2), (1.0, 1.0)])
def test_text_is_dropped_as_often_as_is_said(probability, dropped):
    settings = trained.changed(trained.SETTINGS, batch_size=500, accumulate=1, text_dropout=probability)
    run = trained.make_run(settings)
    with_text = draw_step(run.objective.examples, run.objective.loss.names, settings, 3, 0).with_text
    assert float((~with_text).float().mean()) == pytest.approx(dropped, abs=0.06)


def test_a_step_minimises_the_literal_loss():
    """Draw, swapped context, ends, delay, mask and divisor together, from the fast model's hidden states."""
    settings = trained.changed(trained.SETTINGS, batch_size=6, accumulate=1, text_dropout=0.5)
    run = trained.make_run(settings)
    torch.nn.init.constant_(run.trained.gates, 0.5)
    examples, lm = run.objective.examples, run.objective.lm
    draw = draw_step(examples, run.objective.loss.names, settings, 3, 0)
    batch, donors = examples.take(draw.index), examples.take(draw.donors)
    foreign, lengths = draw.foreign.numpy(), batch.n_frames.numpy()
    assert foreign.any() and not draw.with_text.all() and len(set(lengths)) > 1

    read = literal.history(batch.codes.numpy(), lengths, donors.codes.numpy(), donors.n_frames.numpy(), foreign, 8)
    inputs = {
        name: TrackInput(batch.controls[name], batch.valid[name], draw.keep[name])
        for name in run.objective.loss.names
    }
    source = lm.project_text(batch.text, batch.text_mask & draw.with_text[:, None])
    with torch.no_grad():
        hidden = lm.hidden(torch.from_numpy(read), source, run.trained(lm, inputs)).double().numpy()
    counts = literal.own_and_real(lengths, foreign, 4)
    value, _, n = literal.loss(hidden, heads_of(lm), batch.codes.numpy(), counts)

    assert draw.n_scored(examples, lm.geometry.delays) == n
    assert run.step()["loss"] == pytest.approx(value, rel=1e-5)


def test_a_mask_of_frames_is_one_of_all_their_codes(small_lm):
    codes = torch.randint(0, 20, (2, 4, 9))
    hidden = torch.randn(2, 10, 32)
    frames = torch.rand(2, 9) > 0.4
    by_frame = loss.codebook_loss(small_lm, hidden, codes, frames[:, None])
    by_cell = loss.codebook_loss(small_lm, hidden, codes, frames[:, None].expand(-1, 4, -1))
    assert torch.equal(by_frame, by_cell)
    assert torch.equal(
        loss.codebook_loss(small_lm, hidden, codes),
        loss.codebook_loss(small_lm, hidden, codes, torch.ones(4, 9, dtype=torch.bool)),
    )


def test_masked_codes_do_not_matter(small_lm):
    codes = torch.randint(0, 20, (2, 4, 9))
    hidden = torch.randn(2, 10, 32)
    mask = torch.ones(2, 4, 9, dtype=torch.bool)
    mask[:, :, :4] = False
    before = loss.codebook_loss(small_lm, hidden, codes, mask)
    codes[:, :, :4] = 0
    assert torch.equal(loss.codebook_loss(small_lm, hidden, codes, mask), before)


def test_nothing_scored_is_zero_not_nan(small_lm):
    empty = torch.zeros(4, 9, dtype=torch.bool)
    hidden = torch.randn(1, 10, 32, requires_grad=True)
    value = loss.codebook_loss(small_lm, hidden, torch.zeros(1, 4, 9, dtype=torch.int64), empty)
    assert value.item() == 0.0


def test_refuses_a_mask_of_another_length(small_lm):
    with pytest.raises(ExpotionError, match="mask"):
        loss.codebook_loss(
            small_lm,
            torch.randn(1, 10, 32),
            torch.zeros(1, 4, 9, dtype=torch.int64),
            torch.ones(4, 8, dtype=torch.bool),
        )


def test_a_clip_shorter_than_the_longest_delay_scores_its_first_codebooks_alone(small_lm):
    """Two frames: both of codebook 0, the first of codebook 1, none of those that are later."""
    torch.manual_seed(0)
    codes = torch.randint(0, 20, (2, 4, 2))
    hidden = torch.randn(2, 3, 32)
    ones = torch.ones(2, 4, 2, dtype=torch.bool)
    value, _, n = literal.loss(hidden.double().numpy(), heads_of(small_lm), codes.numpy(), ones.numpy())
    assert n == loss.count_scored(ones[:, 0], (0, 1, 2, 3)) == 2 * (2 + 1)
    assert loss.codebook_loss(small_lm, hidden, codes).item() == pytest.approx(value, rel=1e-6)
