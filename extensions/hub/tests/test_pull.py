from __future__ import annotations

import hashlib
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest

import expotion.plugins
from expotion.cli.main import run
from expotion.contracts import EncoderSpec, Options, Weights, hookimpl, pulled_weights
from expotion.errors import ExpotionError, WeightsError
from expotion.plugins import Registry, discover
from expotion_hub.catalogue import Entry, catalogue, find
from expotion_hub.pull import pull, pulled


class HandsOptions(Options):
    size: Literal["tiny", "big"] = "tiny"
    device: str = "cpu"


@pytest.fixture
def registry(monkeypatch, server) -> Registry:
    module = ModuleType("hands")

    def weights(options: HandsOptions) -> list[Weights]:
        if options.size == "tiny":
            return [Weights("hands_tiny", "shipped", "Apache-2.0")]
        # https in the catalogue; the local server stands in for it below
        return [Weights("hands_big", "https://example.org/weights.pt", "CC-BY-NC-4.0", non_commercial=True)]

    spec = EncoderSpec(
        "hands", "hands", frozenset({"video"}), lambda o: None, options=HandsOptions, weights=weights
    )
    module.expotion_encoders = hookimpl(lambda: [spec])
    point: Any = SimpleNamespace(name="hands", dist=SimpleNamespace(name="hands", version="1"), load=lambda: module)
    found = discover([point], builtins=())
    monkeypatch.setattr(expotion.plugins, "discover", lambda: found)
    return found


@pytest.fixture
def entry(server) -> Entry:
    return Entry("w", "weights", server.address, "MIT")


def test_catalogue_has_our_models_and_the_encoders_downloads(registry):
    entries = catalogue(registry)
    assert entries["musicgen_large"].source == "hf:facebook/musicgen-large"
    assert entries["musicgen_large"].non_commercial
    assert entries["hands_big"].used_by == "encoder hands" and entries["hands_big"].non_commercial
    assert "hands_tiny" not in entries
    with pytest.raises(ExpotionError, match="did you mean 'musicgen_small'"):
        find(registry, "musicgen_smal")


def test_the_installed_encoders_announce_their_official_weights():
    names = catalogue(discover())
    assert {"marlin_vit_base_ytf", "synchformer_sync_audioset", "raft_small_things", "mediapipe_person"} <= set(
        names
    )
    assert names["mediapipe_person"].source.startswith("wheel:") and len(names["mediapipe_person"].files) == 5
    assert names["marlin_vit_base_ytf"].non_commercial
    assert not names["raft_large_things"].non_commercial


def test_pulled_once_then_from_the_cache(server, empty_cache, entry):
    note = pull(entry)
    assert note.sha256 == server.sha256 and note.size_bytes == len(server.data)
    assert str(pulled_weights("w")) == note.file and pulled("w") == note
    assert pull(entry) == note
    assert len(server.ranges) == 1


def test_the_first_hash_is_remembered(server, empty_cache, entry):
    note = pull(entry)
    (empty_cache / "models" / "w" / "weights.pt").unlink()
    assert pulled_weights("w") is None and pulled("w") is None
    server.data = server.data[::-1]
    with pytest.raises(WeightsError, match="refused"):
        pull(entry)
    server.data = server.data[::-1]
    assert pull(entry) == note


def test_interrupted_says_how_far_and_goes_on(server, empty_cache, entry):
    server.breaks = 4
    server.break_after = 1000
    with pytest.raises(WeightsError, match="go on after 4000 bytes") as error:
        pull(entry, pause_s=0.0)
    assert server.address in str(error.value) and "copy the file to" in str(error.value)
    assert pull(entry).sha256 == server.sha256
    assert server.ranges[-1] == "bytes=4000-"


def test_a_file_copied_by_hand_is_taken_and_checked(server, empty_cache, entry):
    server.status = 503
    target = empty_cache / "models" / "w" / "weights.pt"
    with pytest.raises(WeightsError, match=str(target)):
        pull(entry, pause_s=0.0)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"by hand")
    with pytest.raises(WeightsError, match="SHA-256"):
        pull(replace(entry, sha256=server.sha256))
    target.write_bytes(b"by hand")
    assert pull(entry).sha256 == hashlib.sha256(b"by hand").hexdigest()


def hub(monkeypatch, answer):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)


def test_offline_hub_says_how_to_fetch_elsewhere(empty_cache, monkeypatch):
    def offline(*_arguments, **_options):
        raise ConnectionError("no route to the hub")

    hub(monkeypatch, offline)
    with pytest.raises(WeightsError, match="hf download facebook/x") as error:
        pull(Entry("x", "x", "hf:facebook/x", "MIT"))
    assert "no route" in str(error.value) and "HF_HOME" in str(error.value)


def test_hub_files_must_have_the_hash_that_the_hub_names(empty_cache, monkeypatch, tmp_path):
    digest = hashlib.sha256(b"tensors").hexdigest()
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    folder.mkdir()
    (blobs / digest).write_bytes(b"tensors")
    (folder / "model.safetensors").symlink_to(blobs / digest)
    hub(monkeypatch, lambda *_a, **_k: str(folder))
    note = pull(Entry("x", "x", "hf:facebook/x", "MIT"))
    assert note.sha256 == digest and pulled_weights("x") == folder / "model.safetensors"
    (empty_cache / "models" / "x" / "model.json").unlink()
    (blobs / digest).write_bytes(b"others")
    with pytest.raises(WeightsError, match="SHA-256"):
        pull(Entry("x", "x", "hf:facebook/x", "MIT"))


def test_list_and_show(registry, empty_cache, capsys):
    assert run(["models", "list"]) == 0
    shown = capsys.readouterr().out
    assert "hands_big" in shown and "CC-BY-NC-4.0 (non-commercial)" in shown
    assert run(["models", "show", "hands_big"]) == 0
    shown = capsys.readouterr().out
    assert "https://example.org/weights.pt" in shown and "recorded on first download" in shown
    assert run(["models", "show", "hand_big"]) == 1
    assert "did you mean 'hands_big'" in capsys.readouterr().err


def test_non_commercial_is_said_first_and_needs_a_yes(registry, server, empty_cache, monkeypatch, capsys):
    monkeypatch.setattr(
        "expotion_hub.catalogue._entry",
        lambda weights, spec: Entry(weights.name, "hands", server.address, weights.licence, True),
    )
    assert run(["models", "pull", "hands_big"]) == 1
    said = capsys.readouterr()
    assert "non-commercial" in said.out and "--yes" in said.err
    assert server.ranges == []
    assert run(["models", "pull", "hands_big", "--yes"]) == 0
    assert server.sha256 in capsys.readouterr().out
    assert run(["models", "pull", "hands_big"]) == 0  # it is there already
    assert len(server.ranges) == 1
