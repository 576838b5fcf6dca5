from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expotion.cli.main import run
from expotion.plugins import Registry

StandIn = Callable[..., list[dict[str, Any]]]
Capture = pytest.CaptureFixture[str]

RUN = ("expotion.run.stages", "run_recipe")
GENERATE = ("expotion.music.make", "generate_files")


def test_check_shows_each_stage_with_shapes_and_rates(recipes: Path, capsys: Capture) -> None:
    assert run(["recipe", "check", "recipes/wave.yaml", "--profile", "best"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "2 train clips, 1 test clips of up to 10 s",
        "width 1024, 24 layers",
        "codes [4, 500] of 2048 at 50 Hz",
        "[n, 5] at 10 Hz -> smooth [501, 5] -> project [501, 2]",
        "trainable parameters",
        "40 steps of 8 clips",
        "text_only, hand, shuffled",
        "expotion-waves 0.4",
        "skipped, broken: expotion-broken: ImportError: No module named 'mediapipe'",
        "The recipe is in order.",
    ):
        assert part in shown, part


def test_check_says_that_the_clips_are_not_there(tmp_path: Path, capsys: Capture) -> None:
    data = f"data={{source: manifest, path: {tmp_path}/lost.jsonl}}"
    assert run(["recipe", "check", "face_motion", "--set", data]) == 2
    error = capsys.readouterr().err
    assert f"got {tmp_path}/lost.jsonl: nothing there" in error and "expotion data prepare" in error


def test_a_faulty_recipe_shows_all_problems_and_exits_with_2(recipes: Path, capsys: Capture) -> None:
    sets = ["--set", "train.stesp=3", "--set", "conditions[hand].rank=0"]
    assert run(["recipe", "check", "wave", *sets]) == 2
    error = capsys.readouterr().err
    assert "train.stesp: unknown field; did you mean 'steps'?" in error
    assert "conditions[0].rank: a number of at least 1, got 0" in error
    assert "Traceback" not in error


def test_list_shows_recipes_profiles_and_faulty_ones(recipes: Path, capsys: Capture) -> None:
    (recipes / "bad.yaml").write_text("name: bad\n")
    assert run(["recipe", "list"]) == 0
    shown = capsys.readouterr().out
    assert "wave" in shown and "a hand that waves" in shown and "best" in shown
    assert "1 problems: expotion recipe check" in shown


def test_list_without_recipes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["recipe", "list"]) == 2
    assert "a folder of recipes" in capsys.readouterr().err


def test_show_prints_a_recipe_that_can_be_read_back(recipes: Path, capsys: Capture) -> None:
    assert run(["recipe", "show", "wave"]) == 0
    (recipes / "again.yaml").write_text(capsys.readouterr().out)
    assert run(["recipe", "check", "again"]) == 0


def test_copy_writes_a_new_file_and_never_over_one(recipes: Path, capsys: Capture) -> None:
    assert run(["recipe", "copy", "wave", "mine.yaml"]) == 0
    assert Path("mine.yaml").read_bytes() == (recipes / "wave.yaml").read_bytes()
    assert run(["recipe", "copy", "wave", "mine.yaml"]) == 2
    assert "mine.yaml: a file that does not exist yet" in capsys.readouterr().err


def test_an_unknown_recipe_name_gets_the_closest(recipes: Path, capsys: Capture) -> None:
    assert run(["recipe", "show", "wvae"]) == 2
    assert "did you mean 'wave'?" in capsys.readouterr().err


def test_run_hands_over_the_recipe_and_the_options(recipes: Path, stand_in: StandIn, capsys: Capture) -> None:
    def finish(out_dir: Path, **rest: Any) -> Path:
        out_dir.mkdir()
        (out_dir / "report.html").write_text("")
        return out_dir

    calls = stand_in(*RUN, finish)
    assert run(["recipe", "run", "wave", "--profile", "best", "--set", "seed=3", "--out", "there"]) == 0
    call = calls[0]
    assert (call["recipe"].train.steps, call["recipe"].seed) == (40, 3)
    assert (call["out_dir"], call["resume"]) == (Path("there"), None)
    assert set(call) == {"recipe", "registry", "out_dir", "resume", "console"}
    assert "Report: there/report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "resume"),
    [
        (["wave", "--resume"], "auto"),
        (["--resume", "recipes/wave.yaml"], "auto"),
        (["wave", "--resume", "auto"], "auto"),
        (["wave", "--resume", "runs/a"], Path("runs/a")),
        (["--resume", "runs/a"], Path("runs/a")),
    ],
)
def test_resume_takes_a_folder_or_finds_the_newest(
    arguments: list[str], resume: object, recipes: Path, stand_in: StandIn
) -> None:
    folder = Path("runs/a")
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text((recipes / "wave.yaml").read_text())
    calls = stand_in(*RUN, lambda **rest: folder)
    assert run(["recipe", "run", *arguments]) == 0
    assert calls[0]["resume"] == resume
    assert calls[0]["recipe"].name == "wave"


