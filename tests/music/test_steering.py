"""One value steers: from options, a file, Python and records; and the four commands that take it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from expotion.cli.main import app, run
from expotion.errors import ExpotionError
from expotion.music import make
from expotion.music.compose import sampler_of
from expotion.music.composer import open_composer
from expotion.music.schedule import Schedule
from expotion.music.steering import Given, Steering
from expotion.plugins import Registry
from expotion.recipe.schema import Sampling
from expotion.video import scan as scanning
from expotion.video.mux import write_video

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")
Capture = pytest.CaptureFixture[str]

CALM = """\
prompt: warm lamp
seed: 4
strengths: {glow: 0.5, sway: "0:1.0,1:0.2"}
guidance: {glow: 2}
controls: {sway: null}
overlap_s: 0.5
cfg_scale: 2.5
control_scale: 3.5
temperature: 0.9
top_k: 50
top_p: 0.8
precision: fp32
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    frames = [np.full((32, 48, 3), 200 - 10 * (i % 5), np.uint8) for i in range(12)]
    write_video(tmp_path / "lamp.mp4", frames, np.arange(12) / 10)
    return tmp_path / "lamp.mp4"


@pytest.fixture
def calm(tmp_path: Path) -> Path:
    (tmp_path / "calm.yaml").write_text(CALM)
    return tmp_path / "calm.yaml"


@pytest.fixture
def steered(monkeypatch: pytest.MonkeyPatch, finished: Path, clip: Path) -> Callable[..., Steering]:
    """The steering that `expotion generate CLIP ARGUMENTS` asks for; raises with what is wrong."""

    def call(*arguments: object) -> Steering:
        asked: list[Any] = []

        def generate_files(*, steering: Steering, problems: list[Any], **_: Any) -> list[Path]:
            if problems:
                raise ExpotionError(problems)
            asked.append(steering)
            return []

        monkeypatch.setattr(make, "generate_files", generate_files)
        code = run(["generate", str(clip), "--adaptor", str(finished), *map(str, arguments)])
        assert code == 0, code
        return asked[0]

    return call


def test_a_file_says_all_of_it(steered: Callable[..., Steering], calm: Path, finished: Path) -> None:
    found = steered("--steering", calm)
    assert found == Steering(
        adaptor=finished,
        prompt="warm lamp",
        seed=4,
        strengths={"glow": Schedule.of(0.5), "sway": Schedule.of("0:1,1:0.2")},
        guidance={"glow": 2.0},
        controls={"sway": None},
        overlap_s=0.5,
        cfg_scale=2.5,
        control_scale=3.5,
        temperature=0.9,
        top_k=50,
        top_p=0.8,
        precision="fp32",
    )
    left = {"backbone", "melody", "prompt_at", "negative", "theme", "theme_s", "parts", "outside"}
    assert set(Steering.model_fields) - found.model_fields_set == left


