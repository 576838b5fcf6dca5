"""Checkpoints are whole or absent; a damaged one falls back to the one before and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from expotion.errors import OutputError
from expotion.train import checkpoints
from expotion.train.checkpoints import CheckpointFolder, CheckpointStorage


def test_round_trip_and_pruning(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        CheckpointFolder(tmp_path).save(step, {"w": torch.full((3,), float(step))}, {"trace": "t"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_000020", "step_000030"]
    found = CheckpointFolder(tmp_path).load()
    assert found is not None
    tensors, state, notes = found
    assert tensors["w"].tolist() == [30.0] * 3
    assert state == {"step": 30, "trace": "t"}
    assert notes == []


@pytest.mark.parametrize("victim", ["tensors.safetensors", "state.json", "sha256.json"])
def test_a_damaged_checkpoint_falls_back(tmp_path: Path, victim: str) -> None:
    for step in (1, 2):
        CheckpointFolder(tmp_path).save(step, {"w": torch.ones(2) * step}, {})
    file = tmp_path / "step_000002" / victim
    file.write_bytes(file.read_bytes()[:-7])
    found = CheckpointFolder(tmp_path).load()
    assert found is not None
    assert found[1]["step"] == 1
    assert "step_000002 is damaged" in found[2][0]


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "absent").load() is None


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CheckpointFolder(tmp_path).save(1, {"w": torch.ones(2)}, {})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "to_bytes", full)
    with pytest.raises(OutputError, match="No space"):
        CheckpointFolder(tmp_path).save(2, {"w": torch.ones(2)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["step_000001"]


def test_what_ray_kept_before_is_found_and_is_the_older(tmp_path: Path) -> None:
    for step in (2, 4):
        CheckpointFolder(tmp_path / "made").save(step, {"w": torch.ones(1)}, {})
    (tmp_path / "kept" / "ray-1a2b").mkdir(parents=True)
    for step in (2, 4):
        old = tmp_path / "kept" / "ray-1a2b" / f"checkpoint_2026-11-28_20-42-0{step}.123456"
        (tmp_path / "made" / f"step_00000{step}").rename(old)
    for name in ("checkpoint_manager_snapshot.json", ".validate_storage_marker"):
        (old.parent / name).touch()  # Ray's own, beside them
    kept = CheckpointFolder(tmp_path / "kept")
    for found in (kept.load(), CheckpointStorage(old.parent.as_uri()).load()):
        assert found is not None and (found[1]["step"], found[2]) == (4, [])
    kept.save(6, {"w": torch.ones(1)}, {})
    found = kept.load()
    assert found is not None and found[1]["step"] == 6
    kept.clear()
    assert kept.load() is None


def test_checkpoints_under_a_url(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.fs")
    kept = CheckpointStorage(f"{tmp_path.as_uri()}/runs/ray-1a2b")
    assert kept.load() is None
    for step in (1, 2, 3):
        kept.save(step, {"w": torch.ones(2) * step}, {"trace": "t"})
    place = tmp_path / "runs" / "ray-1a2b"
    assert sorted(path.name for path in place.iterdir()) == ["step_000002", "step_000003"]
    (place / "step_000003" / "sha256.json").unlink()  # as when writing it was broken off
    found = kept.load()
    assert found is not None
    assert (found[0]["w"].tolist(), found[1], len(found[2])) == ([2.0, 2.0], {"step": 2, "trace": "t"}, 1)
    kept.clear()
    assert kept.load() is None
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file://.*/file/x/step_000001: could not be written"):
        CheckpointStorage(f"{tmp_path.as_uri()}/file/x").save(1, {"w": torch.ones(2)}, {})
