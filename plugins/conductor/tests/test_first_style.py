"""`conductor-1` keeps its music and figure: what its clips were when the band came, but for the last bits."""

from __future__ import annotations

import numpy as np

from expotion_conductor.clip import ConductorClip
from expotion_conductor.music import render_music
from expotion_conductor.plan import TEST_SEEDS, make_plan

LEVELS = (9.4243, 5.1513, 10.6678, 4.8727, 10.3677, 5.4815, 9.5924, 6.2855)
"""RMS of each quarter of a second, in thousandths."""
JOINTS = {
    "nose": [[94.684, 57.869], [94.335, 59.292]],
    "left_wrist": [[154.641, 118.926], [148.614, 130.994]],
    "right_wrist": [[28.461, 112.623], [36.341, 133.492]],
    "baton_tip": [[12.553, 66.508], [22.156, 86.784]],
}


def test_the_first_style_sounds_moves_and_is_named_as_ever() -> None:
    plan = make_plan(TEST_SEEDS, 2.0)
    clip = ConductorClip(plan)
    assert clip.content_hash == "52aeca4c48321380ab3afd2b3591e3e7c720a5361049d6fa550f1d67bf682c0a"
    levels = 1000 * np.sqrt(np.square(render_music(plan).reshape(8, -1)).mean(axis=1))
    np.testing.assert_allclose(levels, LEVELS, atol=2e-4)
    found = clip.figure.joints(np.array([0.3, 1.1]))
    for name, places in JOINTS.items():
        np.testing.assert_allclose(found[name], places, atol=1e-3)