def test_resume_of_what_is_no_run_folder(recipes: Path, capsys: Capture) -> None:
    assert run(["recipe", "run", "--resume", "recipes"]) == 1
    assert "recipes: a run folder, got no recipe.yaml in it" in capsys.readouterr().err


def test_run_without_a_recipe_says_what_it_wants(recipes: Path, capsys: Capture) -> None:
    assert run(["recipe", "run"]) == 2
    assert "name a recipe, or the folder of a run" in capsys.readouterr().err


def test_generate_hands_over_every_option(registry: Registry, stand_in: StandIn, capsys: Capture) -> None:
    from expotion.music.best import Best
    from expotion.music.steering import Steering
    from expotion.music.targets import Output

    calls = stand_in(*GENERATE, lambda **rest: [Path("out.mp4")])
    options = "--prompt warm --out out.mp4 --seed 3 --cfg-scale 2.5 --backbone tiny --samples 2 --overlap 4"
    more = "--precision fp32 --temperature 0.9 --top-k 50 --top-p 0.8 --mute face --control motion=b.mp4"
    files = "--format MP3,.mkv,mp3 --depth 24 --loudness -16 --keep-original-sound --jobs 2 --overwrite"
    takes = "--best loudness --keep 1"
    strengths = ["--strength", "motion=0:1,5:0.2", "--strength", "face=0", "--guidance", "motion=2"]
    given = [*options.split(), *more.split(), *files.split(), *takes.split(), *strengths]
    assert run(["generate", "a.mp4", "b.mp4", "--adaptor", "runs/a", *given]) == 0
    call = calls[0]
    assert call.pop("console") is not None
    assert [problem.where for problem in call.pop("problems")] == ["runs/a", "--control motion=b.mp4"]
    wanted = Steering.of(
        adaptor="runs/a",
        backbone="tiny",
        prompt="warm",
        seed=3,
        cfg_scale=2.5,
        strength={"motion": "0:1,5:0.2", "face": "0"},
        guidance={"motion": 2.0},
        controls={"motion": "b.mp4", "face": None},
        overlap_s=4.0,
        precision="fp32",
        temperature=0.9,
        top_k=50,
        top_p=0.8,
    )
    assert call == {
        "clips": [Path("a.mp4"), Path("b.mp4")],
        "steering": wanted,
        "output": Output(("mp3", "mkv"), depth="24", loudness_lufs=-16.0, keep_original_sound=True),
        "best": Best("loudness", 2, 1),
        "out": Path("out.mp4"),
        "samples": 2,
        "jobs": 2,
        "ray": None,
        "overwrite": True,
        "prompt_from": None,
    }
    assert "Wrote out.mp4" in capsys.readouterr().out
    assert call["steering"].model_fields_set == wanted.model_fields_set
    assert Steering.of(**wanted.to_json()).to_json() == wanted.to_json()


@pytest.mark.parametrize("strength", ["motion", "=1", "motion="])
def test_a_strength_that_is_none(strength: str, registry: Registry, stand_in: StandIn, capsys: Capture) -> None:
    calls = stand_in(*GENERATE, lambda **rest: [])
    assert run(["generate", "a.mp4", "--strength", strength]) == 0
    said = [str(problem) for problem in calls[0]["problems"]]
    assert said[0] == f"--strength {strength}: NAME=VALUE; for example --strength motion=0.5"


def test_plugin_list_shows_health_and_cause(recipes: Path, capsys: Capture) -> None:
    assert run(["plugin", "list"]) == 0
    shown = capsys.readouterr().out
    assert "expotion-waves" in shown and "encoder: hands, words" in shown
    assert "broken: ImportError: No module named 'mediapipe'" in shown


def test_plugin_show_describes_an_encoder(recipes: Path, capsys: Capture) -> None:
    assert run(["plugin", "show", "hands"]) == 0
    shown = capsys.readouterr().out
    assert "hands: encoder of expotion-waves 0.4" in shown
    assert "width: 5; rate: 10 Hz" in shown
    assert run(["plugin", "show", "expotion-broken"]) == 0
    assert "broken: ImportError" in capsys.readouterr().out


def test_plugin_show_of_an_unknown_name(recipes: Path, capsys: Capture) -> None:
    assert run(["plugin", "show", "hnads"]) == 2
    assert "did you mean 'hands'?" in capsys.readouterr().err


def test_plugin_check_of_a_failing_encoder_exits_with_1(recipes: Path, capsys: Capture) -> None:
    assert run(["plugin", "check", "hands"]) == 1
    shown = capsys.readouterr().out
    assert "nothing is built here" in shown
    assert "1 failed" in shown
    assert run(["plugin", "check", "hands", "--level", "deep"]) == 2
