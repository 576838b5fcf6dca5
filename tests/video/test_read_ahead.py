"""Decoding ahead: the same frames, each decoded once, a bounded number of bytes, no thread left behind."""

import threading
import time

import numpy as np
import pytest

from expotion import contracts
from expotion.video.frames import AHEAD_PART, FileVideo
from expotion.video.memory import FrameCache
from expotion.video.read import PictureSource

FRAME_BYTES = 48 * 96 * 3


def settle(video, until, timeout_s=5.0):
    """Wait until a condition on a video holds."""
    end_s = time.monotonic() + timeout_s
    while not until(video) and time.monotonic() < end_s:
        time.sleep(0.005)
    assert until(video)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "decode-ahead"]


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_announced_frames_are_the_same_and_decoded_once(make, backend):
    path = make(duration_s=4.0, keyframe_every=10)
    plain = FileVideo(path, backend=backend)
    wanted = plain.frames_at(plain.frame_times_s, shorter_side=24)
    video = FileVideo(path, backend=backend, cache_bytes=40 * FRAME_BYTES)
    contracts.read_ahead(video, video.frame_times_s, shorter_side=24)
    found = [video.frames_at(video.frame_times_s[start : start + 7], shorter_side=24) for start in range(0, 100, 7)]
    assert np.array_equal(np.concatenate(found), wanted)
    assert video.decoded_frames == 100
    video.close()
    assert threads() == []


def test_frames_ahead_are_bounded_however_long_the_clip(make):
    path = make(duration_s=20.0)
    limit = 40 * FRAME_BYTES
    video = FileVideo(path, cache_bytes=limit)
    video.read_ahead(video.frame_times_s)
    settle(video, lambda v: v.cached_bytes >= limit // AHEAD_PART)
    time.sleep(0.1)
    assert video.cached_bytes <= 1.5 * limit / AHEAD_PART
    assert video.decoded_frames <= 15
    peak = 0
    for begin in range(0, 500, 25):
        video.frames_at(video.frame_times_s[begin : begin + 25])
        peak = max(peak, video.cached_bytes)
    assert peak <= limit
    assert video.decoded_frames == 500
    video.close()
    assert video.cached_bytes == 0


def test_a_new_announcement_replaces_the_old_one(make):
    video = FileVideo(make(duration_s=4.0), cache_bytes=AHEAD_PART * 8 * FRAME_BYTES)
    video.read_ahead(video.frame_times_s[:50])
    settle(video, lambda v: v.cached_bytes >= 8 * FRAME_BYTES)
    video.read_ahead(video.frame_times_s[50:])
    settle(video, lambda v: v.decoded_frames >= 14)
    frames = video.frames_at(video.frame_times_s[50:])
    assert np.array_equal(frames, FileVideo(video.path).frames_at(video.frame_times_s[50:]))
    video.close()


def test_a_damaged_file_ahead_is_dealt_with_where_it_is_asked_for(make):
    path = make(duration_s=2.0, keyframe_every=10)
    whole = FileVideo(path)
    good = whole.frames_at(whole.frame_times_s)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10] + bytes(len(data) - len(data) * 6 // 10))
    video = FileVideo(path)
    video.read_ahead(video.frame_times_s)
    shown = video.frames_at(whole.frame_times_s)
    n_good = int((whole.frame_times_s < video.decodable_until_s - 1e-6).sum())
    assert 5 < n_good < 45
    assert np.array_equal(shown[: n_good - 1], good[: n_good - 1])
    video.close()


def test_several_threads_may_ask(make):
    video = FileVideo(make(duration_s=2.0), cache_bytes=6 * FRAME_BYTES)
    wanted = FileVideo(video.path).frames_at(video.frame_times_s)
    found = {}

    def ask(name, order):
        found[name] = np.stack([video.frames_at(video.frame_times_s[[i]])[0] for i in order])

    orders = {"forwards": range(50), "backwards": range(49, -1, -1)}
    workers = [threading.Thread(target=ask, args=pair) for pair in orders.items()]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert np.array_equal(found["forwards"], wanted)
    assert np.array_equal(found["backwards"], wanted[::-1])


def test_its_size_is_looked_up_by_one_thread_at_a_time(make, monkeypatch):
    video = FileVideo(make(duration_s=1.0))
    inside, seen = [], []

    def size(_):  # decodes the first frame, and two threads in one decoder end the process
        inside.append(None)
        time.sleep(0.05)
        seen.append(len(inside))
        inside.pop()
        return 48, 96

    monkeypatch.setattr(PictureSource, "size", property(size))
    workers = [threading.Thread(target=lambda: video.size) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == [1, 1]


def test_a_video_that_cannot_read_ahead_is_left_alone():
    contracts.read_ahead(object(), np.zeros(3))  # type: ignore[arg-type]


def test_large_frames_leave_before_small_ones():
    small, large = np.zeros((2, 2, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    cache = FrameCache(2 * large.nbytes + 3 * small.nbytes)
    for index in range(3):
        cache.put(index, small)
    for index in range(4):
        cache.put(index, large)
    assert [cache.get(i, (2, 2)) is not None for i in range(3)] == [True] * 3
    assert [cache.get(i, (8, 8)) is not None for i in range(4)] == [False, False, True, True]
    assert cache.n_bytes == 2 * large.nbytes + 3 * small.nbytes
    cache.put(9, np.zeros((99, 99, 3), np.uint8))
    assert cache.get(9, (99, 99)) is None
    cache.clear()
    assert cache.n_bytes == 0


def test_frames_that_were_not_fetched_yet_stay():
    frame = np.zeros((8, 8, 3), np.uint8)
    cache = FrameCache(3 * frame.nbytes)
    cache.put(0, frame, pinned=True)
    for index in range(1, 6):
        cache.put(index, frame + np.uint8(index))
    assert [index for index in range(6) if cache.get(index, (8, 8)) is not None] == [0, 4, 5]
    assert int(cache.get(5, (8, 8)).max()) == 5
    cache.unpin(0)
    for index in range(6, 9):
        cache.put(index, frame)
    assert cache.get(0, (8, 8)) is None


def test_large_frames_are_read_by_pyav_whose_memory_is_bounded(make):
    path = make(size=(490, 864), duration_s=0.2)
    large, small = FileVideo(path), FileVideo(make("b.mp4", duration_s=0.2))
    assert (large.backend, small.backend) == ("pyav", "decord")
    assert np.array_equal(large.frames_at(np.zeros(1)), FileVideo(path, backend="decord").frames_at(np.zeros(1)))
