"""Windows over a clip of any length, worked by hand and as a property."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expotion.music.windows import FrameWindow, Windows


def test_short_clip_is_one_window() -> None:
    assert Windows(500, 166).cover(300) == [FrameWindow(0, 300, 0)]


def test_long_clip_by_hand() -> None:
    assert Windows(500, 100).cover(1100) == [
        FrameWindow(0, 500, 0),
        FrameWindow(400, 900, 100),
        FrameWindow(600, 1100, 300),
    ]


@settings(deadline=None)
@given(n=st.integers(1, 5000), longest=st.integers(2, 600), share=st.floats(0.0, 0.99))
def test_every_frame_is_made_once_and_in_order(n: int, longest: int, share: float) -> None:
    windows = Windows(longest, int(share * (longest - 1))).cover(n)
    made = [frame for w in windows for frame in range(w.start + w.n_prompt, w.stop)]
    assert made == list(range(n))
    assert all(w.n_frames <= longest and w.n_frames > w.n_prompt for w in windows)


def test_overlap_must_fit() -> None:
    with pytest.raises(ValueError, match="overlap"):
        Windows(50, 50).cover(100)
