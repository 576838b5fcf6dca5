"""Which controls each condition of the evaluation gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.plugins import Registry
from expotion.recipe import Recipe, load_recipe
from expotion.run.generation import TestClip as Ready
from expotion.run.generation import make_jobs, requests_of


@pytest.fixture
def recipe(lamps: Registry, recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file, registry=lamps, sets=["conditions[sway].strength=0.5"])


def ready(name: int, n_frames: int = 4) -> Ready:
    values = np.full((n_frames + 1, 2), float(name), np.float32)
    track = SmoothedTrack(values, np.ones(n_frames + 1, dtype=bool))
    text = TokenFeatures(np.zeros((1, 2), np.float32), np.ones(1, dtype=bool))
    return Ready(f"clip-{name}", n_frames, n_frames * 640, text, {"glow": track, "sway": track})


@pytest.mark.parametrize(
    ("condition", "strengths"),
    [
        ("text_only", {}),
        ("glow", {"glow": 1.0}),
        ("sway", {"sway": 0.5}),
        ("glow+sway", {"glow": 1.0, "sway": 0.5}),
        ("shuffled", {"glow": 1.0, "sway": 0.5}),
    ],
)
def test_a_condition_drops_the_others(recipe: Recipe, condition: str, strengths: dict[str, float]) -> None:
    clips = [ready(1), ready(2), ready(3)]
    requests = requests_of(recipe, condition, clips, seed=4)
    lender = {1: 2, 2: 3, 3: 1} if condition == "shuffled" else {1: 1, 2: 2, 3: 3}
    for own, request in enumerate(requests, start=1):
        assert dict(request.strengths) == strengths
        assert set(request.tracks) == set(strengths)
        assert all(float(track.values[0, 0]) == lender[own] for track in request.tracks.values())
    together = requests_of(recipe, "text_only", clips, seed=4)
    assert [r.seed for r in requests] == [r.seed for r in together]
    assert len({r.seed for r in requests}) == 3


def test_shuffled_controls_of_another_length_are_cut_or_end(recipe: Recipe) -> None:
    short, long = requests_of(recipe, "shuffled", [ready(1, 3), ready(2, 6)], seed=0)
    assert short.tracks["glow"].valid.tolist() == [True] * 4
    assert long.tracks["glow"].valid.tolist() == [True] * 4 + [False] * 3


def test_jobs_hold_clips_of_like_length_and_every_clip_once(recipe: Recipe) -> None:
    clips = [ready(1, 3), ready(2, 6), ready(3, 3), ready(4, 3)]
    jobs = make_jobs(recipe, ["text_only", "shuffled"], clips, workers=1)
    for condition in ("text_only", "shuffled"):
        mine = [job for job in jobs if job.condition == condition]
        assert sorted(c for job in mine for c in job.clip_ids) == [clip.id for clip in clips]
        assert [[r.n_frames for r in job.requests] for job in mine] == [[3, 3], [3, 6]]


def test_one_clip_cannot_be_shuffled(recipe: Recipe) -> None:
    jobs = make_jobs(recipe, ["glow", "shuffled"], [ready(1)], workers=1)
    assert [job.condition for job in jobs] == ["glow"]
