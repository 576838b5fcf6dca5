"""Training on stretches of clips (`train.stretch_frames`): drawn anew each step, at their own positions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from expotion.errors import RecipeError
from expotion.recipe.load import load_recipe
from expotion.train.draw import draw_step
from expotion.train.loop import Loop

from .test_loop import N_FRAMES, SETTINGS, changed, make_examples, make_run, run_to_end

LENGTH = 16
STRETCHED = changed(SETTINGS, stretch_frames=LENGTH)
RECIPES = Path(__file__).parents[2] / "recipes"


def a_run() -> Loop:
    """Gates open, so that the controls count."""
    run = make_run(STRETCHED)
    run.trained.gates.data.fill_(0.5)
    return run


def test_a_step_draws_a_place_of_its_own_and_repeats_it() -> None:
    examples = make_examples()
    draws = [draw_step(examples, ["face", "motion"], STRETCHED, 3, step) for step in range(40)]
    assert {draw.start for draw in draws} == set(range(N_FRAMES - LENGTH + 1))
    assert all(draw.foreign.shape[1] == LENGTH for draw in draws)
    assert draw_step(examples, ["face", "motion"], STRETCHED, 3, 7).start == draws[7].start


def test_whole_clips_are_drawn_as_they_always_were() -> None:
    examples = make_examples()
    whole = draw_step(examples, ["face"], SETTINGS, 3, 1)
    longer = draw_step(examples, ["face"], changed(SETTINGS, stretch_frames=100), 3, 1)
    assert whole.start == longer.start == 0
    assert torch.equal(whole.foreign, longer.foreign) and whole.foreign.shape[1] == N_FRAMES


def test_what_is_behind_a_clips_end_is_not_scored() -> None:
    examples = replace(make_examples(), n_frames=torch.full((7,), 10))
    draw = replace(draw_step(examples, ["face"], STRETCHED, 3, 0), start=4, foreign=torch.zeros(3, LENGTH).bool())
    assert draw.scored(examples).sum(dim=1).tolist() == [6, 6, 6]


def test_the_loss_is_that_of_the_stretch_alone_at_its_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run()
    draw = replace(draw_step(run.objective.examples, run.objective.loss.names, STRETCHED, 3, 0), start=5)
    got = float(run.objective.part_loss((draw, 100), 0).detach())

    every, at = run.objective.examples, slice(5, 5 + LENGTH)
    own, donors = (every.codes[index][..., at] for index in (draw.index, draw.donors))
    cut = replace(
        every.take(draw.index),
        codes=own,
        n_frames=torch.full((3,), LENGTH),
        controls={name: track[draw.index, 5 : 6 + LENGTH] for name, track in every.controls.items()},
        valid={name: valid[draw.index, 5 : 6 + LENGTH] for name, valid in every.valid.items()},
    )
    history = torch.where(draw.foreign[:, None], donors, own)
    table = run.objective.lm.position_table
    there = (cut, history, ~draw.foreign, draw.keep, draw.with_text)
    at_the_start = run.objective.loss.of(*there, n_scored=100).detach()
    monkeypatch.setattr(run.objective.lm, "position_table", lambda first, n: table(first + (5 if n else 0), n))
    assert float(run.objective.loss.of(*there, n_scored=100).detach()) == pytest.approx(got, rel=1e-6)
    assert float(at_the_start) != pytest.approx(got, rel=1e-6)


def test_a_resumed_run_goes_on_with_the_same_stretches(tmp_path: Path) -> None:
    whole = run_to_end(make_run(STRETCHED))
    steps = make_run(STRETCHED, tmp_path).run()
    for _ in range(5):
        next(steps)
    steps.close()
    resumed = make_run(STRETCHED, tmp_path)
    assert resumed.resume()
    continued = run_to_end(resumed)
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


def test_a_recipe_without_stretches_keeps_its_hash_and_learned_rows_take_none() -> None:
    def recipe(*sets: str) -> str:
        return load_recipe(RECIPES / "face.yaml", registry=None, sets=list(sets)).content_hash

    assert recipe() == recipe("train.stretch_frames=null") != recipe("train.stretch_frames=250")
    with pytest.raises(RecipeError, match=r"train\.stretch_frames only where nothing is learned per row"):
        recipe("train.stretch_frames=250", "adaptor.positions=table")
