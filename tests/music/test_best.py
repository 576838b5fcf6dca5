"""The best of several takes: what is asked for, how they are scored, which files and seeds are left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import expotion.plugins
from expotion.cli.main import run
from expotion.contracts import MetricSpec, Score, Scored, hookimpl
from expotion.errors import ExpotionError
from expotion.evaluate.sets import at_rate
from expotion.music import best as takes
from expotion.music.best import Best, Ranking, likelihood, metric_score
from expotion.music.composer import Composer, open_composer
from expotion.music.request import Request
from expotion.music.windows import Windows
from expotion.musicgen import delay
from expotion.plugins import Registry
from expotion.video.memory import MemoryClip
from expotion.video.writing import write_video

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")
Capture = pytest.CaptureFixture[str]
RATE_HZ = 32_000


def spec(name: str, function: Callable[[Scored], Any], **more: Any) -> MetricSpec:
    return MetricSpec(name, name, lambda: function, **{"higher_is_better": True, **more})


def quiet(scored: Scored) -> Score:
    return Score(float(np.sqrt((scored.samples**2).mean())))


def fails(scored: Scored) -> Score:
    raise ValueError("it is Monday")


METRICS = [
    spec("quiet", quiet, higher_is_better=False),
    spec("picture", quiet, needs=frozenset({"video"})),
    spec("labels", quiet, needs=frozenset({"truth"})),
    spec("many", quiet, over="set", statistic=lambda sounds, reference: Score(None)),
    spec("far", quiet, packages=("not-a-package>=3",)),
    spec("fails", fails),
]


@pytest.fixture
def metrics(world: ModuleType, model: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The lamps with more metrics."""
    module = ModuleType("metrics")
    module.expotion_metrics = hookimpl(lambda: METRICS)  # type: ignore[attr-defined]
    point = SimpleNamespace(name="m", dist=SimpleNamespace(name="expotion-m", version="1"), load=lambda: module)
    registry: Registry = world.registry_of(model, [point])
    monkeypatch.setattr(expotion.plugins, "discover", lambda: registry)
    return registry


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "lamp.mp4"
    write_video(path, [np.full((32, 48, 3), 200 - 10 * i, np.uint8) for i in range(4)], np.arange(4) / 10)
    return path


@pytest.fixture(scope="module")
def composer(finished: Path, lamps: Registry) -> Composer:
    return open_composer(finished, lamps)


# ------------------------------------------------------------------------------------------------ what is chosen


@pytest.mark.parametrize(("metric", "sign"), [("loudness", 1), ("quiet", -1)])
def test_the_best_is_the_take_that_its_seed_gives(
    metric: str, sign: int, composer: Composer, clip: Path, metrics: Registry
) -> None:
    chosen = composer.best(clip, metric, samples=4, keep=2, seed=7)
    told = chosen[0].notes["best"]
    assert told["seeds"] == [7, 8, 9, 10] and told["metric"] == metric
    order = [told["seeds"][i] for i in np.argsort(-sign * np.array(told["scores"]), kind="stable")]
    assert [music.notes["seed"] for music in chosen] == order[:3]
    alone = composer.compose(clip, seed=order[0])
    np.testing.assert_array_equal(alone.codes, chosen[0].codes)
    np.testing.assert_array_equal(alone.samples, chosen[0].samples)
    loud = float(np.sqrt((alone.samples**2).mean()))
    assert told["scores"][told["seeds"].index(order[0])] == pytest.approx(loud, rel=1e-6)
    assert "best" not in alone.notes


