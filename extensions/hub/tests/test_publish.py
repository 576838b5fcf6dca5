"""Publishing: cards, folders, repositories, and loading by id wherever a run folder is taken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from expotion.adaptor.published import adaptor_folder
from expotion.cli.main import run
from expotion.errors import ExpotionError, OutputError, WeightsError
from expotion.plugins import Registry
from expotion_hub.publish import card_of, pull_adaptor, push_adaptor

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A hub on this machine: ORG/NAME is a folder with one snapshot."""
    root = tmp_path / "hub"

    class Api:
        def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
            assert exist_ok
            (root / repository).mkdir(parents=True, exist_ok=True)
            (root / repository / "private").write_text(str(private))

        def upload_folder(self, *, repo_id: str, folder_path: str, allow_patterns: list[str], **rest: Any) -> None:
            assert rest["commit_message"]
            snapshot = root / repo_id / "snapshots" / COMMIT
            snapshot.mkdir(parents=True, exist_ok=True)
            for path in Path(folder_path).iterdir():
                assert path.name in allow_patterns
                shutil.copy(path, snapshot)

    def snapshot_download(repository: str, *, revision: str | None, **_: Any) -> str:
        folder = root / repository / "snapshots" / (revision or COMMIT)
        if not folder.is_dir():
            raise ConnectionError(f"404 {repository}\nmore about it")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return root


def test_the_card_says_what_there_is_to_know(finished: Path, lamps: Registry) -> None:
    card = card_of(adaptor_folder(finished), lamps, name="hf:me/lamps", licence="CC-BY-4.0")
    assert card.startswith("---\nlibrary_name: expotion\n")
    for wanted in (
        "license: cc-by-4.0",
        "expotion generate CLIP.mp4 --adaptor hf:me/lamps",
        'expotion.load("hf:me/lamps")',
        "| glow | glow |",
        "4 steps of 2 clips",
        "train_clips 3",
        "| glow+sway |",
        "backbone lamps",
        "```yaml\nname: lamps",
    ):
        assert wanted in card, wanted


def test_an_adaptor_without_measurements_says_so(finished: Path, lamps: Registry, tmp_path: Path) -> None:
    shutil.copytree(finished / "adaptor", tmp_path / "alone")
    assert "None were measured" in card_of(tmp_path / "alone", lamps)


def test_to_a_folder_and_back(
    finished: Path, lamps: Registry, tmp_path: Path, leftovers: Callable[[Path], list[str]]
) -> None:
    target = tmp_path / "published"
    assert push_adaptor(finished, str(target), lamps, licence="mit") == str(target)
    assert sorted(p.name for p in target.iterdir()) == [
        "README.md",
        "adaptor.json",
        "adaptor.safetensors",
        "metrics.json",
        "recipe.yaml",
    ]
    assert "license: mit" in (target / "README.md").read_text()
    assert pull_adaptor(str(target), tmp_path / "copy") == tmp_path / "copy"
    for name in ("adaptor.safetensors", "adaptor.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (finished / "adaptor" / name).read_bytes()
    push_adaptor(finished, str(target), lamps)  # over itself
    assert "license: other" in (target / "README.md").read_text()
    assert leftovers(tmp_path) == []


def test_other_peoples_files_are_left_alone(finished: Path, lamps: Registry, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("x")
    with pytest.raises(OutputError, match="a new or empty folder, or an adaptor"):
        push_adaptor(finished, str(tmp_path / "letters"), lamps)
    assert [p.name for p in (tmp_path / "letters").iterdir()] == ["love.txt"]


def test_through_the_hub(finished: Path, hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["adaptor", "push", str(finished), "hf:me/lamps", "--private"]) == 0
    assert "https://huggingface.co/me/lamps" in capsys.readouterr().out
    assert (hub / "me/lamps/private").read_text() == "True"
    assert run(["adaptor", "pull", "hf:me/lamps", "--out", str(tmp_path / "here")]) == 0
    fetched = (tmp_path / "here" / "adaptor.safetensors").read_bytes()
    assert fetched == (finished / "adaptor" / "adaptor.safetensors").read_bytes()
    assert run(["adaptor", "card", f"hf:me/lamps@{COMMIT}"]) == 0
    assert f"--adaptor hf:me/lamps@{COMMIT}" in capsys.readouterr().out


def test_music_is_made_with_an_adaptor_by_id(
    world: Any, finished: Path, hub: Path, lamps: Registry, tmp_path: Path
) -> None:
    push_adaptor(finished, "hf:me/lamps", lamps)
    clip = Path(__file__).parents[3] / "nowhere.mp4"
    assert run(["generate", str(clip), "--adaptor", "hf:me/lamps"]) != 0  # the clip is missing, not the adaptor
    from expotion.music.composer import open_composer
    from expotion.music.steering import Steering

    composer = open_composer(Path("hf:me/lamps"), lamps)
    assert [c.name for c in composer.recipe.conditions] == ["glow", "sway"]
    steering = Steering.of(adaptor="hf:me/lamps")
    assert steering.to_json()["adaptor"] == "hf:me/lamps"
    assert steering.named_adaptor == f"hf:me/lamps@{COMMIT}"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hf:me", "hf:ORG/NAME or hf:ORG/NAME@REVISION"),
        ("hf:a/b/c", "hf:ORG/NAME or hf:ORG/NAME@REVISION"),
        ("hf:me/absent", "an adaptor that can be downloaded.*404 me/absent"),
    ],
)
def test_wrong_references(hub: Path, reference: str, message: str) -> None:
    with pytest.raises(ExpotionError, match=message):
        adaptor_folder(reference)


def test_damaged_tensors_are_refused(finished: Path, hub: Path, lamps: Registry) -> None:
    push_adaptor(finished, "hf:me/lamps", lamps)
    file = hub / "me/lamps/snapshots" / COMMIT / "adaptor.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(WeightsError, match=r"adaptor\.safetensors.*SHA-256.*fetch it again"):
        adaptor_folder("hf:me/lamps")


def test_an_imported_adaptor_has_no_recipe_to_publish(finished: Path, lamps: Registry, tmp_path: Path) -> None:
    shutil.copytree(finished / "adaptor", tmp_path / "bare")
    description = json.loads((tmp_path / "bare" / "adaptor.json").read_text())
    description["metadata"] = {}
    (tmp_path / "bare" / "adaptor.json").write_text(json.dumps(description))
    with pytest.raises(WeightsError, match="an adaptor that a recipe trained"):
        push_adaptor(tmp_path / "bare", str(tmp_path / "out"), lamps)
    assert not (tmp_path / "out").exists()
