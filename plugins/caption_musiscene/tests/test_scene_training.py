"""Training of the small captioner: the objective under core's guarantees, the task, the captioner that ships."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from expotion.contracts import Clip
from expotion.errors import ExpotionError, MediaError
from expotion.recipe.schema import Train
from expotion.testing import SyntheticClip, check_captioner
from expotion.train.loop import Loop
from expotion_caption_musiscene import SPEC, TASK, tales
from expotion_caption_musiscene.captioner import heard_of
from expotion_caption_musiscene.classes import KINDS, read
from expotion_caption_musiscene.heard import Heard, listen, listen_to, told_whole
from expotion_caption_musiscene.learn import SceneObjective, cut
from expotion_caption_musiscene.lexicon import VALUES
from expotion_caption_musiscene.task import other_wording, tell_all
from expotion_caption_musiscene.teller import WEIGHTS, certain, load


def made_up(n: int = 24, seed: int = 0) -> Heard:
    """Pieces that tell their classes: a level for each value in bands of their own."""
    rng = np.random.default_rng(seed)
    classes = [{kind: values[int(rng.integers(len(values)))] for kind, values in VALUES.items()} for _ in range(n)]
    mel = rng.normal(-4.0, 0.5, (n, 60, 64)).astype(np.float16)
    for i, one in enumerate(classes):
        for k, kind in enumerate(KINDS):
            mel[i, :, 12 * k + VALUES[kind].index(one[kind]) % 12] += 6.0
            mel[i, :, 60 + k] += VALUES[kind].index(one[kind]) // 12
    tones = rng.normal(-4.0, 0.5, (n, 20, 60)).astype(np.float16)
    traits = [{"mode": ("major", "minor")[i % 2], "lead": "piano"} for i in range(n)]
    return Heard(torch.from_numpy(mel), torch.from_numpy(tones), classes, traits, list(range(n)))


def settings(**changed: object) -> Train:
    given = {"steps": 4, "batch_size": 8, "learning_rate": 2e-3, "warmup_steps": 1, "checkpoint_every_steps": 100}
    return Train(**{**given, **changed})  # type: ignore[arg-type]


def test_the_parts_of_a_step_see_its_pieces_once_and_add_up_to_its_mean() -> None:
    heard = made_up()
    objective = SceneObjective(heard, settings(batch_size=4, accumulate=3), 1)
    draw = objective.draw(0)
    assert sorted(draw.index + objective.draw(1).index) == sorted(range(24))
    assert read(tales.decode(draw.scenes[0])) == heard.classes[draw.index[0]]
    objective.trained.eval()  # no dropout, whose draws differ from part to part
    parts = [objective.part_loss(draw, number) for number in range(3)]
    whole = SceneObjective(heard, settings(batch_size=12), 1)
    whole.trained.load_state_dict(objective.trained.state_dict())
    whole.trained.eval()
    assert float(sum(part.detach() for part in parts)) == pytest.approx(
        float(whole.part_loss(draw, 0).detach()), abs=1e-4
    )


def test_helpers_are_traits_with_several_values() -> None:
    with_helpers = SceneObjective(made_up(), settings(), 1)
    assert set(with_helpers.values) == {*KINDS, "true mode"}
    assert set(SceneObjective(made_up(), settings(), 1, helpers=False).values) == set(KINDS)
    targets = with_helpers.targets(made_up())
    assert targets["true mode"].tolist() == [0, 1] * 12


def test_two_runs_are_the_same_and_the_objective_travels() -> None:
    losses = []
    for objective in (SceneObjective(made_up(), settings(), 1), SceneObjective(made_up(), settings(), 1)):
        loop = Loop(pickle.loads(pickle.dumps(objective)), settings())
        losses.append([record["loss"] for record in loop.run()])
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]


def test_what_tells_its_classes_is_learned_and_told() -> None:
    heard = made_up(12)
    given = settings(steps=24, batch_size=12, learning_rate=4e-3)
    loop = Loop(SceneObjective(heard, given, 1, heard), given)
    for _ in loop.run():
        pass
    loop.finish()
    model = loop.trained.eval()
    told = tell_all(model, heard, heard)  # type: ignore[arg-type]
    right = {
        row: np.mean(
            [read(text).get("mood") == one["mood"] for text, one in zip(lines, heard.classes, strict=True)]
        )
        for row, lines in told.items()
    }
    assert right["told_by_truth"] == 1.0 and right["one_scene_per_mood"] > 0.8 > right["commonest_scene"]
    assert loop.objective.validate(loop.world)["mood_right"] > 0.8
    assert len(set(told["commonest_scene"])) == 1 < len(set(told["one_scene_per_mood"])) <= len(VALUES["mood"])


def test_other_wording_is_what_the_ear_speaks_for_even_in_doubt() -> None:
    """By Bayes: of every kind the value whose share is largest beside its share in training."""
    rng, sizes = np.random.default_rng(5), [len(values) for values in VALUES.values()]
    usual = [torch.from_numpy(rng.dirichlet(np.full(n, 4.0))).float() for n in sizes]
    usual[-1][VALUES["style"].index("jig")] = 0.0  # as no steady piece is one: it is not told
    logits = {
        kind: torch.from_numpy(rng.normal(0.0, 1.0, (10, n))).float() for kind, n in zip(KINDS, sizes, strict=True)
    }
    lines = other_wording(load(), logits, list(range(10)), torch.cat(usual))
    wanted = {
        kind: (logits[kind].softmax(1) / common.clamp(min=1e-9) * (common > 0)).argmax(1)
        for kind, common in zip(KINDS, usual, strict=True)
    }
    right = [
        read(line).get(kind) == VALUES[kind][int(wanted[kind][i])] for i, line in enumerate(lines) for kind in KINDS
    ]
    assert np.mean(right) > 0.9


def test_a_stretch_is_a_copy_of_the_right_frames() -> None:
    frames = torch.arange(20.0).reshape(1, 20, 1)
    part = cut(frames, (0.25, 0.5))
    assert part[0, :, 0].tolist() == list(range(5, 15))
    part += 1
    assert frames[0, 5, 0] == 5


class Silent(SyntheticClip):
    def audio(self, sample_rate_hz: int) -> np.ndarray:
        return np.zeros(round(self.duration_s * sample_rate_hz), np.float32)


def test_what_cannot_be_described_is_refused() -> None:
    with pytest.raises(MediaError, match="silence"):
        heard_of(Silent())
    with pytest.raises(MediaError, match="a clip with sound"):
        heard_of(SyntheticClip(with_audio=False))
    with pytest.raises(MediaError, match=r"at least 1 s"):
        heard_of(SyntheticClip(duration_s=0.5))
    with pytest.raises(ExpotionError, match="style: band"):
        told_whole([SyntheticClip()], listen([SyntheticClip()], 1, lambda done, total: None))


def test_of_a_long_sound_the_middle_is_heard() -> None:
    class Ramp(SyntheticClip):
        def audio(self, sample_rate_hz: int) -> np.ndarray:
            return np.linspace(0, 1, 50 * sample_rate_hz, dtype=np.float32)

    samples = heard_of(Ramp(duration_s=50.0))
    assert len(samples) == 30 * 16_000 and samples[0] == pytest.approx(0.2, abs=1e-3)


def test_the_captioner_keeps_the_rules_of_captioners() -> None:
    check_captioner(SPEC)
    assert WEIGHTS.stat().st_size < 5_000_000


def band(first: int, n: int, seconds: float) -> list[Clip]:
    from expotion_conductor.band.conducted import band_plan
    from expotion_conductor.clip import ConductorClip
    from expotion_conductor.plan import DEVELOPMENT_SEEDS

    return [ConductorClip(band_plan(DEVELOPMENT_SEEDS + first + i, seconds), size_px=64) for i in range(n)]


def test_what_was_heard_is_kept(tmp_path: Path) -> None:
    heard = listen(band(60_000, 2, 2.0), 1, lambda done, total: None)
    assert all(set(one) == set(KINDS) for one in heard.classes) and "kit" in heard.traits[0]
    heard.save(tmp_path / "heard.npz")
    again = Heard.load(tmp_path / "heard.npz")
    assert torch.equal(again.mel, heard.mel) and torch.equal(again.tones, heard.tones)
    assert (again.classes, again.traits, again.seeds) == (heard.classes, heard.traits, heard.seeds)


@pytest.mark.slow
def test_what_ships_hears_pieces_that_it_does_not_know() -> None:
    clips, write = band(61_000, 30, 10.0), SPEC.build(SPEC.options())
    said = [write(clip) for clip in clips]
    assert len(set(said)) >= 25
    heard = [listen_to(clip)[2] for clip in clips]
    right = {
        kind: np.mean([read(text).get(kind) == one[kind] for text, one in zip(said, heard, strict=True)])
        for kind in KINDS
    }
    assert all(share >= 0.5 for share in right.values()), right


RECIPE = """\
name: small
task: scenes
plugins: [expotion-caption-musiscene, expotion-conductor]
data: {source: conductor, style: band, train_clips: 12, test_clips: 10, clip_s: 2.0, size: 64}
options: {processes: 1}
train: {steps: 3, batch_size: 4, learning_rate: 0.001}
"""


@pytest.mark.slow
def test_the_recipe_runs_from_end_to_end(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from expotion.cli.main import app

    (tmp_path / "small.yaml").write_text(RECIPE)
    run = tmp_path / "run"
    result = CliRunner().invoke(app, ["recipe", "run", str(tmp_path / "small.yaml"), "--out", str(run)])
    assert result.exit_code == 0, result.output
    said = json.loads((run / "captions.json").read_text())
    assert set(said) == {"scenes", "other_wording", "one_scene_per_mood", "commonest_scene", "told_by_truth"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["told_by_truth"]["scene_mood"]["mean"] == 1.0
    assert metrics["commonest_scene"]["scene_retrieval"]["mean"] == pytest.approx(0.1)
    assert set(metrics["scenes"]) == set(TASK.metrics)
    model = load(run / "scenes.safetensors")
    clip = band(62_000, 1, 2.0)[0]
    options = SPEC.options(model=run / "scenes.safetensors")
    assert SPEC.build(options)(clip)
    assert "adaptor/" not in (run / "README.md").read_text()
    assert torch.equal(certain(listen_to(clip)[2]).sum(), torch.tensor(4.0)) and model is not None
