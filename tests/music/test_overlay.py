"""What steered the music, drawn over the picture; how much moves in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media import shown

from expotion.contracts import Overlay
from expotion.music.overlay import BEAT, EVENT, FLASH_S, draw, tempo_text, write_overlay
from expotion.music.piece import Music
from expotion.video.clip import FileClip
from expotion.video.motion import motion_of
from expotion.video.writing import write_video


class Moving:
    """A white bar of 8 pixels that moves to the right by 48 pixels a second from 0.5 s on, seen at any rate."""

    decodable_until_s = float("inf")
    size = (96, 128)

    def __init__(self, fps: float, seconds: float = 2.0) -> None:
        self.frame_times_s = np.arange(int(seconds * fps)) / fps

    def frames_at(self, times_s, *, shorter_side=None):
        assert shorter_side in (None, 96)
        rows = np.searchsorted(self.frame_times_s, times_s + 1e-6, side="right") - 1
        frames = np.zeros((len(times_s), *self.size, 3), np.uint8)
        for frame, time_s in zip(frames, self.frame_times_s[np.maximum(rows, 0)], strict=True):
            left = 20 + round(max(0.0, time_s - 0.5) * 48)
            frame[40:56, left : left + 8] = 255
        return frames


@pytest.mark.parametrize("fps", [25.0, 50.0])
def test_how_much_moves_and_at_which_height(fps):
    motion = motion_of(Moving(fps), 2.0)
    assert motion.rows.shape == (96, 50) and motion.times_s[-1] == pytest.approx(1.96)
    assert not motion.quantity[:12].any()
    # 16 rows, on average 2 columns that appear and 2 that vanish in 40 ms
    assert motion.quantity[14:].mean() == pytest.approx(16 * 4 * 0.96 / (96 * 128), rel=0.15)
    assert motion.rows[40:56, 14:].mean() > 0.01 and not motion.rows[:40].any() and not motion.rows[56:].any()


def test_a_picture_of_one_moment_has_no_motion():
    motion = motion_of(Moving(25.0, 0.04), 0.02)
    assert motion.quantity.tolist() == [0.0]


SKELETON = Overlay(
    "two points",
    boxes=np.array([[0.0, 0.1, 0.1, 0.3, 0.3], [0.5, *[np.nan] * 4]]),
    point_times_s=np.array([0.0, 1.0]),
    points=np.array([[[0.25, 0.5], [0.75, 0.5], [np.nan, np.nan]]] * 2, np.float32),
    lines=((0, 1), (1, 2)),
    events_s=np.array([0.5]),
    beats_s=np.array([0.2, 0.7, 1.2, 1.7]),
)


def test_skeleton_accents_and_beats_are_drawn_when_they_are():
    def at(time_s: float):
        picture = np.full((240, 320, 3), 60, np.uint8)
        draw(picture, SKELETON, time_s)
        return picture

    early, accent, beat = at(0.05), at(0.5 + FLASH_S / 2), at(0.72)
    assert (early[120, 100:220] != 60).any(axis=1).all()  # the line from one point to the other
    assert (early[24, 40:90] != 60).any() and (accent[24, 40:90] == 60).all()  # the box is gone by then
    assert tuple(accent[30, 290]) == EVENT and tuple(early[30, 290]) == (60, 60, 60)
    assert tuple(beat[70, 290]) == BEAT and tuple(early[70, 290]) != BEAT
    before = np.full((240, 320, 3), 60, np.uint8)
    draw(before, Overlay("later", point_times_s=np.array([3.0]), points=SKELETON.points[:1], lines=((0, 1),)), 1.0)
    assert (before == 60).all()


def test_the_tempo_is_that_of_the_beats_near_by():
    beats_s = np.concatenate([np.arange(0, 4, 0.5), np.arange(4, 8, 1.0)])
    assert tempo_text(beats_s, 1.0) == "120 BPM" and tempo_text(beats_s, 7.0) == "60 BPM"
    assert tempo_text(beats_s, 20.0) == tempo_text(np.zeros(0), 1.0) == "no beat"


class Seeing:
    def __init__(self, drawn) -> None:
        self.drawn = drawn

    def overlay(self, clip):
        if isinstance(self.drawn, Exception):
            raise self.drawn
        return self.drawn


def test_the_video_has_the_music_the_drawing_and_time_below(tmp_path: Path):
    bar = Moving(25.0)
    write_video(tmp_path / "clip.mp4", bar.frames_at(bar.frame_times_s), bar.frame_times_s)
    said: list[str] = []
    encoders = {"pose": Seeing(SKELETON), "none": Seeing(None), "broken": Seeing(ValueError("dark"))}
    music = Music(np.full(64000, 0.1, np.float32), 32_000, np.zeros((1, 1), np.int64), {}, {})
    clip = FileClip(tmp_path / "clip.mp4")
    write_overlay(clip, encoders, said.append, tmp_path / "out.mp4", music)  # type: ignore[arg-type]
    clip.close()
    assert said == ["broken: what it looked at is not drawn (ValueError: dark)"]
    times_s, frames = shown(tmp_path / "out.mp4")
    assert len(times_s) == 50 and frames[0].shape == (96 + 16, 128, 3)
    assert np.abs(frames[5][:96].astype(int) - bar.frames_at(np.array([0.2]))[0]).max() > 100
    strips = np.stack(frames)[:, 98:110].max(axis=(1, 3)).astype(int)  # the white line that runs along
    assert strips[10][20:30].max() > 200 and strips[40][98:106].max() > 200
    made = FileClip(tmp_path / "out.mp4")
    assert made.audio(32_000) is not None and made.duration_s == pytest.approx(2.0, abs=0.05)
