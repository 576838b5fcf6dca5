"""Sounds whose beats are known by construction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE_HZ = 32_000


@pytest.fixture(scope="session", autouse=True)
def _quick_aac() -> None:
    """AAC with the encoder's quick search, which takes a third of the time: other bytes, the same promises."""
    from expotion.video import writing

    begin = writing.SoundTrack.__init__

    def begun(track: writing.SoundTrack, *arguments: Any, **options: Any) -> None:
        begin(track, *arguments, **options)
        if track.stream.codec_context.name == "aac":
            track.stream.codec_context.options = {"aac_coder": "fast"}

    writing.SoundTrack.__init__ = begun  # type: ignore[method-assign]


@pytest.fixture
def clicks() -> Callable[..., tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Makes (sound, beats in seconds): decaying noise bursts on the beat, softer ones between."""

    import numpy as np

    def make(
        tempo_bpm: float, *, duration_s: float = 8.0, first_s: float = 0.3, between: float = 0.2
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        rng = np.random.default_rng(1)
        sound = np.zeros(round(duration_s * RATE_HZ), dtype=np.float32)
        burst = (rng.normal(size=2400) * np.exp(-np.arange(2400) / 400)).astype(np.float32)
        beats_s = np.arange(first_s, duration_s - 0.1, 60 / tempo_bpm)
        for level, times_s in ((1.0, beats_s), (between, beats_s[:-1] + 30 / tempo_bpm)):
            for time_s in times_s:
                start = round(time_s * RATE_HZ)
                sound[start : start + 2400] += 0.3 * level * burst[: len(sound) - start]
        return sound, beats_s

    return make
