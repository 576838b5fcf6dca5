"""Motion beats, their alignment with the music, and whether a sound is usable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from expotion.contracts import Scored
from expotion.evaluate import level_metrics
from expotion.evaluate import motion as beat_alignment
from expotion.evaluate.motion import alignment, beats_of_flow, cell_flow, motion_beats
from expotion.testing import SyntheticClip, SyntheticVideo


def falling(beat_hz: float) -> Callable[[float], np.ndarray]:
    """A square that falls onto a floor at each beat, is thrown up again and stops nowhere else."""
    rows, columns = np.mgrid[0:96, 0:96]
    pattern = ((rows // 3 + columns // 3) % 2) * 120 + 60

    def scene(time_s: float) -> np.ndarray:
        phase = (time_s * beat_hz) % 1.0
        height = 40 * 4 * phase * (1 - phase)
        top = round(70 - height)
        picture = np.full((96, 96, 3), 40, np.uint8)
        picture[top : top + 20, 30:66] = pattern[:20, :36, None]
        return picture

    return scene


def test_beats_are_where_something_lands() -> None:
    clip = SyntheticClip(6.0, 50.0, scene=falling(1.25), id="falling")
    found = motion_beats(clip)
    landings_s = np.arange(1, 7) / 1.25
    assert found is not None
    nearest_s = np.abs(found[:, None] - landings_s[None]).min(axis=1)
    assert len(found) in (6, 7)
    assert np.median(nearest_s) < 0.04
    assert motion_beats(clip) is found


def test_a_still_picture_and_none_at_all_have_no_beats() -> None:
    still = SyntheticClip(3.0, 25.0, scene=lambda _: np.full((96, 96, 3), 90, np.uint8), id="still")
    assert len(motion_beats(still)) == 0
    assert motion_beats(SyntheticClip(n_frames=0)) is None
    assert len(beats_of_flow(np.zeros((0, 6, 6, 2)))) == 0


def test_cell_flow_sees_what_moves_down() -> None:
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (200, 96, 1), np.uint8).repeat(3, axis=2)

    def scene(time_s: float) -> np.ndarray:
        top = 100 - round(50 * time_s)
        return texture[top : top + 96]

    video = SyntheticVideo(scene, np.arange(25) / 25)
    flow = cell_flow(video, 1.0)
    assert flow.shape == (24, 6, 6, 2)
    np.testing.assert_allclose(np.median(flow[2:, 1:-1, 1:-1, 1]), 2.0, atol=0.2)


def test_the_formula() -> None:
    motion_s, music_s = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.05, 9.0])
    wanted = (1 + np.exp(-0.5) + np.exp(-180.5)) / 3  # 0, 1 and 19 times 50 ms away
    assert alignment(motion_s, music_s) == pytest.approx(wanted)


def test_music_on_the_landings_scores_higher_than_beside_them(clicks: Callable[..., Any]) -> None:
    clip = SyntheticClip(8.0, 50.0, scene=falling(2.0), id="falling2")
    score = beat_alignment.build()
    on, _ = clicks(120.0, first_s=0.5)
    off, _ = clicks(120.0, first_s=0.75, between=0.0)
    together, apart = score(Scored(on, 32_000, clip)).value, score(Scored(off, 32_000, clip)).value
    assert together is not None and apart is not None
    assert together > 0.7
    assert apart < 0.2
    assert score(Scored(np.zeros(64_000, np.float32), 32_000, clip)).value == 0.0
    assert score(Scored(on, 32_000, SyntheticClip(n_frames=0))).reason == "the clip has no picture"


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(32_000), "the output is silent"),
        (np.full(32_000, 0.5), "the output has a constant offset"),
        (np.sign(np.sin(np.arange(32_000) / 20)), "100 % of the samples are clipped"),
        (np.full(32_000, np.nan), "the output has samples that are not numbers"),
        (0.2 * np.sin(np.arange(32_000) / 20), None),
    ],
)
def test_unusable_sounds_are_named(samples: np.ndarray, reason: str | None) -> None:
    found = level_metrics.build_level_sane()(Scored(samples.astype(np.float32), 32_000, SyntheticClip()))
    assert found.value == float(reason is None)
    assert found.reason == reason


def test_cells_are_means_over_their_own_part_of_the_picture() -> None:
    """12 x 18 pixels make 6 x 6 cells of 2 x 3; a flow of (row, column) has the cell's middle as its mean."""
    rows, columns = np.mgrid[0:12, 0:18].astype(np.float32)
    means = beat_alignment._cell_means(np.stack([rows, columns], axis=-1))
    assert means.shape == (6, 6, 2)
    assert means[:, 0, 0].tolist() == means[:, 5, 0].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5]
    assert means[0, :, 1].tolist() == means[5, :, 1].tolist() == [1, 4, 7, 10, 13, 16]


def test_the_picture_is_looked_at_until_a_picture_after_its_last_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames at 0 and 1 s: the flow is wanted up to 1.04 s, or the end of the clip if that is earlier."""
    seen: list[float] = []

    def flow(_: object, end_s: float) -> np.ndarray:
        seen.append(end_s)
        return np.zeros((0, 6, 6, 2))

    monkeypatch.setattr(beat_alignment, "cell_flow", flow)
    for duration_s, wanted_s in ((2.0, 1.04), (0.5, 0.5)):
        clip = SyntheticClip(2.0, 1.0)
        clip.duration_s = duration_s
        assert clip.video is not None
        assert clip.video.frame_times_s.tolist() == [0.0, 1.0]
        motion_beats(clip)
        assert seen.pop() == pytest.approx(wanted_s)
