from __future__ import annotations

import hashlib
import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from expotion.errors import WeightsError
from expotion_hub.catalogue import Entry
from expotion_hub.pull import pull, pulled, whole

CONTENT = {"eyes/eyes.tflite": b"eyes" * 100, "hands/hands.tflite": b"hands" * 100}
INSIDE = "lookers/modules"


def entry() -> Entry:
    files = tuple((path, hashlib.sha256(content).hexdigest()) for path, content in CONTENT.items())
    return Entry("lookers", "lookers", f"wheel:lookers==1.2!{INSIDE}", "Apache-2.0", files=files)


def wheel(folder: Path, content: dict[str, bytes] = CONTENT) -> Path:
    path = folder / "lookers-1.2-cp312-cp312-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"{INSIDE}/{name}", data)
        archive.writestr("lookers/code.py", "raise SystemExit('nothing of a wheel is run')")
    return path


@pytest.fixture
def installer(tmp_path, monkeypatch):
    """A `uv` that unpacks the wheel of this folder, and writes down how it was called; no pip."""
    source, log = wheel(tmp_path), tmp_path / "called"
    program = tmp_path / "bin" / "uv"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" > {log}\n'
        'while [ "$1" != "--target" ]; do shift; done\n'
        f'{sys.executable} -m zipfile -e {source} "$2"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else found(name))
    return program, log


def test_the_users_installer_fetches_and_only_the_named_files_stay(installer, empty_cache):
    note = pull(entry())
    called = installer[1].read_text()
    assert "pip install --no-deps --only-binary :all:" in called and called.endswith("lookers==1.2\n")
    folder = empty_cache / "models" / "lookers"
    assert sorted(path.name for path in folder.iterdir()) == ["eyes.tflite", "hands.tflite", "model.json"]
    assert (folder / "hands.tflite").read_bytes() == CONTENT["hands/hands.tflite"]
    assert Path(note.file) == folder / "eyes.tflite" and note.size_bytes == 900 and pulled("lookers") == note
    temporary = Path(called.split("--target ")[1].split()[0])
    assert temporary.name.startswith("expotion-wheel-") and not temporary.exists()
    installer[1].unlink()
    assert pull(entry()) == note and not installer[1].exists()


def test_a_wheel_at_hand_needs_no_network(tmp_path, empty_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    note = pull(entry(), wheel=wheel(tmp_path))
    assert Path(note.folder, "eyes.tflite").read_bytes() == CONTENT["eyes/eyes.tflite"]


def test_a_truncated_file_in_the_cache_is_fetched_again(tmp_path, empty_cache):
    note = pull(entry(), wheel=wheel(tmp_path))
    cut = Path(note.folder, "hands.tflite")
    cut.write_bytes(cut.read_bytes()[:100])
    assert whole(entry()) is None and pulled("lookers") == note
    assert pull(entry(), wheel=wheel(tmp_path)) == note == whole(entry())


def test_another_content_under_the_name_is_refused_and_nothing_stays(tmp_path, empty_cache):
    changed = wheel(tmp_path, {**CONTENT, "hands/hands.tflite": b"others"})
    with pytest.raises(WeightsError, match=r"hands/hands.tflite: a file whose SHA-256 begins with .*refused"):
        pull(entry(), wheel=changed)
    with pytest.raises(WeightsError, match=r"lookers/modules/hands/hands.tflite in the wheel"):
        pull(entry(), wheel=wheel(tmp_path, {"eyes/eyes.tflite": CONTENT["eyes/eyes.tflite"]}))
    (tmp_path / "none.whl").write_bytes(b"no archive")
    for bad in ("none.whl", "nowhere.whl"):
        with pytest.raises(WeightsError, match=rf"--from .*{bad}: a wheel of lookers==1.2"):
            pull(entry(), wheel=tmp_path / bad)
    assert not (empty_cache / "models" / "lookers").exists()


def test_without_a_connection_the_way_by_hand_is_said(installer, empty_cache, monkeypatch):
    installer[0].write_text('#!/bin/sh\necho "error: no route to the index" >&2\nexit 1\n')
    with pytest.raises(WeightsError, match="no route to the index") as error:
        pull(entry())
    assert "expotion models pull lookers --from FILE.whl" in str(error.value)
    assert "pip download --no-deps --only-binary=:all: --platform manylinux_2_28_x86_64" in str(error.value)
    installer[0].unlink()
    monkeypatch.setenv("PATH", str(installer[0].parent))
    with pytest.raises(WeightsError, match="neither pip nor uv"):
        pull(entry())
