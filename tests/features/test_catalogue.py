"""What is in the store, and what leaves it and comes back."""

import datetime
import json
import os

import numpy as np
import pytest
from extraction import extract_clip

from expotion.contracts import TimedFeatures
from expotion.errors import ExpotionError
from expotion.features import catalogue
from expotion.features.catalogue import scan, select, verify
from expotion.features.store import FeatureStore, imported_key


@pytest.fixture
def filled(tmp_path, toy, clip):
    store = FeatureStore(tmp_path / "store")
    for seed, name in enumerate("abc"):
        extract_clip(toy(), clip(name, seed=seed), store)
    extract_clip(toy(gain=2.0), clip("a"), store)
    return store


def test_headers_tell_where_entries_come_from(filled, clip):
    entries, damaged = scan(filled)
    assert damaged == []
    assert len(entries) == 4
    one = next(e for e in entries if e.notes["clip"] == "b")
    assert one.notes["clip hash"] == clip("b", seed=1).content_hash
    assert one.notes["key"] == one.path.stem
    assert json.loads(one.notes["options"]) == {"gain": 1.0, "fail_on": ""}
    assert (one.encoder, one.shape, one.rate_hz, one.notes["weights"]) == ("toy", (20, 2), 10.0, "w1")
    assert len({e.options_digest for e in entries}) == 2
    assert datetime.datetime.fromisoformat(one.notes["made at"]) <= datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize("place", [40, -3])
def test_verify_finds_a_flipped_byte_in_header_or_values(filled, place):
    path = scan(filled)[0][0].path
    blob = bytearray(path.read_bytes())
    blob[place] ^= 1
    path.write_bytes(blob)
    faults = [fault for _, fault in verify(filled) if fault is not None]
    assert [fault.path for fault in faults] == [path]


def test_an_entry_under_another_name_is_not_read(filled, toy, clip):
    wrong = filled.path(filled.key(clip("a"), toy(gain=3.0)))
    right = filled.path(filled.key(clip("a"), toy()))
    wrong.parent.mkdir(exist_ok=True)
    wrong.write_bytes(right.read_bytes())
    assert filled.load(clip("a"), toy(gain=3.0)) is None
    assert "computed again" in filled.reports[0]
    assert [fault.path for _, fault in verify(filled) if fault] == [wrong]


def test_select_by_age_size_and_encoder(filled):
    entries, _ = scan(filled)
    os.utime(entries[2].path, (1.0, 1.0))
    entries, _ = scan(filled)
    assert set(select(entries, older_than_s=60)) == {entries[2].path}
    assert len(select(entries, encoder="toy")) == 4
    assert select(entries, encoder="other", max_bytes=0) == {}
    room = sum(e.n_bytes for e in entries) - 1
    assert set(select(entries, max_bytes=room)) == {entries[2].path}
    assert set(select(entries, stale=lambda e: "x" if e is entries[1] else None)) == {entries[1].path}


@pytest.mark.parametrize("name", ["out.tar", "out"])
def test_export_and_import(filled, tmp_path, toy, clip, name):
    entries, _ = scan(filled)
    assert catalogue.export(entries, tmp_path / name) == []
    other = FeatureStore(tmp_path / "other")
    done = catalogue.bring_in(tmp_path / name, other)
    assert (done.new, done.known, done.refused) == (4, 0, [])
    assert catalogue.bring_in(tmp_path / name, other).known == 4
    kept, first = other.load(clip("a"), toy(gain=2.0)), filled.load(clip("a"), toy(gain=2.0))
    assert kept is not None
    np.testing.assert_array_equal(kept.values, first.values)


def test_import_refuses_changed_files_and_strange_names(filled, tmp_path):
    catalogue.export(scan(filled)[0], tmp_path / "out")
    index = tmp_path / "out" / "index.jsonl"
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    changed = tmp_path / "out" / lines[0]["file"]
    changed.write_bytes(changed.read_bytes()[:-1] + b"\0\0")
    lines[1]["file"] = "../../evil.safetensors"
    index.write_text("\n".join(json.dumps(line) for line in lines) + "\nnonsense\n")
    other = FeatureStore(tmp_path / "other")
    done = catalogue.bring_in(tmp_path / "out", other)
    assert (done.new, len(done.refused)) == (2, 3)
    with pytest.raises(ExpotionError, match=r"index.jsonl"):
        catalogue.bring_in(changed, other)


def test_npz_is_for_others(filled, tmp_path):
    catalogue.export(scan(filled)[0], tmp_path / "npz", "npz")
    about = json.loads((tmp_path / "npz" / "index.jsonl").read_text().splitlines()[0])
    found = np.load(tmp_path / "npz" / about["file"])
    assert found["values"].shape == tuple(about["shape"])
    assert found["times_s"].dtype == np.float64


def test_imported_keys_are_of_their_own(tmp_path, toy, clip):
    store, one = FeatureStore(tmp_path), clip("a")
    track = TimedFeatures(np.ones((4, 2), np.float32), np.arange(4) / 2, np.ones(4, np.bool_))
    store.save_imported(one, "toy", track, 2.0, {})
    assert store.load(one, toy()) is None
    np.testing.assert_array_equal(store.read(imported_key(one.content_hash, "toy")).values, track.values)
    assert scan(store)[0][0].options_digest == "imported"
