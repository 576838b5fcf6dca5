"""Feature files of torch.save, and the encoder that reads what was imported."""

import numpy as np
import pytest
import torch
from extraction import extract_clip

from expotion.errors import ExpotionError, MediaError
from expotion.features.precomputed import SPEC, PrecomputedOptions, as_track, read_list, read_pt
from expotion.features.store import FeatureStore


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: x[None], lambda x: {"face_p": x, "more": x[:2]}, lambda x: {"f": x.half()}]
)
def test_layouts_of_feature_files(tmp_path, wrap):
    rows = torch.arange(20.0).reshape(10, 2)
    torch.save(wrap(rows), tmp_path / "a.pt")
    found = read_pt(tmp_path / "a.pt")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows.numpy())


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        torch.zeros(2, 3, 4),
        {"a": torch.zeros(1), "b": torch.zeros(1)},
        [1, 2],
        torch.full((3, 2), float("nan")),
        torch.zeros(3, 2, dtype=torch.int64),
    ],
)
def test_other_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(MediaError, match=r"a\.pt"):
        read_pt(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(b"no such thing")
    with pytest.raises(MediaError, match=r"b\.pt"):
        read_pt(tmp_path / "b.pt")


def test_times_of_rows():
    rows = np.zeros((10, 3), np.float32)
    np.testing.assert_allclose(as_track(rows, 2.0, 5.0, "x").times_s, (np.arange(10) + 0.5) / 5)
    np.testing.assert_allclose(as_track(rows, 2.0, 5.0, "x", "start").times_s, np.arange(10) / 5)
    np.testing.assert_allclose(as_track(rows, 2.0, 5.0, "x", "stretched").times_s[[0, -1]], [0, 2])
    assert len(as_track(rows, 1.5, 5.0, "x").times_s) == 8
    with pytest.raises(MediaError, match=r"1 Hz would fit"):
        as_track(rows, 10.0, 5.0, "x")


def test_list_files(tmp_path):
    path = tmp_path / "l.txt"
    path.write_text("d/raft_5fps/a.pt|r/a.npy|{'audio_id': '1', 'caption': '<s>a | b</s>'}\n\n")
    assert read_list(path) == [("a.pt", "a | b")]
    path.write_text("a.mp4|x|{}\na.pt|x|{'caption': \n")
    with pytest.raises(ExpotionError) as told:
        read_list(path)
    assert len(told.value.problems) == 2


def test_precomputed_reads_imports_only(tmp_path, toy, clip):
    store, one = FeatureStore(tmp_path), clip("a")
    extract_clip(toy(), one, store)
    encoder = SPEC.build(PrecomputedOptions(features="toy", width=2, rate_hz=5.0, store=tmp_path))
    with pytest.raises(AssertionError, match="features import"):
        extract_clip(encoder, one, store)
    for value in (1.0, 2.0):  # a second import counts at once
        track = as_track(np.full((10, 2), value, np.float32), 2.0, 5.0, "x")
        store.save_imported(one, "toy", track, 5.0, {})
        assert extract_clip(encoder, one, store).values[0, 0] == value
    wide = SPEC.build(PrecomputedOptions(features="toy", width=3, rate_hz=5.0, store=tmp_path))
    with pytest.raises(MediaError, match="width 3, got rows of width 2"):
        wide.extract(one)
