from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from expotion.errors import Problem, RecipeError
from expotion.recipe.nodes import MAX_BYTES, parse_scalar, read_file, read_text


def plain(text: str) -> Any:
    problems: list[Problem] = []
    node = read_text(text, "r.yaml", problems)
    assert problems == []
    return node.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("8.0e-3", 8e-3),
        (".5", 0.5),
        ("3", 3),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'1e-4'", "1e-4"),
        ('"true"', "true"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    read = plain(f"a: {text}")["a"]
    assert read == value
    assert type(read) is type(value)


def test_infinity_and_not_a_number_are_read_as_such() -> None:
    assert parse_scalar("-.inf") == -math.inf
    assert math.isnan(float(parse_scalar(".nan") or 0))


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_that_python_prints_is_read_back(value: float) -> None:
    assert parse_scalar(repr(value)) == value


def test_positions_are_those_of_the_keys() -> None:
    node = read_text("a:\n  b:\n    - 1\n    - c: 2\n", "r.yaml", [])
    assert node.at(("a", "b")).where == "r.yaml:2"
    assert node.at(("a", "b", 1, "c")).where == "r.yaml:4"
    assert node.at(("a", "missing")).where == "r.yaml:1"


def test_repeated_keys_are_problems_at_every_depth() -> None:
    problems: list[Problem] = []
    read_text("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "r.yaml", problems)
    assert [problem.where for problem in problems] == ["r.yaml:4 c", "r.yaml:5 a"]


def test_anchors_aliases_and_merges_work() -> None:
    text = "base: &b {x: 1, y: 2}\nsame: *b\nmore:\n  <<: *b\n  y: 3\n"
    assert plain(text) == {"base": {"x": 1, "y": 2}, "same": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}}


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(RecipeError, match="more after expanding aliases"):
        read_text("\n".join(lines), "r.yaml", [])


def test_an_alias_of_itself_is_refused() -> None:
    with pytest.raises(RecipeError, match="an alias that contains itself"):
        read_text("a: &a [*a]", "r.yaml", [])


STYLES = """\
# every way to write a value, and where it stands
a: {b: [1, 'two', "three\\n", 4.5e-1, ~], c: &c {d: off, e: 0x1F}}
<<: *c
? long
: |
  text
   more
folded: >-
  one
  two
é: é ☃ 😀
"""


@pytest.mark.parametrize("text", [STYLES, "", "--- # nothing\n", "-\n- [[], {}]\n- !!str 3\n- =\n"])
def test_libyaml_reads_what_pyyaml_reads(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, lines and faults."""
    faults: tuple[list[Problem], list[Problem]] = ([], [])
    fast = read_text(text, "r.yaml", faults[0])
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert read_text(text, "r.yaml", faults[1]) == fast
    assert faults[0] == faults[1]


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(RecipeError, match="nesting of at most"):
        read_text("a: " + "[" * 60 + "]" * 60, "r.yaml", [])
    with pytest.raises(RecipeError, match="nesting of at most"):
        read_text("- " * 50_000, "r.yaml", [])


def test_tags_that_make_objects_are_refused() -> None:
    problems: list[Problem] = []
    read_text("a: !!python/object/apply:os.system ['true']", "r.yaml", problems)
    assert "remove the tag" in str(problems[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", r"r\.yaml:1: valid YAML"),
        ("a:\n\t- 1", r"r\.yaml:2: valid YAML.*indent with spaces"),
        ("a: 1\n---\nb: 2", "valid YAML"),
        ("a: *nowhere", "valid YAML"),
        ("a: \x00", "valid YAML"),
    ],
)
def test_what_is_no_yaml_names_the_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_text(text, "r.yaml", [])


def test_files_that_are_no_text_or_too_big_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match="a text file in UTF-8, got byte 0xff"):
        read_file(binary, [])
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(RecipeError, match="give a file of settings"):
        read_file(big, [])
    with pytest.raises(RecipeError, match="a readable file"):
        read_file(tmp_path, [])
