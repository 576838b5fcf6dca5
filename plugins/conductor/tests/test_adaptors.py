"""Two adaptors ship: which of them is taken where none is named, and what is said of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from expotion.adaptor.checkpoint import DESCRIPTION
from expotion.errors import ExpotionError
from expotion.files import write_json
from expotion.music.steering import Steering, described, find_adaptor, shipped_adaptor
from expotion.plugins import discover
from expotion_conductor.backbone import locate_default_adaptor, locate_person_adaptor

PULL = "expotion models pull mediapipe_person"


@pytest.fixture(autouse=True)
def nothing_pulled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("EXPOTION_ADAPTOR")
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def pull(cache: Path) -> None:
    """As `expotion models pull` leaves a note and a file; nothing here reads the file."""
    folder = cache / "models" / "mediapipe_person"
    folder.mkdir(parents=True)
    (folder / "pose.tflite").touch()
    write_json(folder / "model.json", {"file": str(folder / "pose.tflite")})


def said(steering: Steering) -> str:
    console = Console(file=io.StringIO(), width=40)
    steering.say_adaptor(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_without_models_of_people_it_is_pixels_and_the_command_is_said() -> None:
    assert Steering().folder == locate_default_adaptor()
    assert said(Steering()) == f"adaptor: pixels; person after: {PULL}\n"
    assert shipped_adaptor(discover(), "tiny-1")[0] == locate_default_adaptor()


def test_with_them_it_is_the_persons(nothing_pulled: Path) -> None:
    pull(nothing_pulled)
    assert Steering().folder == locate_person_adaptor()
    assert said(Steering()) == "adaptor: person\n"
    assert Steering(adaptor=Path("pixels")).folder == locate_default_adaptor()


def test_a_name_forces_it_and_a_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = Steering.of(adaptor="person")
    assert named.folder == locate_person_adaptor() and said(named) == ""
    assert named.named_adaptor == str(locate_person_adaptor())
    (tmp_path / "person").mkdir()
    assert find_adaptor(Path("person"), discover(), None) == Path("person")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_adaptor(Path("~/mine"), discover(), None) == tmp_path / "mine"


def test_the_environment_names_one_of_them(monkeypatch: pytest.MonkeyPatch, nothing_pulled: Path) -> None:
    pull(nothing_pulled)
    monkeypatch.setenv("EXPOTION_ADAPTOR", "pixels")
    assert Steering().folder == locate_default_adaptor() and said(Steering()) == "adaptor: pixels\n"
    monkeypatch.setenv("EXPOTION_ADAPTOR", "pixel")
    with pytest.raises(ExpotionError, match="EXPOTION_ADAPTOR: person or pixels, got pixel"):
        _ = Steering().folder


def test_the_persons_adaptor_is_that_of_its_recipe() -> None:
    recipe, _ = described(locate_person_adaptor())
    [beat] = recipe.conditions
    assert (recipe.name, beat.encoder, beat.options["true_beats"]) == ("person", "movement_beat", True)
    assert (locate_person_adaptor() / DESCRIPTION).is_file()
