"""`movement_beat` as an encoder: beats that a clip knows, beats that are tracked, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rendered_people import RenderedPerson, make_script, true_landmarks

from expotion.contracts import Truth
from expotion_person_landmarks import BEAT, BeatOptions, encoders, measure
from expotion_person_landmarks.beat import beat_rows, said_at, told_beat
from expotion_person_landmarks.encoders import MovementBeat, row_times_s
from expotion_person_landmarks.flow import SIDE_PX, flow_movement
from expotion_person_landmarks.landmarks import Landmarks


@pytest.fixture
def nodding(monkeypatch) -> RenderedPerson:
    """Somebody who nods, seen as the joints truly are; no networks are loaded."""
    clip = RenderedPerson(make_script("nods", 7_000_102, 8.0))
    monkeypatch.setattr(encoders, "model_file", lambda name: None)
    monkeypatch.setattr(encoders, "pulled_weights", lambda name: Path("pulled"))
    for module in (encoders, measure):
        monkeypatch.setattr(module, "landmarks_of", lambda clip, part, who: true_landmarks(clip, noise=0.003))
    return clip


def beats_of(track) -> np.ndarray:
    """Where the phase of a track passes a beat."""
    phase = np.arctan2(track.values[:, 1], track.values[:, 2]) / (2 * np.pi) % 1.0
    return track.times_s[1:][np.diff(phase) < -0.5]


def test_a_beat_that_is_told_goes_on_beyond_its_ends():
    found = told_beat(np.array([1.0, 1.5, 2.1]), 4.0)
    assert len(found.phase) == 401 and found.has_beat
    assert found.phase[[0, 50, 100, 125, 150, 180]] == pytest.approx([0, 0, 0, 0.5, 0, 0.5], abs=1e-6)
    assert found.tempo_bpm[[10, 120, 160, 390]] == pytest.approx([120, 120, 100, 100])
    rows = beat_rows(found, np.array([1.0, 1.25]))
    assert rows[0] == pytest.approx([1, 0, 1, np.log2(1.2), 1], abs=1e-6)
    assert rows[1] == pytest.approx([0, 0, -1, np.log2(1.2), 1], abs=1e-5)


def test_known_beats_are_taken_and_tracked_ones_stand_where_they_are(nodding):
    tracked = MovementBeat(BEAT, BeatOptions(true_beats=True)).extract(nodding)
    nodding.truth = Truth(nodding.script.beats_s, np.zeros(1), np.zeros(1))
    known = MovementBeat(BEAT, BeatOptions(true_beats=True)).extract(nodding)
    assert (
        known.valid.all()
        and known.values.shape == (200, 5)
        and known.times_s == pytest.approx(row_times_s(8.0, 25))
    )
    inside = nodding.script.beats_s[(nodding.script.beats_s > 0.5) & (nodding.script.beats_s < 7.5)]
    for track in (known, tracked):
        assert max(np.abs(beats_of(track) - beat).min() for beat in inside) < 0.07
    plain = MovementBeat(BEAT, BeatOptions()).extract(nodding)
    faded = tracked.values[:, 1:3] * plain.values[:, 4:]
    assert plain.values[:, 1:3] == pytest.approx(faded) and (tracked.values[tracked.valid, 4] == 1).all()


def test_a_beat_that_is_not_said_is_not_given_as_a_certain_one():
    unsure = replace(told_beat(BEATS_S, 6.0), certainty=np.full(601, 0.3), overall=0.9)
    at_s = np.arange(0.0, 6.0, 0.5)
    assert said_at(unsure, at_s, causal=False).all() and not said_at(unsure, at_s, causal=True).any()
    half = replace(unsure, overall=0.4, certainty=np.where(np.arange(601) < 300, 0.6, 0.4))
    for causal in (False, True):
        assert said_at(half, at_s, causal=causal).tolist() == (at_s < 3.0).tolist()


def test_beats_and_accents_are_drawn_over_the_body(nodding):
    drawn = MovementBeat(BEAT, BeatOptions()).overlay(nodding)
    assert drawn.points is not None and len(drawn.events_s) >= len(drawn.beats_s) - 2 > 4


def test_that_there_is_no_beat_is_drawn_too(nodding, monkeypatch):
    still = RenderedPerson(make_script("pointing", 7_000_301, 8.0))
    for module in (encoders, measure):
        monkeypatch.setattr(module, "landmarks_of", lambda clip, part, who: true_landmarks(still, noise=0.003))
    drawn = MovementBeat(BEAT, BeatOptions()).overlay(still)
    assert drawn.beats_s is not None and not len(drawn.beats_s) and "no beat" in drawn.note


class Bar:
    """A square picture with a bright bar that goes down to each beat and stops there; frames at any times."""

    def __init__(self, beats_s, duration_s: float, fps: float = 25.0) -> None:
        self.frame_times_s = np.arange(int(duration_s * fps)) / fps
        self.size, self.decodable_until_s = (SIDE_PX, SIDE_PX), float("inf")
        self._beats_s, self._texture = beats_s, np.random.default_rng(3).integers(90, 255, (20, 96, 1), np.uint8)

    def frames_at(self, times_s, *, shorter_side=None):
        assert shorter_side == SIDE_PX
        frames = np.full((len(times_s), SIDE_PX, SIDE_PX, 3), 40, np.uint8)
        for frame, time_s in zip(frames, times_s, strict=True):
            top = 20 + round(30 * float(np.exp(-0.5 * ((time_s - self._beats_s) / 0.1) ** 2).sum()))
            frame[top : top + 20] = self._texture
        return frames


class Shown(RenderedPerson):
    """The clip with another picture."""

    video = None

    def __init__(self, video, duration_s: float) -> None:
        self.id, self.path, self.truth, self.duration_s, self.video = "shown", None, None, duration_s, video


BEATS_S = np.arange(0.5, 6.0, 0.6)


@pytest.mark.parametrize("pulled", [None, Path("pulled")], ids=["models not pulled", "nobody is seen"])
def test_without_landmarks_the_beat_is_that_of_the_pictures_flow_and_said(monkeypatch, caplog, pulled):
    monkeypatch.setattr(encoders, "pulled_weights", lambda name: pulled)
    monkeypatch.setattr(encoders, "model_file", lambda name: None)
    nobody = Landmarks(np.zeros(0), np.zeros((0, 33, 3), np.float32), (96, 96), np.zeros(0, np.int64))
    for module in (encoders, measure):
        monkeypatch.setattr(module, "landmarks_of", lambda clip, part, who: nobody)
    encoder, clip = MovementBeat(BEAT, BeatOptions()), Shown(Bar(BEATS_S, 6.0), 6.0)
    track = encoder.extract(clip)
    found = beats_of(track)
    assert np.abs(found[:, None] - BEATS_S).min(axis=1).max() < 0.07 and len(found) > 6
    assert track.values.tobytes() == encoder.extract(clip).values.tobytes()
    why = "expotion models pull mediapipe_person" if pulled is None else "nobody's shoulders are seen"
    assert why in caplog.text and "whatever moves in the picture" in caplog.text
    drawn = encoder.overlay(clip)
    assert (
        drawn is not None and drawn.points is None and drawn.note.startswith("optical flow") and len(drawn.beats_s)
    )
    assert encoder.computed_in == ("optical flow" if pulled is None else "")


def test_a_picture_in_which_nothing_moves_has_nothing_to_say():
    for still in (Bar(np.array([99.0]), 2.0), None):
        moves = flow_movement(Shown(still, 2.0))
        assert not moves.known.any() and not moves.braking.any() and not len(moves.events_s)


def test_flow_counts_in_picture_heights_and_is_not_known_where_frames_are_missing():
    whole = flow_movement(Shown(Bar(BEATS_S, 6.0), 6.0))
    sure = whole.events_s
    # About a quarter of the picture brakes from 30 of its 96 rows within a tenth of a second.
    assert whole.braking.max() == pytest.approx(594, rel=0.15) and whole.energy.max() == pytest.approx(
        2254, rel=0.2
    )
    gap = Bar(BEATS_S, 6.0)
    gap.frame_times_s = gap.frame_times_s[(gap.frame_times_s < 2.0) | (gap.frame_times_s > 3.0)]
    moves = flow_movement(Shown(gap, 6.0))
    assert len(sure) == len(BEATS_S) and np.abs(sure - BEATS_S).max() < 0.06
    assert not moves.known[240:270].any() and moves.known[150]
    assert np.abs(moves.events_s[:, None] - sure).min(axis=1).max() < 0.05
