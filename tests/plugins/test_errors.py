from __future__ import annotations

import pytest

from expotion.errors import MediaError, Problem, first_line, in_short, last_line


@pytest.mark.parametrize(
    ("error", "line", "short"),
    [
        (ValueError("  no such file\nat line 3"), "no such file", "ValueError: no such file"),
        (KeyError("beat"), "'beat'", "KeyError: 'beat'"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (OSError("\n\n"), "OSError", "OSError"),
        (MediaError(Problem("a.mp4", "a video", "text")), "a.mp4: a video, got text", "a.mp4: a video, got text"),
    ],
)
def test_an_error_in_a_line(error: Exception, line: str, short: str) -> None:
    assert (first_line(error), in_short(error)) == (line, short)


def test_all_problems_of_ours_are_told() -> None:
    error = MediaError([Problem("a", "sound"), Problem("b", "a picture")])
    assert in_short(error) == "a: sound\nb: a picture"
    assert first_line(error) == "a: sound"


@pytest.mark.parametrize(
    ("said", "line"),
    [("Task failed\n  killed by signal 9 \n", "killed by signal 9"), ("\n", "OSError"), ("gone", "gone")],
)
def test_what_an_error_died_of_stands_last(said: str, line: str) -> None:
    assert last_line(OSError(said)) == line
