"""Values of the wrong kind into the Python API, and what a right call must not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from media import encode

import expotion
from expotion.errors import ExpotionError
from expotion.music.composer import Composer

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ["a", "b"]}, "prompt: text, got a list"),
    ({"prompt": 5}, 'prompt: text, got 5; put it in quotes: "5"'),
    ({"prompt": b"x"}, "prompt: text, got b'x'"),
    ({"strength": 5}, "strengths: a mapping, got 5"),
    ({"strength": {"glow": ["a"]}}, "strengths.glow: a number of at least 0, .*, got ..a..; for example 0.5"),
    ({"guidance": {"glow": "x"}}, "guidance.glow: a number, got 'x'"),
    ({"controls": {"glow": 5}}, "controls.glow: a path, got 5"),
    ({"seed": "x"}, "seed: a whole number, got 'x'"),
    ({"precision": 5}, "precision: one of auto, .*, got 5"),
    ({"adaptor": 5}, "adaptor: a path, got 5"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("api") / "clip.mp4")


@pytest.fixture
def composer(finished: Path, in_the_world_of_lamps: None) -> Composer:
    return expotion.load(finished)


def test_keywords_of_the_wrong_kind(composer: Composer, clip: Path) -> None:
    for given, told in WRONG:
        with pytest.raises(ExpotionError, match=told):
            composer.compose(clip, **given)


def test_clips_and_lengths_of_the_wrong_kind(composer: Composer, clip: Path) -> None:
    for wrong, shown in ((5, "5"), (b"clip.mp4", "b'clip.mp4'"), (None, "nothing"), (["clip.mp4"], "a list")):
        with pytest.raises(ExpotionError, match=f"clip: a path, or a Clip of expotion.contracts, got {shown}"):
            composer.compose(wrong)  # type: ignore[arg-type]
    with pytest.raises(ExpotionError, match="steering: a Steering, or keywords, got 5"):
        composer.compose(clip, 5)  # type: ignore[arg-type]
    for chunk_s in ("x", [1.0], 0.0, -1.0, float("nan")):
        with pytest.raises(ExpotionError, match="chunk_s: a number of seconds above 0, got"):
            next(composer.stream(clip, chunk_s=chunk_s))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["adaptor.safetensors", "adaptor.json", "README.md"])
def test_a_file_of_an_adaptor_is_not_its_folder(finished: Path, name: str) -> None:
    folder = finished / "adaptor"
    with pytest.raises(ExpotionError) as caught:
        expotion.load(folder / name)
    assert str(caught.value) == (f"{folder / name}: an adaptor folder with adaptor.json; give its folder: {folder}")


def test_what_cannot_be_loaded() -> None:
    for given, told in (
        ({"adaptor": 5}, "adaptor: a path, got 5"),
        ({"adaptor": b"x"}, "adaptor: a path, got b'x'"),
        ({"backbone": 5}, "backbone: text, got 5"),
        ({"precision": "fp99"}, "precision: one of auto, .*, got 'fp99'"),
        ({"adaptor": "~nobody-of-that-name/x"}, "~nobody-of-that-name/x: an adaptor folder with adaptor.json"),
    ):
        with pytest.raises(ExpotionError, match=told):
            expotion.load(**given)
