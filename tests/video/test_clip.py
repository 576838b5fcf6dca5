"""A file as a clip."""

import pickle

import numpy as np
import pytest

from expotion import contracts
from expotion.errors import MediaError
from expotion.video.clip import FileClip
from expotion.video.memory import ArrayVideo, resize_frames, scaled_size
from expotion.video.sound_files import write_wav


def test_clip_of_a_whole_file(make):
    clip = FileClip(make(sound=True), caption="calm strings")
    assert isinstance(clip, contracts.Clip)
    assert clip.id == "a"
    assert clip.duration_s == pytest.approx(1.0)
    assert clip.video.frames_at(np.array([0.0]), shorter_side=24).shape == (1, 24, 48, 3)
    assert clip.audio(16_000).shape == (16_000,)
    assert clip.warnings == []


def test_hash_depends_on_bytes_and_window_only(make, tmp_path):
    path = make()
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(path.read_bytes())
    whole = FileClip(path)
    assert FileClip(copy, caption="other").content_hash == whole.content_hash
    assert FileClip(path, 0.0, 1.0).content_hash == whole.content_hash
    assert FileClip(path, 0.0, 0.5).content_hash != whole.content_hash
    copy.write_bytes(path.read_bytes() + b"\0")
    assert FileClip(copy).content_hash != whole.content_hash


def test_sound_file_has_no_picture(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(16_000, np.float32), 32_000)
    clip = FileClip(tmp_path / "a.wav")
    assert clip.video is None
    assert clip.duration_s == 0.5


def test_clip_survives_a_process_boundary_without_its_frames(make):
    clip = FileClip(make(fps=10.0))
    first = clip.video.frames_at(np.array([0.3]))
    data = pickle.dumps(clip)
    other = pickle.loads(data)
    assert len(data) < 20_000
    assert np.array_equal(other.video.frames_at(np.array([0.3])), first)
    other.close()
    assert np.array_equal(other.video.frames_at(np.array([0.3])), first)


@pytest.mark.parametrize(("start_s", "duration_s"), [(-1.0, None), (1.5, None), (0.0, 0.0), (0.5, -1.0)])
def test_window_outside_the_file(make, start_s, duration_s):
    with pytest.raises(MediaError, match=r"a start from 0 to 1\.00 s"):
        FileClip(make(), start_s, duration_s)


def test_array_video_follows_the_same_rules():
    frames = np.arange(3 * 8 * 16 * 3, dtype=np.uint8).reshape(3, 8, 16, 3)
    video = ArrayVideo(frames, np.array([0.0, 0.1, 0.4]))
    assert isinstance(video, contracts.Video)
    assert np.array_equal(video.frames_at(np.array([0.39, 0.4, -1.0])), frames[[1, 2, 0]])
    assert video.frames_at(np.array([0.0]), shorter_side=4).shape == (1, 4, 8, 3)
    with pytest.raises(MediaError, match="increase"):
        ArrayVideo(frames, np.array([0.0, 0.0, 1.0]))
    with pytest.raises(MediaError, match="uint8"):
        ArrayVideo(frames.astype(np.float32), np.array([0.0, 0.1, 0.4]))


def test_scaling_keeps_the_aspect_and_averages():
    assert scaled_size((360, 470), 224) == (224, 292)
    assert scaled_size((640, 360), 180) == (320, 180)
    assert scaled_size((10, 20), None) == (10, 20)
    checker = (np.indices((8, 8)).sum(axis=0) % 2 * 200).astype(np.uint8)
    small = resize_frames(np.repeat(checker[None, :, :, None], 3, axis=3), 4)
    assert np.array_equal(small, np.full((1, 4, 4, 3), 100, np.uint8))
