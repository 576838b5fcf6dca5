"""`movement_beat` as an encoder: beats that a clip knows, beats that are tracked, and what is drawn of them."""

from __future__ import annotations

import numpy as np
import pytest
from rendered_people import RenderedPerson, make_script, true_landmarks

from expotion.contracts import Truth
from expotion_person_landmarks import BEAT, BeatOptions, encoders, measure
from expotion_person_landmarks.beat import beat_rows, told_beat
from expotion_person_landmarks.encoders import MovementBeat, row_times_s


@pytest.fixture
def nodding(monkeypatch) -> RenderedPerson:
    """Somebody who nods, seen as the joints truly are; no networks are loaded."""
    clip = RenderedPerson(make_script("nods", 7_000_102, 8.0))
    monkeypatch.setattr(encoders, "model_file", lambda name: None)
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
    assert plain.values[:, 1:] == pytest.approx(tracked.values[:, 1:]) and plain.values[:, 0].max() != 1.0


def test_beats_and_accents_are_drawn_over_the_body(nodding):
    drawn = MovementBeat(BEAT, BeatOptions()).overlay(nodding)
    assert drawn.points is not None and len(drawn.events_s) >= len(drawn.beats_s) - 2 > 4


def test_that_there_is_no_beat_is_drawn_too(nodding, monkeypatch):
    still = RenderedPerson(make_script("pointing", 7_000_301, 8.0))
    for module in (encoders, measure):
        monkeypatch.setattr(module, "landmarks_of", lambda clip, part, who: true_landmarks(still, noise=0.003))
    drawn = MovementBeat(BEAT, BeatOptions()).overlay(still)
    assert drawn.beats_s is not None and not len(drawn.beats_s) and "no beat" in drawn.note
