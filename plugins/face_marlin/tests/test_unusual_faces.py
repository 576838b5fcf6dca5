"""Faces that are none, or not quite: mirrors, posters, masks, profiles. What is not seen is left out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from expotion.contracts import TimedFeatures
from expotion_face_marlin import SPEC, FaceMarlinOptions
from expotion_face_marlin.encoder import FaceMarlinEncoder

TIMES_S = np.arange(75) / 15.0
GONE = (TIMES_S >= 1.5) & (TIMES_S < 3.5)


@pytest.fixture(scope="module")
def encoder() -> FaceMarlinEncoder:
    return SPEC.build(FaceMarlinOptions())  # type: ignore[return-value]


def unseen(track: TimedFeatures) -> tuple[float, float] | None:
    """First and last time of the rows in which no face was found; None where all have one."""
    times_s = track.times_s[~track.valid]
    return (float(times_s[0]), float(times_s[-1])) if len(times_s) else None


def test_one_face_is_followed_beside_its_mirror_image(encoder: FaceMarlinEncoder, fakes: SimpleNamespace) -> None:
    frames = fakes.face_frames(TIMES_S)
    both = np.concatenate([frames, frames[:, :, ::-1]], axis=2)
    path = encoder.face_path(fakes.video(both, TIMES_S))
    assert path is not None
    centre, _, valid = path.at(TIMES_S)
    assert valid.all()
    assert np.abs(np.diff(centre[:, 0])).max() < 0.1  # of the frame's height: it does not jump to the other


def test_a_poster_is_a_face_that_does_not_move(encoder: FaceMarlinEncoder, fakes: SimpleNamespace) -> None:
    still = np.repeat(fakes.face_frames(TIMES_S[:1]), len(TIMES_S), axis=0)
    track = encoder.extract(fakes.clip(fakes.video(still, TIMES_S), 5.0))
    assert track.valid.all()
    moving = encoder.extract(fakes.clip(fakes.video(fakes.face_frames(TIMES_S), TIMES_S), 5.0))
    assert np.abs(np.diff(track.values, axis=0)).mean() < 0.2 * np.abs(np.diff(moving.values, axis=0)).mean()


@pytest.mark.parametrize("kind", ["mask", "hand", "profile", "away"])
def test_what_hides_a_face_leaves_a_gap_at_its_times_or_none(
    encoder: FaceMarlinEncoder, fakes: SimpleNamespace, kind: str
) -> None:
    """For two of five seconds; rows outside of these (and half a second around them) are all seen."""
    frames = fakes.face_frames(TIMES_S).copy()
    if kind == "mask":
        frames[GONE, 54:90, 30:95] = (200, 210, 220)
    elif kind == "hand":
        frames[GONE, 24:90, 30:95] = (210, 160, 130)
    elif kind == "profile":
        frames[GONE, :, 62:] = frames[GONE][:, :1, :1]
    else:
        frames[GONE] = frames[GONE][:, :1, :1]
    track = encoder.extract(fakes.clip(fakes.video(frames, TIMES_S), 5.0))
    assert np.isfinite(track.values).all()
    assert (track.values[~track.valid] == 0).all()
    hidden = unseen(track)
    if kind == "away":
        assert hidden is not None
    if hidden is not None:
        assert 1.2 < hidden[0] <= hidden[1] < 3.8
