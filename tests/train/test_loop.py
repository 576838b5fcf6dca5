"""The loop: deterministic, exactly resumable, learning, and never touching the frozen model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.errors import ExpotionError
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry
from expotion.recipe.schema import ContextSwap, LearningRate, Train
from expotion.train.checkpoints import CheckpointFolder
from expotion.train.examples import Examples
from expotion.train.loop import Loop, SteeredMusic
from expotion.train.objective import SteeredLoss
from expotion.train.world import World

N_FRAMES = 24
GEOMETRY = LMGeometry(width=16, n_layers=2, n_heads=2, ffn_width=32, n_codebooks=4, card=8, text_width=6)
SETTINGS = Train(
    steps=6,
    batch_size=3,
    learning_rate=LearningRate(project=1e-2, gates=1e-1, other=1e-3),
    warmup_steps=1,
    weight_decay=0.01,
    clip_norm=1.0,
    context_swap=ContextSwap(prob=0.8, min_frames=3, max_frames=10),
    condition_dropout={"face": 0.2},
    text_dropout=0.2,
    checkpoint_every_steps=2,
    validate_every_steps=3,
)


def changed(settings: Train, **changes: Any) -> Train:
    """The settings with changes."""
    return settings.model_copy(update=changes)


def frozen_lm() -> MusicGenLM:
    torch.manual_seed(0)
    lm = MusicGenLM(GEOMETRY)
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return lm


def fresh_adaptor() -> Adaptor:
    modalities = (Modality("face", d_in=3, rank=2), Modality("motion", d_in=2, rank=2))
    return Adaptor(AdaptorConfig(modalities, width=16, n_lm_layers=2, n_adapted=2), seed=1)


def make_examples(n: int = 7, seed: int = 0) -> Examples:
    """Clips whose codes follow the motion control: 3 where it is positive, else 2."""
    generator = torch.Generator().manual_seed(seed)
    motion = torch.randn(n, 1, 2, generator=generator).repeat(1, N_FRAMES + 1, 1)
    codes = (2 + (motion[:, :N_FRAMES, 0] > 0).long())[:, None, :].repeat(1, 4, 1)
    return Examples(
        codes=codes,
        n_frames=torch.full((n,), N_FRAMES),
        text=torch.randn(n, 3, 6, generator=generator),
        text_mask=torch.ones(n, 3, dtype=torch.bool),
        controls={"face": torch.randn(n, N_FRAMES + 1, 3, generator=generator), "motion": motion},
        valid={name: torch.ones(n, N_FRAMES + 1, dtype=torch.bool) for name in ("face", "motion")},
    )


def make_run(settings: Train = SETTINGS, folder: Path | None = None, trace: str = "t", **more: Any) -> Loop:
    keeper = None if folder is None else CheckpointFolder(folder)
    return Loop(
        SteeredMusic(frozen_lm(), fresh_adaptor(), make_examples(), settings, 3),
        settings,
        keeper=keeper,
        trace=trace,
        **more,
    )


def run_to_end(run: Loop) -> dict[str, torch.Tensor]:
    for _ in run.run():
        pass
    return {name: tensor.clone() for name, tensor in run.finish().state_dict().items()}


def test_same_seed_same_weights() -> None:
    first, second = (run_to_end(make_run()) for _ in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_resumed_run_is_the_uninterrupted_run(tmp_path: Path, ema: float | None) -> None:
    settings = changed(SETTINGS, ema=ema)
    whole = run_to_end(make_run(settings))

    broken = make_run(settings, tmp_path)
    steps = broken.run()
    for _ in range(5):
        next(steps)
    steps.close()  # killed after step 5; the last checkpoint is of step 4

    resumed = make_run(settings, tmp_path)
    assert resumed.resume()
    assert resumed.step_number == 4
    continued = run_to_end(resumed)
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    assert [record["step"] for record in resumed.records] == list(range(6))


def test_interruption_keeps_the_last_whole_step(tmp_path: Path) -> None:
    run = make_run(folder=tmp_path)

    steps = run.run()
    for _ in range(3):
        next(steps)
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt)
    again = make_run(folder=tmp_path)
    assert again.resume()
    assert again.step_number == 3


def test_checkpoints_of_other_settings_are_not_taken_up(tmp_path: Path) -> None:
    run_to_end(make_run(folder=tmp_path, trace="a"))
    other = make_run(folder=tmp_path, trace="b")
    assert not other.resume()
    assert "other settings" in other.notes[0]
    # The old ones have higher numbers; left there, they would be taken for newer than the new ones.
    steps = other.run()
    for _ in range(3):
        next(steps)
    again = make_run(folder=tmp_path, trace="b")
    assert again.resume()
    assert again.step_number == 2


def test_an_interruption_inside_a_step_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_to_end(make_run())
    run = make_run(folder=tmp_path)

    def interrupt() -> None:
        if run.step_number == 3:
            raise KeyboardInterrupt  # the weights have moved, the step is not counted yet

    monkeypatch.setattr(run, "_update_average", interrupt)
    with pytest.raises(KeyboardInterrupt):
        for _ in run.run():
            pass
    again = make_run(folder=tmp_path)
    assert again.resume()
    assert again.step_number == 2
    continued = run_to_end(again)
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


def test_only_the_adaptor_learns() -> None:
    lm = frozen_lm()
    before = {name: tensor.clone() for name, tensor in lm.state_dict().items()}
    run = Loop(SteeredMusic(lm, fresh_adaptor(), make_examples(), SETTINGS, 3), SETTINGS)
    run_to_end(run)
    assert all(torch.equal(before[name], tensor) for name, tensor in lm.state_dict().items())
    assert all(parameter.grad is None for parameter in lm.parameters())


@pytest.mark.slow
def test_the_control_is_learned() -> None:
    settings = changed(
        SETTINGS,
        steps=120,
        batch_size=8,
        learning_rate=LearningRate(project=3e-2, gates=1e-1, other=1e-2),
        condition_dropout={},
    )
    run = Loop(
        SteeredMusic(frozen_lm(), fresh_adaptor(), make_examples(32), settings, 3, make_examples(8, seed=9)),
        settings,
    )
    run_to_end(run)
    last = [record for record in run.records if "control_gain" in record][-1]
    assert last["validation_loss"] < 0.9 * last["baseline_loss"]
    assert last["control_gain"] > 0.05


def test_validation_scores_a_clips_own_codes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    music = SteeredMusic(frozen_lm(), fresh_adaptor(), make_examples(), SETTINGS, 3, make_examples(2, seed=9))
    foreign = torch.zeros(2, N_FRAMES, dtype=torch.bool)
    foreign[0, 5:9] = True
    monkeypatch.setattr("expotion.train.loop.draw_foreign", lambda *_: foreign)
    asked: list[torch.Tensor] = []
    of = SteeredLoss.of

    def listened(*given: Any, **named: Any) -> torch.Tensor:
        asked.append(given[3])
        return of(*given, **named)

    monkeypatch.setattr(SteeredLoss, "of", listened)
    assert music.validate(World())["validation_loss"] > 0
    assert len(asked) == 3 and all(torch.equal(scored, ~foreign) for scored in asked)


def test_no_clips_is_an_error() -> None:
    empty = make_examples().take(torch.zeros(0, dtype=torch.int64).numpy())
    with pytest.raises(ExpotionError, match="at least one training clip"):
        Loop(SteeredMusic(frozen_lm(), fresh_adaptor(), empty, SETTINGS, 3), SETTINGS)


def test_exploding_training_says_what_to_do() -> None:
    adaptor = fresh_adaptor()
    with torch.no_grad():
        adaptor.gates.fill_(float("inf"))
    with pytest.raises(ExpotionError, match=r"finite gradients.*lower train\.learning_rate"):
        Loop(SteeredMusic(frozen_lm(), adaptor, make_examples(), SETTINGS, 3), SETTINGS).step()


def test_a_batch_in_which_no_control_has_anything_to_say_is_passed_over() -> None:
    given = make_examples(4)
    for valid in given.valid.values():
        valid[:] = False
    adaptor = fresh_adaptor()
    before = {name: tensor.clone() for name, tensor in adaptor.named_parameters()}
    run = Loop(
        SteeredMusic(frozen_lm(), adaptor, given, changed(SETTINGS, weight_decay=0.0), 3),
        changed(SETTINGS, weight_decay=0.0),
    )
    run_to_end(run)
    assert [record["gradient_norm"] for record in run.records] == [0.0] * SETTINGS.steps
    assert all(torch.equal(before[name], tensor) for name, tensor in adaptor.named_parameters())
