"""The captioner that listens: right about most pieces, and about nothing but the sound."""

from __future__ import annotations

import numpy as np
import pytest

from expotion.contracts import Options
from expotion.errors import ExpotionError
from expotion_conductor.clip import ConductorClip
from expotion_conductor.listener import SPEC, Listener
from expotion_conductor.plan import DEVELOPMENT_SEEDS, make_plan


@pytest.fixture(scope="module")
def listener() -> Listener:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expotion_conductor.listener.PIECE_S", 5.0)
        return Listener(n_pieces=60)


def test_most_captions_name_instrument_and_mood(listener: Listener) -> None:
    plans = [make_plan(DEVELOPMENT_SEEDS + 500 + i, 4.0) for i in range(24)]
    said = [listener(ConductorClip(plan)) for plan in plans]
    timbres = sum(plan.timbre in caption for plan, caption in zip(plans, said, strict=True))
    moods = sum(plan.mood in caption for plan, caption in zip(plans, said, strict=True))
    assert timbres >= 18 and moods >= 18
    assert all(caption.startswith("a ") and " piece played on " in caption for caption in said)


def test_the_clips_own_caption_is_not_read(listener: Listener) -> None:
    clip = ConductorClip(make_plan(DEVELOPMENT_SEEDS + 600, 6.0))
    before = listener(clip)
    clip.caption = "a sad piece played on a comb"
    assert listener(clip) == before


def test_a_clip_without_a_sound_is_refused(listener: Listener) -> None:
    clip = ConductorClip(make_plan(DEVELOPMENT_SEEDS + 601, 2.0))
    clip.audio = lambda rate_hz: None  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ExpotionError, match="a sound to listen to"):
        listener(clip)
    timbre, mood = listener.hear(np.zeros(64_000, np.float32))
    assert timbre and mood


def test_the_spec_needs_no_weights() -> None:
    assert list(SPEC.weights(Options())) == []
    assert SPEC.name == "conductor_listener"
