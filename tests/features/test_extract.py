"""Many clips: failures do not stop the others; processes give what one process gives."""

import contextlib
import importlib

import numpy as np
import pytest
from extraction import extract_clip

from expotion import machine
from expotion.contracts import Encoder, EncoderSpec, Options, TimedFeatures, read_ahead
from expotion.errors import ExpotionError
from expotion.features.extract import extract_many
from expotion.features.store import FeatureStore
from expotion.video.clip import FileClip
from expotion.video.frames import FileVideo
from expotion.video.writing import write_video

PLUGIN = """
import os
import numpy as np
from expotion import contracts

class Bright(contracts.Encoder):
    def __init__(self, options):
        self.spec = contracts.EncoderSpec("bright", "", frozenset({"video"}), Bright, width=lambda _: 1)
        self.options = options

    def extract(self, clip):
        if clip.id == "killer":
            os._exit(3)
        times_s = clip.video.frame_times_s
        frames = clip.video.frames_at(times_s, shorter_side=8)
        mean = frames.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)[:, None]
        return contracts.TimedFeatures(mean, times_s, np.ones(len(mean), bool))

def build():
    return {"bright": Bright(contracts.Options())}
"""


def test_width_and_numbers_are_checked(toy, clip):
    encoder = toy()
    encoder.extract = lambda _: TimedFeatures(np.zeros((1, 3), np.float32), np.zeros(1), np.ones(1, np.bool_))
    with pytest.raises(AssertionError, match="encoder toy: features of width 2, got 3"):
        extract_clip(encoder, clip("a"))


def test_a_failing_clip_does_not_stop_the_others(tmp_path, toy, clip):
    clips = [clip(name, seed) for seed, name in enumerate("abc")]
    seen = []
    out = extract_many(
        {"good": toy(), "picky": toy(fail_on="b", gain=2.0)},
        clips,
        FeatureStore(tmp_path),
        progress=lambda *step: seen.append(step),
    )
    assert {name: sorted(found) for name, found in out.features.items()} == {
        "a": ["good", "picky"],
        "b": ["good"],
        "c": ["good", "picky"],
    }
    assert [str(failure) for failure in out.failures] == ["b: picky: RuntimeError: the lens cap is on"]
    assert seen == [(1, 3, "a"), (2, 3, "b"), (3, 3, "c")]
    assert [one.closed for one in clips] == [1, 1, 1]


def test_damaged_entries_are_reported_once(tmp_path, toy, clip):
    store = FeatureStore(tmp_path)
    extract_many({"toy": toy()}, [clip("a")], store)
    store.path(store.key(clip("a"), toy())).write_bytes(b"?")
    out = extract_many({"toy": toy()}, [clip("a")], store)
    assert len(out.warnings) == 1
    assert out.failures == []


def test_processes_give_the_same_features_and_survive_a_death(tmp_path, monkeypatch):
    (tmp_path / "bright_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    factory = importlib.import_module("bright_plugin").build
    clips = []
    for name, level in (("a", 60), ("killer", 90), ("b", 180)):
        frames = [np.full((16, 24, 3), level + 5 * i, np.uint8) for i in range(4)]
        write_video(tmp_path / f"{name}.mp4", frames, np.arange(4) / 10)
        clips.append(FileClip(tmp_path / f"{name}.mp4"))
    store = FeatureStore(tmp_path / "store")
    many = extract_many(None, clips, store, workers=1, factory=factory)
    one = extract_many(factory(), [clips[0], clips[2]])
    assert [str(failure) for failure in many.failures] == [
        "killer: all encoders: the process died (exit code 3): it may have run out of memory"
    ]
    assert list(many.features) == ["a", "killer", "b"]
    for name, level in (("a", 60), ("b", 180)):
        assert np.array_equal(many.features[name]["bright"].values, one.features[name]["bright"].values)
        assert one.features[name]["bright"].values[0, 0] == pytest.approx(level, abs=3)
    assert len(list((tmp_path / "store").rglob("*.safetensors"))) == 2


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_what_auto_stands_for_is_decided_before_work_goes_to_processes(workers, clip, monkeypatch):
    class Decided(Exception):
        pass

    def decide():
        raise Decided

    monkeypatch.setattr(machine, "decide", decide)
    with pytest.raises(Decided) if workers else contextlib.nullcontext():
        extract_many(None, [clip("a")], workers=workers, factory=dict)


def test_misuse_is_explained(toy, clip):
    with pytest.raises(ExpotionError, match="a twice"):
        extract_many({"toy": toy()}, [clip("a"), clip("a")])
    with pytest.raises(ExpotionError, match="factory"):
        extract_many(None, [clip("a")], workers=2)
    with pytest.raises(ExpotionError, match="neither"):
        extract_many(None, [clip("a")])


class Sized(Encoder):
    """Mean brightness at a size of its own, announced in advance or not."""

    def __init__(self, side, announces=True):
        self.spec = EncoderSpec(f"sized{side}", "", frozenset({"video"}), lambda _: self, width=lambda _: 1)
        self.options, self.side, self.announces = Options(), side, announces

    def frame_sizes(self, video):
        return (self.side,) if self.announces else ()

    def extract(self, clip):
        times_s = clip.video.frame_times_s
        read_ahead(clip.video, times_s, shorter_side=self.side)
        means = [clip.video.frames_at(times_s[[i]], shorter_side=self.side).mean() for i in range(len(times_s))]
        return TimedFeatures(np.array(means, np.float32)[:, None], times_s, np.ones(len(times_s), np.bool_))


@pytest.mark.parametrize(("announces", "decoded"), [(True, 40), (False, 80)])
def test_each_frame_is_decoded_once_for_all_encoders(tmp_path, monkeypatch, announces, decoded):
    """Also where the clip does not fit into the cache at its own size: only the announced sizes are kept."""
    frames = [np.full((48, 64, 3), 5 * i, np.uint8) for i in range(40)]
    write_video(tmp_path / "a.mp4", frames, np.arange(40) / 10)
    clip = FileClip(tmp_path / "a.mp4")
    small = FileVideo(clip.path, cache_bytes=20 * frames[0].nbytes)
    monkeypatch.setattr(type(clip), "video", property(lambda _: small))
    out = extract_many({"one": Sized(12), "two": Sized(24, announces)}, [clip])
    assert out.failures == []
    assert small.decoded_frames == decoded
    assert small.cached_bytes <= 20 * frames[0].nbytes
    np.testing.assert_allclose(out.features["a"]["one"].values, out.features["a"]["two"].values, atol=3)


def test_kept_features_are_not_computed_again_beside_missing_ones(tmp_path, toy, clip):
    store = FeatureStore(tmp_path)
    old, new = toy(), toy(gain=2.0)
    extract_many({"old": old}, [clip("a")], store)
    out = extract_many({"new": new, "old": old}, [clip("a")], store)
    assert list(out.features["a"]) == ["new", "old"]
    assert (old.calls, new.calls) == (1, 1)
