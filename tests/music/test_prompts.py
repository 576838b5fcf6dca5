"""Prompts that a captioner writes: of the clip's own music, of a piece, in the record, and where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import expotion.plugins
from expotion.cli.main import run
from expotion.contracts import CaptionerSpec, Clip, Options, Weights, hookimpl
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.music.prompts import PromptFrom
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")
Capture = pytest.CaptureFixture[str]
RATE_HZ = 32_000
HEARD: list[str] = []


def listens(options: Options) -> Callable[[Clip], str]:
    del options

    def write(clip: Clip) -> str:
        samples = clip.audio(RATE_HZ)
        HEARD.append(clip.id)
        if samples is None:
            raise MediaError(Problem(clip.id, "a clip with sound", "none"))
        return "bright lamp" if float(np.abs(samples).max()) > 0.5 else "warm lamp"

    return write


def pulled(options: Options) -> list[Weights]:
    del options
    return [Weights("ear", "hf:someone/ear", "MIT")]


CAPTIONERS = [
    CaptionerSpec("lamp_ear", "listens", listens, says="scene"),
    CaptionerSpec("other_ear", "listens", listens, says="music"),
    CaptionerSpec("third_ear", "listens", listens, says="music"),
    CaptionerSpec("far_ear", "listens", listens, weights=pulled),
]


@pytest.fixture(autouse=True)
def ears(in_the_world_of_lamps: None, world: ModuleType, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lamps with captioners."""
    module = ModuleType("ears")
    module.expotion_captioners = hookimpl(lambda: CAPTIONERS)  # type: ignore[attr-defined]
    point = SimpleNamespace(name="e", dist=SimpleNamespace(name="expotion-e", version="1"), load=lambda: module)
    registry = world.registry_of(model, [point])
    monkeypatch.setattr(expotion.plugins, "discover", lambda: registry)
    HEARD.clear()


def lamp(path: Path, level: float | None) -> Path:
    frames = [np.full((32, 48, 3), 200 - 10 * i, np.uint8) for i in range(4)]
    if level is None:
        write_video(path, frames, np.arange(4) / 10)
    else:
        write_video(path, frames, np.arange(4) / 10, np.full(RATE_HZ * 4 // 10, level, np.float32), RATE_HZ)
    return path


@pytest.fixture
def start(finished: Path, tmp_path: Path) -> Callable[..., int]:
    """`expotion generate CLIP --out out/ ARGUMENTS`; returns the exit code."""

    def call(*arguments: object) -> int:
        told = [
            "generate",
            *map(str, arguments),
            "--adaptor",
            str(finished),
            "--out",
            str(tmp_path / "out"),
            "-f",
            "wav",
        ]
        return run(told)

    return call


def record(tmp_path: Path, name: str = "lamp") -> dict[str, object]:
    found: dict[str, object] = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    return found


def test_the_clips_own_music_gives_the_prompt_and_the_record_holds_it(
    start: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    clip = lamp(tmp_path / "lamp.mkv", 0.1)
    assert start(clip, "--prompt-from", "scene") == 0
    assert "prompt: warm lamp" in capsys.readouterr().out
    first = record(tmp_path)
    assert first["asked"]["composing"]["prompt"] == "warm lamp"  # type: ignore[index]
    assert first["asked"]["prompt_from"] == {"captioner": "lamp_ear"}  # type: ignore[index]
    sound = (tmp_path / "out" / "lamp.wav").read_bytes()
    assert start(clip, "--prompt", "warm lamp") == 0
    assert (tmp_path / "out" / "lamp.wav").read_bytes() == sound


def test_a_named_piece_is_heard_in_place_of_the_clip(start: Callable[..., int], tmp_path: Path) -> None:
    clip, piece = lamp(tmp_path / "lamp.mkv", 0.1), tmp_path / "piece.wav"
    write_wav(piece, np.full(RATE_HZ, 0.9, np.float32), RATE_HZ)
    assert start(clip, "--prompt-from", f"lamp_ear:{piece}") == 0
    asked = record(tmp_path)["asked"]
    assert asked["composing"]["prompt"] == "bright lamp"  # type: ignore[index]
    assert asked["prompt_from"]["piece"] == str(piece)  # type: ignore[index]
    assert HEARD == ["piece"]


def test_without_music_one_line_says_so_and_the_adaptors_prompt_counts(
    start: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    assert start(lamp(tmp_path / "lamp.mp4", None), "--prompt-from", "scene") == 0
    shown = capsys.readouterr().out
    assert shown.count("--prompt-from scene") == 1 and "the prompt is the adaptor's own" in shown
    assert record(tmp_path)["asked"]["composing"]["prompt"] is None  # type: ignore[index]


def test_a_folders_run_goes_on_and_an_edited_prompt_is_made_again(
    start: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    lamp(clips / "lamp.mkv", 0.1)
    assert start(clips, "--prompt-from", "scene", "--jobs", "0") == 0
    assert start(clips, "--prompt-from", "scene", "--jobs", "0") == 0
    assert "1 clips are done already" in capsys.readouterr().out
    assert len(HEARD) == 1
    assert start(clips, "--prompt-from", "other_ear", "--jobs", "0") == 0  # other words may be others' words
    assert len(HEARD) == 2
    [path] = (tmp_path / "out").rglob("lamp.json")
    sound = path.with_suffix(".wav").read_bytes()
    edited = json.loads(path.read_text())
    edited["asked"]["composing"]["prompt"] = "bright lamp"
    path.write_text(json.dumps(edited))
    assert run(["again", str(path)]) == 0
    assert path.with_name("lamp_again.wav").read_bytes() != sound
    assert len(HEARD) == 2  # the record has the words


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--prompt-from", "nobody"], "no installed plugin offers this captioner"),
        (["--prompt-from", "music"], "one captioner that says music, got other_ear, third_ear"),
        (["--prompt-from", "far_ear"], "the weights ear"),
        (["--prompt-from", "scene:none.wav"], "--prompt-from none.wav"),
        (["--prompt-from", "scene", "--prompt", "dim"], "either --prompt-from or --prompt"),
    ],
)
def test_what_cannot_write_is_said_before_anything_is_loaded(
    given: list[str], said: str, start: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    assert start(lamp(tmp_path / "lamp.mkv", 0.1), *given) != 0
    shown = capsys.readouterr()
    assert said in " ".join((shown.out + shown.err).split())
    assert not (tmp_path / "out").exists() and not HEARD


def test_a_writer_may_be_named_by_what_it_says() -> None:
    assert PromptFrom.of("scene").captioner.name == PromptFrom.of("lamp_ear:x.wav").captioner.name == "lamp_ear"
    assert PromptFrom.of("scene:a:b.wav").piece == Path("a:b.wav")
    with pytest.raises(ExpotionError):
        _ = PromptFrom.of("music").captioner
