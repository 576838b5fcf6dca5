"""The captioner that looks: pace and size from the frames alone; with the music where it is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from expotion.errors import ExpotionError
from expotion.testing import SyntheticClip
from expotion_conductor import watcher
from expotion_conductor.clip import ConductorClip
from expotion_conductor.listener import Listener
from expotion_conductor.plan import DEVELOPMENT_SEEDS, make_plan
from expotion_conductor.watcher import RATE_HZ, SPEC, WIDE_FROM, Watcher, WatcherOptions, change_of, told_of


def beaten(bpm: float, height: float) -> np.ndarray:
    """Change of a picture whose movement has a peak at every beat."""
    times_s = np.arange(250) / RATE_HZ
    return height * np.exp(-((((times_s * bpm / 60) % 1) * 60 / bpm / 0.06) ** 2)) + 0.01


@pytest.mark.parametrize(("bpm", "pace"), [(66, "slowly"), (105, "at a walking pace"), (160, "fast")])
def test_the_pace_is_that_of_the_movement(bpm: float, pace: str) -> None:
    assert f"beats time {pace} with small" in told_of(beaten(bpm, WIDE_FROM))


def test_the_size_is_the_mean_change() -> None:
    assert "small gestures" in told_of(np.full(100, WIDE_FROM - 0.1) + 0.01 * (np.arange(100) % 2))
    assert "wide gestures" in told_of(np.full(100, WIDE_FROM + 0.1) + 0.01 * (np.arange(100) % 2))
    assert told_of(np.zeros(100)) == told_of(np.zeros(0)) == "somebody stands still"


def test_the_frames_are_looked_at_and_the_sound_is_not() -> None:
    clip = ConductorClip(make_plan(DEVELOPMENT_SEEDS + 900, 3.0), size_px=64)
    said = Watcher(WatcherOptions())(clip)
    assert said.startswith("Somebody beats time ")
    clip.audio = lambda rate_hz: None  # type: ignore[method-assign, assignment, return-value]
    assert Watcher(WatcherOptions())(clip) == said
    assert len(change_of(clip)) == 74


def test_a_clip_without_a_picture_is_refused() -> None:
    with pytest.raises(ExpotionError, match="a picture to look at"):
        Watcher(WatcherOptions())(SyntheticClip(n_frames=0))


def test_fused_words_are_those_of_the_music_and_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "Listener", lambda: Listener(n_pieces=12))  # it need not be right
    clip = ConductorClip(make_plan(DEVELOPMENT_SEEDS + 900, 3.0), size_px=64)
    plain, fused = (SPEC.build(SPEC.options(of=of))(clip) for of in ("video", "fused"))
    music, _, video = fused.partition(". The music accompanies a video: ")
    assert " piece played on " in music and video == plain[:1].lower() + plain[1:]
