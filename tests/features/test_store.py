"""Features on disk: keys, damage, concurrent writers."""

import re
import threading

import numpy as np
import pytest
from extraction import extract_clip

from expotion.contracts import TimedFeatures, TokenFeatures
from expotion.errors import OutputError
from expotion.features.store import FeatureStore, code_version, parse_entry, write_entry
from expotion.files import cache_folder


def same(one: TimedFeatures, other: TimedFeatures) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in ("values", "times_s", "valid"))


def test_second_time_comes_from_disk(tmp_path, toy, clip):
    encoder, store = toy(), FeatureStore(tmp_path)
    first = extract_clip(encoder, clip("a"), store)
    second = extract_clip(encoder, clip("renamed"), FeatureStore(tmp_path))
    assert encoder.calls == 1
    assert same(first, second)
    assert second.times_s.dtype == np.float64
    assert store.reports == []


def test_everything_that_matters_is_in_the_key(tmp_path, toy, clip):
    store = FeatureStore(tmp_path)
    base = store.key(clip("a"), toy())
    heavier = toy()
    heavier.hash = "w2"
    longer = clip("a")
    longer.duration_s = 3.0
    others = [
        store.key(clip("a", seed=1), toy()),
        store.key(clip("a"), toy(gain=2.0)),
        store.key(clip("a"), heavier),
        store.key(longer, toy()),
    ]
    assert len({base, *others}) == 5
    assert store.key(clip("b"), toy()) == base


def test_caption_and_tracks_count_only_for_encoders_that_need_them(tmp_path, toy, clip):
    store = FeatureStore(tmp_path)
    one, other = clip("a"), clip("a")
    other.caption = "another"
    assert store.key(one, toy()) == store.key(other, toy())
    assert store.key(one, toy(needs=frozenset({"text"}))) != store.key(other, toy(needs=frozenset({"text"})))
    (tmp_path / "s.csv").write_text("1\n")
    sensor = clip("a", tracks={"knob": tmp_path / "s.csv"})
    before = store.key(sensor, toy(needs=frozenset({"file"})))
    (tmp_path / "s.csv").write_text("22\n")
    assert store.key(sensor, toy(needs=frozenset({"file"}))) != before


def test_code_of_a_plugin_is_part_of_the_key(tmp_path, monkeypatch):
    package = tmp_path / "toy_plugin_x"
    package.mkdir()
    (package / "__init__.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_version("toy_plugin_x.encoder")
    (package / "__init__.py").write_text("A = 2\n")
    code_version.cache_clear()
    assert code_version("toy_plugin_x.encoder") != before
    assert before.startswith("toy_plugin_x ")


@pytest.mark.parametrize("damage", ["cut", "flip", "noise", "empty"])
def test_damaged_entry_is_computed_again_and_reported(tmp_path, toy, clip, damage):
    encoder, store = toy(), FeatureStore(tmp_path)
    first = extract_clip(encoder, clip("a"), store)
    path = store.path(store.key(clip("a"), encoder))
    data = bytearray(path.read_bytes())
    data[-3] ^= 0xFF
    path.write_bytes({"cut": data[:-20], "flip": data, "noise": b"noise" * 9, "empty": b""}[damage])
    again = extract_clip(encoder, clip("a"), store)
    assert encoder.calls == 2
    assert same(first, again)
    assert len(store.reports) == 1
    assert "features of a from toy are computed again" in store.reports[0]
    assert same(FeatureStore(tmp_path).load(clip("a"), encoder), first)


def test_token_features_survive(tmp_path):
    tokens = TokenFeatures(np.ones((3, 4), np.float32), np.array([True, True, False]))
    write_entry(tmp_path / "t.safetensors", tokens, {})
    read, _ = parse_entry((tmp_path / "t.safetensors").read_bytes(), "t")
    assert isinstance(read, TokenFeatures)
    assert read.mask.tolist() == [True, True, False]


def test_many_writers_and_readers_never_see_half_an_entry(tmp_path, toy, clip):
    encoder, one = toy(), clip("a")
    wanted = encoder.extract(one)
    stores = [FeatureStore(tmp_path) for _ in range(6)]
    bad = []

    def work(store: FeatureStore) -> None:
        for _ in range(5):
            store.save(one, encoder, wanted)
            found = store.load(one, encoder)
            if found is None or not same(found, wanted):
                bad.append(found)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad == []
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


def test_full_disk_is_one_clear_error(tmp_path, toy, clip, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    store, encoder = FeatureStore(tmp_path), toy()
    features = extract_clip(encoder, clip("a"), store)  # the work is not lost, only not kept
    assert len(features.values) > 0
    assert re.search(r"not kept.*could not be written.*No space left.*EXPOTION_CACHE", store.reports[0])
    with pytest.raises(OutputError, match=r"No space left.*EXPOTION_CACHE"):
        store.save(clip("a"), encoder, features)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert FeatureStore().folder == tmp_path / "features"
    monkeypatch.delenv("EXPOTION_CACHE")
    assert cache_folder().name == "expotion"
