"""`expotion verify` on files: what is found, what it prints, how it exits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from expotion.cli.main import run
from expotion_verify.golden import UnreadableGolden, deviation_of, find_golden, kind_of

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"


@pytest.fixture
def folder(tmp_path):
    """A file of the repository under another suffix, as others will bring them."""
    for suffix in (".json", ".npz"):
        shutil.copy(GOLDEN / f"lr_schedule_dev{suffix}", tmp_path / f"lr_schedule_other{suffix}")
    return tmp_path


def rewrite(folder, **changes):
    path = folder / "lr_schedule_other.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})


def test_kind_is_the_longest_that_fits():
    kinds = ["marlin", "marlin_postable", "raft_small", "musicgen_lm"]
    assert kind_of("marlin_dev", kinds) == "marlin"
    assert kind_of("marlin_postable_dev", kinds) == "marlin_postable"
    assert kind_of("musicgen_lm", kinds) == "musicgen_lm"
    assert kind_of("marlinx_dev", kinds) is None
    assert kind_of("raft", kinds) is None


def test_pairs_are_found_in_folders_and_by_any_of_their_names(folder):
    (folder / "notes.json").write_text("{}")
    kinds = ["lr_schedule"]
    for path in (folder, folder / "lr_schedule_other", folder / "lr_schedule_other.npz"):
        assert [(found.stem.name, found.kind) for found in find_golden([path], kinds)] == [
            ("lr_schedule_other", "lr_schedule")
        ]
    assert len(find_golden([folder, folder / "lr_schedule_other.json"], kinds)) == 1


def test_agreement_exits_with_0_and_writes_the_table(folder, capsys):
    assert run(["verify", str(folder), "--json", str(folder / "out" / "table.json")]) == 0
    shown = capsys.readouterr().out
    assert "learning rate" in shown and "1e-12" in shown and "1 files" in shown
    table = json.loads((folder / "out" / "table.json").read_text())
    row = next(row for row in table["rows"] if row["quantity"] == "learning rate")
    assert table["exit_code"] == 0 and row["verdict"] == "ok" and row["kind"] == "lr_schedule"
    assert 0 <= row["deviation"] < row["tolerance"] == 1e-12


@pytest.mark.parametrize("change", ["gone", "moved", "shape"])
def test_a_shortfall_exits_with_1(folder, capsys, change):
    with np.load(folder / "lr_schedule_other.npz") as file:
        rates = file["lr"]
    rewrite(folder, lr={"gone": None, "moved": rates + 1e-9, "shape": rates[:-1]}[change])
    assert run(["verify", str(folder)]) == 1
    assert "failed" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["json", "listing", "npz", "missing", "pickle"])
def test_a_file_that_cannot_be_read_exits_with_2(folder, capsys, damage):
    about, arrays = folder / "lr_schedule_other.json", folder / "lr_schedule_other.npz"
    if damage == "json":
        about.write_text("{")
    elif damage == "listing":
        about.write_text('{"arrays": [1]}')
    elif damage == "npz":
        arrays.write_bytes(arrays.read_bytes()[:200])
    elif damage == "missing":
        arrays.unlink()
    else:
        np.savez(arrays, lr=np.array([object()], dtype=object))
    assert run(["verify", str(folder)]) == 2
    assert "unreadable" in capsys.readouterr().out


def test_nothing_to_check_exits_with_2(tmp_path, capsys):
    assert run(["verify", str(tmp_path)]) == 2
    assert run(["verify", str(tmp_path / "nowhere")]) == 2
    assert "golden file" in capsys.readouterr().err
    with pytest.raises(UnreadableGolden):
        find_golden([tmp_path], ["lr_schedule"])


def test_a_kind_that_nobody_knows_is_skipped(folder, capsys):
    for suffix in (".json", ".npz"):
        shutil.copy(folder / f"lr_schedule_other{suffix}", folder / f"wavelet_other{suffix}")
    assert run(["verify", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "skipped" in shown and "wavelet_other" in shown


def test_deviation():
    nan = np.nan
    assert deviation_of(np.array([1.0, nan]), np.array([1.5, nan])) == (0.5, "")
    assert deviation_of(np.array([1.0, 2.0]), np.array([1.0, nan]))[0] is None
    assert deviation_of(np.zeros(2), np.zeros(3))[0] is None
    assert deviation_of(np.array([8.0]), np.array([10.0]), relative=True) == (0.2, "")
    assert deviation_of(np.array([np.inf]), np.array([np.inf])) == (0.0, "")
    assert deviation_of(np.array([np.inf]), np.array([1.0]))[0] == np.inf
