"""What a message says to do can be done where it is shown."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from media import encode

import expotion.music.make as making
from expotion.cli.main import run

Capture = pytest.CaptureFixture[str]
RECIPE = "name: mine\ndata: {source: conductor}\n"


@pytest.fixture
def told(tmp_path: Path, capsys: Capture) -> Callable[..., str]:
    """What `recipe check` says of a recipe with these lines."""

    def check(lines: str, *options: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(RECIPE + lines)
        assert run(["recipe", "check", str(path), *options]) == 2
        return capsys.readouterr().err

    return check


@pytest.mark.parametrize(
    ("lines", "fix"),
    [
        ("seed: 1_000", "mine.yaml:3 seed: a whole number, got '1_000'; write 1000\n"),
        ("seed: '1000'", "remove the quotes: 1000\n"),
        ("train: {learning_rate: {other: 1_0e-4}}", "write 10e-4\n"),
        ("seed: a_1", "mine.yaml:3 seed: a whole number, got 'a_1'\n"),
        (f"evaluate: {{metrics: [{'a,' * 20_000}]}}", "at most 20,000 values, got more; make its lists shorter\n"),
        (
            f"a: &a [{'x,' * 200}]\nb: &b [{'*a,' * 101}]",
            "at most 20,000 values, got more after expanding aliases; use fewer aliases\n",
        ),
    ],
    ids=["underscores", "quotes", "underscores in a fraction", "no number", "a long list", "aliases"],
)
def test_fixes_of_values(lines: str, fix: str, told: Callable[..., str]) -> None:
    assert fix in told(lines)


def test_what_the_written_fix_says_is_right(told: Callable[..., str], tmp_path: Path) -> None:
    told("seed: 1_000")
    (tmp_path / "mine.yaml").write_text(RECIPE + "seed: 1000\n")
    assert run(["recipe", "check", str(tmp_path / "mine.yaml")]) == 0


def test_an_open_bracket_of_set(told: Callable[..., str]) -> None:
    assert "close its brackets and quotes" in told("", "--set", "generate.scales={face: 2")


def test_an_empty_file_of_steering(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "calm.yaml").write_text("# nothing yet\n")
    clip = encode(tmp_path / "a.mp4", n=3)
    assert run(["generate", str(clip), "--steering", str(tmp_path / "calm.yaml")]) == 1
    shown = capsys.readouterr().err
    assert "calm.yaml: a mapping of fields, got nothing; for example: temperature: 0.9" in shown
    assert "recipe" not in shown


def test_a_full_disk_in_a_command_that_has_no_resume(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.wav"))

    monkeypatch.setattr(making, "generate_files", full)
    assert run(["generate", str(encode(tmp_path / "a.mp4", n=3))]) == 1
    assert "run the command again, `recipe run` with --resume." in capsys.readouterr().err


def test_options_of_features_that_do_not_go_together(capsys: Capture) -> None:
    for options, fix in [
        (["--recipe", "face", "--encoder", "face_marlin"], "leave out one"),
        (["--option", "geometry=tiny"], "name the encoder whose option it is"),
        (["--encoder", "face_marlin", "--option", "geometri=tiny"], "did you mean 'geometry'?"),
        (["--encoder", "face_marlin", "--option", "margin=[1"], "close its brackets and quotes"),
    ]:
        assert run(["features", "show", "a.mp4", *options]) == 2
        assert fix in capsys.readouterr().err