@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
def test_takes_do_not_depend_on_how_many_are_decoded_together(
    at_once: int, composer: Composer, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    plain = composer.best(clip, "loudness", samples=5, parts=["0-0.2", "0.3-"])
    monkeypatch.setattr("expotion.music.piece.Piece.at_once", lambda piece, n: at_once)
    other = composer.best(
        clip, "loudness", samples=5, parts=["0-0.2", "0.3-"], on_progress=lambda *a: told.append(a)
    )
    assert plain[0].notes["best"]["scores"] == other[0].notes["best"]["scores"]
    np.testing.assert_array_equal(plain[0].codes, other[0].codes)
    assert told == sorted(told) and told[-1][0] == told[-1][1]


def test_batches_are_what_half_of_the_free_memory_holds(
    composer: Composer, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = composer._prepare(clip, composer.resolved(None, {}), lambda _: None)
    assert piece.at_once(5) == 1  # torch's own step: its last bits depend on the batch
    monkeypatch.setattr(type(piece.lm), "steady", True)
    free = 7 * piece.take_bytes
    monkeypatch.setattr("expotion.machine.free_bytes", lambda: free)
    assert [piece.at_once(n) for n in (2, 3, 256)] == [2, 3, 3]
    monkeypatch.setattr("expotion.machine.free_bytes", lambda: 1)
    assert piece.at_once(256) == 1
    monkeypatch.setattr("expotion.machine.free_bytes", lambda: None)
    assert piece.at_once(256) == 256


def test_the_likelihood_is_that_of_the_frozen_model(composer: Composer) -> None:
    """Window by window, each new code given those before it: against one code at a time."""
    lm, text = composer.backbone.lm, composer.prompts["warm lamp"]
    codes = torch.randint(0, 16, (4, 13), generator=torch.Generator().manual_seed(0))
    found = likelihood(lm, [Request(13, text)], [codes], Windows(8, 3))
    source = lm.project_text(torch.from_numpy(text.values)[None], torch.from_numpy(text.mask)[None])
    total = 0.0
    for start, stop, n_known in ((0, 8, 0), (5, 13, 3)):
        part = codes[None, :, start:stop]
        sequence = delay.build(part, lm.geometry.special_token, lm.geometry.delays, valid_only=False)
        logits = lm(sequence, source, source_mask=torch.from_numpy(text.mask)[None]).double()
        for codebook, late in enumerate(lm.geometry.delays):
            for frame in range(n_known, stop - start):
                row = logits[0, codebook, frame + late]
                total += float(row[part[0, codebook, frame]] - torch.logsumexp(row, 0))
    assert found == pytest.approx(total / codes.numel(), abs=1e-5)
    known = Request(13, text, known=codes[:, :5])
    assert likelihood(lm, [known], [codes], Windows(13)) != pytest.approx(found)


def test_the_likeliest_take_is_likelier_than_the_others(composer: Composer, clip: Path) -> None:
    (best,) = composer.best(clip, "likelihood", samples=3)
    told = best.notes["best"]
    assert max(told["scores"]) == told["scores"][told["seeds"].index(best.notes["seed"])]
    assert len(set(told["scores"])) == 3 and max(told["scores"]) < 0


def test_takes_without_a_value_come_last() -> None:
    made = [SimpleNamespace(samples=np.zeros(1), notes={"seed": seed}) for seed in range(4)]
    values = {0: None, 1: 2.0, 2: 5.0, 3: 5.0}
    ranking = Ranking("it", True, 3)
    ranking.add(made, lambda take: Score(values[take.notes["seed"]], "nothing there"))
    assert [take.notes["seed"] for take in ranking.best] == [2, 3, 1]
    assert ranking.to_json()["scores"] == [None, 2.0, 5.0, 5.0]
    assert ranking.to_json()["reasons"] == ["nothing there"]


def test_a_metric_that_fails_takes_no_music_down(composer: Composer, clip: Path, metrics: Registry) -> None:
    said: list[str] = []
    (music,) = composer.best(clip, "fails", samples=2, on_warning=said.append)
    assert music.notes["seed"] == 0 and music.notes["best"]["scores"] == [None, None]
    assert (
        said[-1] == "no take has a value of fails: the metric failed: ValueError: it is Monday; the first is taken"
    )


def test_a_metric_hears_mono_at_its_rate() -> None:
    heard: list[Scored] = []
    stereo = np.random.default_rng(0).normal(0, 0.1, (RATE_HZ, 2)).astype(np.float32)
    clip = MemoryClip("one", 1.0)

    def hear(scored: Scored) -> Score:
        heard.append(scored)
        return Score(float("nan"))

    score = metric_score(spec("it", hear, sample_rate_hz=16_000), clip, "warm", RATE_HZ)
    assert score(SimpleNamespace(samples=stereo, notes={})).reason == "the metric gave nan"
    wanted = at_rate(Scored(stereo.mean(axis=1), RATE_HZ, clip, "warm"), 16_000)
    np.testing.assert_array_equal(heard[0].samples, wanted.samples)
    assert (heard[0].sample_rate_hz, heard[0].prompt, heard[0].clip) == (16_000, "warm", clip)


# ------------------------------------------------------------------------------------------------ files, record


def test_the_best_is_written_and_any_take_is_made_again(
    finished: Path, clip: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    call = ["generate", str(clip), "--adaptor", str(finished), "--out", str(out), "-f", "wav", "--samples", "4"]
    assert run([*call, "--best", "loudness", "--keep", "1", "--seed", "3"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["lamp.json", "lamp.wav", "lamp_2.json", "lamp_2.wav"]
    said = capsys.readouterr().out
    assert "best of 4 by loudness: seed" in said and "1 decoded at a time" in said
    first, second = (json.loads((out / f"{name}.json").read_text()) for name in ("lamp", "lamp_2"))
    told = first["made"]["best"]
    assert told == second["made"]["best"] and told["seeds"] == [3, 4, 5, 6]
    ranked = sorted(told["scores"], reverse=True)
    for record, score in ((first, ranked[0]), (second, ranked[1])):
        assert told["scores"][told["seeds"].index(record["made"]["seed"])] == score
        assert record["asked"]["composing"]["seed"] == record["made"]["seed"]
    assert run(["again", str(out / "lamp.json")]) == 0
    assert "The same bytes" in capsys.readouterr().out
    third = 1 + told["seeds"].index(second["made"]["seed"])
    assert run(["again", str(out / "lamp.json"), "--take", str(third)]) == 0
    again, kept = (soundfile.read(out / name)[0] for name in (f"lamp_take{third}.wav", "lamp_2.wav"))
    np.testing.assert_array_equal(again, kept)
    assert run(["again", str(out / "lamp.json"), "--take", "5"]) == 1
    assert "--take 5: a take from 1 to 4" in capsys.readouterr().err
    assert run(["again", str(out / f"lamp_take{third}.json"), "--take", "1"]) == 1
    assert "--take 1: a record of --best" in capsys.readouterr().err


def test_a_folder_knows_what_was_chosen_before(finished: Path, clip: Path, tmp_path: Path, capsys: Capture) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "one.mp4").write_bytes(clip.read_bytes())
    call = ["generate", str(clips), "--adaptor", str(finished), "--out", str(tmp_path / "out"), "-f", "wav"]
    call += ["--jobs", "0", "--best", "loudness", "--samples"]
    assert run([*call, "3"]) == 0
    assert "1 made" in capsys.readouterr().out
    assert run([*call, "3"]) == 0
    assert "0 made, 1 already there" in capsys.readouterr().out
    assert run([*call, "2"]) == 0
    assert "1 made" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--samples", "0", "--best", "loudness"),
            "--samples: a whole number from 1 to 256 of takes to choose from",
        ),
        (("--samples", "10000", "--best", "loudness"), "--samples: a whole number from 1 to 256"),
        (("--samples", "3", "--best", "loudness", "--keep", "3"), "--keep: a whole number from 0 to 2 of takes"),
        (("--keep", "1"), "--keep: a metric to choose by, such as --best beat_alignment, got none"),
        (("--best", "loudnes"), "--best loudnes: no installed plugin offers this metric; did you mean 'loudness'?"),
        (
            ("--best", "labels"),
            "--best labels: a metric that can score a file, or likelihood, got one that needs truth",
        ),
        (("--best", "many"), "--best many: a metric of one clip, or likelihood, got one of a set of clips"),
        (("--best", "far"), "metric 'far': the package not-a-package>=3, got not installed"),
        (("--best", "picture", "--mute", "glow", "--mute", "sway"), "--best picture: a control that steers"),
    ],
)
def test_what_cannot_be_chosen_is_one_line_before_anything_is_loaded(
    arguments: tuple[str, ...],
    message: str,
    finished: Path,
    clip: Path,
    metrics: Registry,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("expotion.music.make.open_composer", lambda *_: pytest.fail("something was loaded"))
    assert run(["generate", str(clip), "--adaptor", str(finished), *arguments]) != 0
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


def test_a_clip_without_a_picture_has_no_best_by_it(
    finished: Path, metrics: Registry, tmp_path: Path, capsys: Capture
) -> None:
    from expotion.video.sound_files import write_wav

    write_wav(tmp_path / "sound.wav", np.random.default_rng(0).normal(0, 0.1, 9600).astype(np.float32), RATE_HZ)
    call = ["generate", str(tmp_path / "sound.wav"), "--adaptor", str(finished), "-f", "wav", "--best", "picture"]
    assert run(call) == 1
    assert "sound.wav: a clip with video, for --best picture, got none" in capsys.readouterr().err


def test_python_is_told_the_same(composer: Composer, clip: Path, metrics: Registry) -> None:
    with pytest.raises(ExpotionError, match=r"(?s)--samples: a whole number from 1 to 256.*got 0"):
        composer.best(clip, "loudness", samples=0)
    with pytest.raises(ExpotionError, match="a control that steers"):
        composer.best(clip, "picture", controls={"glow": None, "sway": None})
    assert Best("likelihood", 2).spec is None and takes.LIKELIHOOD == "likelihood"
