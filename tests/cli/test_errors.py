"""One handler: every end of a command is a message and an exit code, a traceback only with --debug."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expotion.cli.main import main, run
from expotion.errors import MediaError, Problem

StandIn = Callable[..., list[dict[str, Any]]]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ends_with(recipes: Path, stand_in: StandIn) -> Callable[[BaseException], None]:
    def arrange(error: BaseException) -> None:
        def fail(**arguments: Any) -> None:
            raise error

        stand_in("expotion.run.stages", "run_recipe", fail)

    return arrange


COMMAND = ["recipe", "run", "wave"]


def test_problems_are_listed_without_a_traceback(ends_with: Callable[..., None], capsys: Capture) -> None:
    ends_with(MediaError([Problem("a.mp4", "a video", "[no] frames"), Problem("b.mp4", "a file")]))
    assert run(COMMAND) == 1
    assert capsys.readouterr().err.splitlines() == ["a.mp4: a video, got [no] frames", "b.mp4: a file"]


def test_ctrl_c_tells_how_to_go_on(ends_with: Callable[..., None], capsys: Capture) -> None:
    ends_with(KeyboardInterrupt(Path("runs/wave-1")))
    assert run(COMMAND) == 130
    assert capsys.readouterr().err.splitlines() == [
        "Stopped.",
        "Go on where it stopped: expotion recipe run --resume runs/wave-1",
    ]


def test_a_full_disk_is_named(ends_with: Callable[..., None], capsys: Capture) -> None:
    ends_with(OSError(errno.ENOSPC, "No space left on device", "runs/wave-1/samples/3.wav"))
    assert run(COMMAND) == 1
    error = capsys.readouterr().err
    assert error.startswith("The disk is full while writing runs/wave-1/samples/3.wav.")
    assert "--resume" in error


def test_a_file_that_may_not_be_written_is_named(ends_with: Callable[..., None], capsys: Capture) -> None:
    ends_with(PermissionError(errno.EACCES, "Permission denied", "/runs"))
    assert run(COMMAND) == 1
    assert capsys.readouterr().err == "/runs: permission denied\n"


def test_the_unexpected_is_two_lines_with_a_hint(ends_with: Callable[..., None], capsys: Capture) -> None:
    ends_with(ZeroDivisionError("division by zero"))
    assert run(COMMAND) == 1
    error = capsys.readouterr().err
    assert "Unexpected ZeroDivisionError: division by zero" in error
    assert "--debug" in error and "Traceback" not in error


@pytest.mark.parametrize("where", [0, 3])
def test_debug_anywhere_shows_the_traceback(where: int, ends_with: Callable[..., None]) -> None:
    ends_with(ZeroDivisionError("division by zero"))
    arguments = list(COMMAND)
    arguments.insert(where, "--debug")
    with pytest.raises(ZeroDivisionError):
        run(arguments)


def test_main_exits_with_the_code(ends_with: Callable[..., None]) -> None:
    ends_with(KeyboardInterrupt())
    with pytest.raises(SystemExit) as left:
        main(COMMAND)
    assert left.value.code == 130