def test_options_count_more_than_the_file(steered: Callable[..., Steering], calm: Path, clip: Path) -> None:
    beside = ("--seed", 0, "--strength", "glow=1", "--control", f"sway={clip}", "--top-k", 9)
    found = steered(*beside, "--steering", calm)
    assert (found.seed, found.top_k, found.temperature) == (0, 9, 0.9)
    assert {name: str(schedule) for name, schedule in found.strengths.items()} == {"glow": "1", "sway": "0:1,1:0.2"}
    assert found.controls == {"sway": clip}
    assert found.guidance == {"glow": 2.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt: warm\ntemperature: 0", "calm.yaml:2 temperature: a number greater than 0.0, got 0"),
        ("temprature: 1", "calm.yaml:1 temprature: unknown field; did you mean 'temperature'?"),
        ("\nstrengths:\n  glow: '0:1,0:2'", "calm.yaml:3 strengths.glow: times that go forwards"),
        ("strengths:\n  glow: 1\n  glwo: 1", "calm.yaml:3 strengths.glwo: one of glow, sway, got 'glwo'"),
        ("guidance: {sway: -1}", "calm.yaml:1 guidance.sway: a number of at least 0.0, got -1"),
        ("controls: {sway: lost.mp4}", "calm.yaml:1 controls.sway: no such file"),
        ("precision: fp8", "calm.yaml:1 precision: one of auto, fp32, bf16, fp16, int8, got 'fp8'"),
        ("overlap_s: 1.5", "calm.yaml:1 overlap_s: less than a window of 1 s, got 1.5 s"),
        ("seed: 1\nseed: 2", "calm.yaml:2 seed: a field given once"),
        ("[1, 2]", "calm.yaml:1: a mapping of fields"),
        (None, "--steering calm.yaml: a YAML file, got no such file"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_by_its_line(
    text: str | None,
    message: str,
    clip: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("calm.yaml").write_text(text)
    options = ("--steering", "calm.yaml", "--adaptor", str(finished), "--samples", "0")
    assert run(["generate", str(clip), *options]) == 1
    error = capsys.readouterr().err
    assert message in error and "--samples: a whole number" in error  # all at once


def test_a_field_that_is_null_is_left_open(steered: Callable[..., Steering], calm: Path) -> None:
    calm.write_text("temperature: null\nprompt: warm")
    assert steered("--steering", calm).model_fields_set == {"adaptor", "prompt"}


# ---------------------------------------------------------------------------------------- keywords, sampling


def test_keywords_and_a_steering_make_one_piece(finished: Path, lamps: Registry, clip: Path) -> None:
    composer = open_composer(finished, lamps)
    steering = Steering.of(prompt="warm lamp", strength={"glow": 0.5}, seed=3, temperature=0.9)
    one = composer.compose(clip, steering)
    other = composer.compose(
        clip, prompt="warm lamp", strength={"glow": 0.5}, seed=np.int64(3), temperature=0.9, top_k=None
    )
    np.testing.assert_array_equal(one.samples, other.samples)
    assert one.notes["sampling"]["temperature"] == 0.9
    assert not np.array_equal(composer.compose(clip, prompt="warm lamp", seed=3).samples, one.samples)
    with pytest.raises(TypeError, match="not both"):
        composer.compose(clip, steering, seed=1)
    with pytest.raises(ExpotionError, match="temprature: unknown field; did you mean 'temperature'"):
        composer.compose(clip, temprature=1.0)  # type: ignore[call-arg]
    with pytest.raises(ExpotionError, match=r"(?s)top_p: a number of at most 1.*seed: a number of at least 0"):
        composer.compose(clip, seed=-1, top_p=1.5)


def test_what_is_left_open_is_as_the_recipe_measured_it(finished: Path, lamps: Registry) -> None:
    composer = open_composer(finished, lamps)
    generate = composer.recipe.generate
    open_one = composer.resolved(Steering(top_k=9), {})
    for name in set(Sampling.model_fields) - {"top_k"}:
        assert getattr(open_one, name) == getattr(generate, name)
    assert open_one.top_k == 9 != generate.top_k
    assert {n: str(s) for n, s in open_one.strengths.items()} == {"glow": "1", "sway": "1"}
    muted = composer.resolved(None, {"strength": {"glow": 2}, "controls": {"glow": None}})
    assert muted.strengths["glow"].is_zero and not muted.strengths["sway"].is_zero


def test_every_option_of_sampling_is_known_everywhere() -> None:
    """What a new one takes is listed in `expotion.music.steering`."""
    own = {"cfg_scale", "control_scale", "precision"}  # guidance and the engine, not the draw
    values: dict[str, Any] = {"temperature": 0.7, "top_k": 3, "top_p": 0.4}
    assert set(Sampling.model_fields) - own == set(values)
    sampler = sampler_of(Steering(**values))
    options = {option.name for option in typer.main.get_command(app).commands["generate"].params}  # type: ignore[attr-defined]
    for name, value in values.items():
        assert getattr(sampler, name) == value
        assert name in options and name in Given.__annotations__


# -------------------------------------------------------------------------------------------------- commands


def test_there_are_four_commands_of_few_options_in_groups(capsys: Capture) -> None:
    commands: Any = typer.main.get_command(app)
    context = commands.context_class(commands, info_name="expotion")
    steering = {"prompt", "seed", "strength", "guidance", "steering", "temperature", "adaptor"}
    for name in ("generate", "play", "live"):
        params = commands.get_command(context, name).params
        assert steering <= {param.name for param in params}
    options = [p for p in commands.commands["generate"].params if p.param_type_name == "option"]
    assert len(options) <= 35
    assert commands.get_command(context, "again") is not None
    assert run(["generate", "--help"]) == 0
    shown = capsys.readouterr().out
    for panel in ("Files:", "Work:", "Steering:", "Sampling:", "Models:"):
        assert f"\n{panel}\n" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--again", "music.json"], "expotion again RECORD.json"),
        (["dance.mp4", "--play-stream"], "expotion play CLIP"),
        (["--live", "0", "--hop", "1"], "expotion live SOURCE"),
        (["dance.mp4", "--hop=1"], "expotion live SOURCE --hop SECONDS"),
        (["dance.mp4", "--window", "3"], "expotion live SOURCE --window SECONDS"),
    ],
)
def test_options_of_before_name_the_command(arguments: list[str], command: str, capsys: Capture) -> None:
    assert run(["generate", *arguments]) == 2
    assert f"has moved: {command}" in " ".join(capsys.readouterr().err.split())


# --------------------------------------------------------------------------------------- once; from before


def test_a_clip_is_scanned_and_hashed_once(
    clip: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned: list[str] = []
    hashed: list[str] = []
    scan, digest = scanning._scan, hashlib.file_digest

    def counting(path: Path, *limits: Any) -> Any:
        scanned.append(path.name)
        return scan(path, *limits)

    def hashing(file: Any, kind: Any) -> Any:
        hashed.append(Path(file.name).name)
        return digest(file, kind)

    monkeypatch.setattr(scanning, "_scan", counting)
    monkeypatch.setattr(hashlib, "file_digest", hashing)
    options = ("--adaptor", finished, "--out", tmp_path / "out", "--samples", 2, "--format", "wav,mp4")
    assert run(["generate", str(clip), *map(str, options)]) == 0
    assert scanned.count("lamp.mp4") == hashed.count("lamp.mp4") == 1


def test_records_of_before_are_made_again_and_count_as_done(
    clip: Path, finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    """As version 0.1 at b377914 wrote them: no `control_scale`, strengths as they were typed."""
    out = tmp_path / "out"
    typed = ("--strength", "glow=0.50", "--mute", "sway", "--jobs", "0", "-f", "wav")
    clips = tmp_path / "clips"
    clips.mkdir()
    clip.rename(clips / "lamp.mp4")
    arguments = ["generate", str(clips), "--adaptor", str(finished), "--out", str(out), *typed]
    assert run(arguments) == 0
    record = json.loads((out / "lamp.json").read_text())
    composing = record["asked"]["composing"]
    assert composing.pop("control_scale") is None
    assert composing["strengths"] == {"glow": "0.5"}
    composing["strengths"] = {"glow": "0.50"}
    names = "adaptor backbone prompt seed cfg_scale strengths guidance controls overlap_s precision temperature"
    assert set(composing) == {*names.split(), "top_k", "top_p"}
    (out / "lamp.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert run(["again", str(out / "lamp.json")]) == 0
    assert "The same bytes as the first time." in capsys.readouterr().out
    assert run(arguments) == 0
    assert "0 made, 1 already there, 0 failed" in capsys.readouterr().out
