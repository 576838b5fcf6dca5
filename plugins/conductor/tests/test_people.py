"""The people's world: a seed is one clip, a longer one begins alike, and truth lies where the picture shows it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from expotion_conductor.band.piece import make_piece
from expotion_conductor.clip import ConductorClip
from expotion_conductor.people.cast import people_plan
from expotion_conductor.people.expression import express
from expotion_conductor.people.habits import BODY, HANDS, draw_habits
from expotion_conductor.people.marks import Marks
from expotion_conductor.people.parts import PARTS
from expotion_conductor.people.shot import CHANGES, draw_frame_times, draw_shot
from expotion_conductor.plan import DEVELOPMENT_SEEDS, TEST_SEEDS, make_plan
from expotion_conductor.probes import stop
from expotion_conductor.sensors import wrist_acceleration
from expotion_conductor.source import ConductorOptions, ConductorSource

SEED = DEVELOPMENT_SEEDS + 900
FIRST_STYLE = [[69.563, 111.032, 60.19], [60.124, 106.295, 53.67], [43.112, 58.78, 40.926]]
"""Brightness of the parts of a frame of `conductor-1`."""
TIMES_S = np.array([0.3, 1.4, 2.2])


def test_a_seed_is_one_clip_and_a_longer_one_begins_alike() -> None:
    for seed in range(SEED, SEED + 3):
        short, again, long = (ConductorClip(people_plan(seed, s), size_px=64) for s in (3.0, 3.0, 5.0))
        frames = [clip.video.frames_at(TIMES_S) for clip in (short, again, long)]
        np.testing.assert_array_equal(frames[0], frames[1])
        np.testing.assert_array_equal(frames[0], frames[2])
        assert short.content_hash == again.content_hash != long.content_hash
        assert short.id == f"people-{seed}"
        times_s = short.video.frame_times_s
        np.testing.assert_array_equal(times_s, long.video.frame_times_s[: len(times_s)])


def test_the_whole_truth_is_in_one_place() -> None:
    clip = ConductorClip(people_plan(SEED, 2.0), size_px=64)
    truth, n_frames = clip.truth, len(clip.video.frame_times_s)
    assert truth.landmarks is not None and truth.visible is not None and truth.expression is not None
    assert truth.framing is not None and truth.events_s is not None and truth.event_strengths is not None
    np.testing.assert_array_equal(truth.landmark_times_s, clip.video.frame_times_s)
    assert truth.framing.shape == (n_frames, 2, 3)
    for name in ("nose", "left_wrist", "right_index", "left_brow_inner", "mouth_left", "chin", "left_hip"):
        assert truth.landmarks[name].shape == (n_frames, 2) and truth.visible[name].shape == (n_frames,)
    assert truth.landmarks.keys() == truth.visible.keys()
    assert len(truth.events_s["movement"]) == len(truth.event_strengths["movement"])
    assert truth.valence is not None and truth.notes is not None and truth.tempo_curve_bpm is not None
    assert set(truth.expression) >= {"brow_raise", "brow_sad", "brow_frown", "eye_open", "mouth_open", "smile"}


def test_landmarks_lie_where_the_picture_shows_them() -> None:
    """Who has white skin alone under no light but white: the hand's and the nose's places are of that colour."""
    plan = people_plan(SEED + 3, 2.0, role="free", change="as drawn")
    assert plan.people is not None
    looks = plan.people.lead.looks
    person = dataclasses.replace(looks.person, skin=(250, 0, 250), clothes=(0, 90, 0), shirt=(0, 90, 0))
    camera = dataclasses.replace(looks.camera, wall=(0, 60, 0), accent=(0, 60, 0), tint=(1.0, 1.0, 1.0), noise=0.5)
    lead = dataclasses.replace(
        plan.people.lead,
        looks=dataclasses.replace(looks, person=person, camera=dataclasses.replace(camera, backdrop="wall")),
    )
    clip = ConductorClip(dataclasses.replace(plan, people=dataclasses.replace(plan.people, lead=lead)))
    truth = clip.truth
    assert truth.landmarks is not None and truth.visible is not None
    frames = clip.video.frames_at(clip.video.frame_times_s[::10]).astype(int)
    for name in ("left_palm", "right_palm", "left_middle", "nose"):
        seen = np.flatnonzero(truth.visible[name][::10])
        for index in seen:
            x, y = np.clip(np.rint(truth.landmarks[name][::10][index]).astype(int), 0, 191)
            red, green, _ = frames[index, y, x]
            assert red > 2 * green, (name, index)


def test_frames_are_taken_at_many_rates_and_some_begin_late() -> None:
    every = [draw_frame_times(seed, 5.0) for seed in range(120)]
    steps = [np.diff(times_s) for times_s in every]
    rates = {round(1 / float(step[0])) for step in steps if np.ptp(step) < 1e-9}
    assert rates >= {12, 15, 24, 25, 30} and max(rates) >= 50
    assert 20 <= sum(np.ptp(step) > 1e-3 for step in steps) <= 60
    assert 20 <= sum(times_s[0] > 0 for times_s in every) <= 60
    assert all((step > 0).all() for step in steps) and max(times_s[0] for times_s in every) <= 1.0


def test_framings_are_of_all_sizes_and_each_change_changes_one_thing() -> None:
    zooms = [draw_shot(seed).zoom for seed in range(200)]
    assert min(zooms) < 0.55 and max(zooms) > 1.4 and all(0.5 <= zoom <= 1.5 for zoom in zooms)
    centre = np.array([0.5, 0.45, 1.0])
    still = CHANGES["as drawn"](draw_shot(1)).matrices(np.arange(20) / 10)
    np.testing.assert_allclose(still @ centre, np.tile([0.5, 0.45], (20, 1)))
    shaken = CHANGES["4-pixel shake"](draw_shot(1)).matrices(np.arange(2000) / 100) @ centre
    np.testing.assert_allclose(192 * shaken.std(axis=0), 4.0, rtol=0.1)
    assert CHANGES["half size"](draw_shot(1)).zoom == 0.5 and CHANGES["1.5x"](draw_shot(1)).zoom == 1.5


def test_habits_of_all_kinds_are_drawn() -> None:
    people = [draw_habits(seed) for seed in range(400)]
    parts = {part for habits in people for segment in habits.segments for part in segment}
    assert parts == set(PARTS) and {*BODY, *HANDS} <= parts
    assert {habits.role for habits in people} == {"beats", "phrases", "free", "still"}
    assert {habits.feel for habits in people} >= {"every beat", "every second beat", "downbeats", "phrase ends"}
    lead_s = np.array([habits.lead_s for habits in people])
    assert (lead_s > 0.06).sum() > 20 and (lead_s < -0.06).sum() > 20


def test_the_source_offers_people_and_its_probes_stop_them() -> None:
    source = ConductorSource(ConductorOptions(train_clips=2, test_clips=1, clip_s=1.0, style="people"))
    assert all(clip.plan.people for clip in source.clips("train"))
    assert set(source.probes(1)) == {"tempo_step", "stop_after_2s"}
    plan = people_plan(SEED + 5, 8.0, role="beats", performed=False)
    stopped = ConductorClip(stop(plan), size_px=64)
    late = stopped.truth.events_s or {}
    assert late["movement"].max() < 2.3 < ConductorClip(plan, size_px=64).truth.events_s["movement"].max()  # type: ignore[index]
    with pytest.raises(AssertionError, match="mover"):
        stopped.figure.joints(TIMES_S)


def test_a_wrists_accelerometer_follows_people_too() -> None:
    _, acceleration = wrist_acceleration(people_plan(SEED + 6, 1.0, role="free"))
    assert acceleration.shape == (101, 3) and 5.0 < np.median(acceleration[:, 1]) < 15.0


def test_valence_and_arousal_can_be_read_from_the_face() -> None:
    """A line from the parts of an expression, fitted to some people, tells both curves of others."""
    inputs, wanted = [], []
    for seed in range(SEED, SEED + 40):
        plan = people_plan(seed, 4.0)
        assert plan.people is not None
        lead = plan.people.lead
        times_s = np.arange(0.5, 4.0, 0.1)
        feels = [np.interp(times_s, lead.times_s, curve) for curve in (lead.valence, lead.arousal)]
        face = express(times_s, feels[1], feels[0], 4.0, lead.seed).named()
        inputs.append(np.stack([*face.values(), np.ones(len(times_s))], axis=1))
        wanted.append(np.stack(feels, axis=1))
    weights = np.linalg.lstsq(np.concatenate(inputs[:30]), np.concatenate(wanted[:30]), rcond=None)[0]
    found, true = np.concatenate(inputs[30:]) @ weights, np.concatenate(wanted[30:])
    assert all(np.corrcoef(found[:, i], true[:, i])[0, 1] > 0.75 for i in range(2))


def test_rests_are_silent_and_what_is_held_sounds_on() -> None:
    pieces = [make_piece(seed, 10.0, breaks=True) for seed in range(SEED, SEED + 40)]
    resting = [piece for piece in pieces if piece.rests_s and piece.rests_s[0][1] < 10.0]
    holding = [piece for piece in pieces if piece.holds_s and piece.holds_s[0][1] < 10.0]
    assert len(resting) >= 3 and len(holding) >= 3
    for piece in resting:
        start_s, end_s = piece.rests_s[0]
        notes = piece.notes
        assert not ((notes.onset_s > start_s - 0.03) & (notes.onset_s < end_s - 0.05)).any()
        plan = people_plan(piece.seed, performed=True)
        assert not ((plan.beats_s > start_s - 1e-3) & (plan.beats_s < end_s - 1e-3)).any()
    for piece in holding:
        start_s, end_s = piece.holds_s[0]
        gaps = np.diff(piece.clock.grid_s)
        assert end_s - start_s > 1.5 * np.median(gaps)
        inside = (piece.notes.onset_s > start_s + 0.05) & (piece.notes.onset_s < end_s - 0.05)
        assert not inside.any()
    plain = make_piece(holding[0].seed, 10.0)
    assert not plain.holds_s and not plain.rests_s


def test_marks_wait_out_what_is_held() -> None:
    """Between marks far apart a movement goes half way, waits, and ends in time."""
    marks = Marks(np.array([0.0, 0.5, 2.5, 3.0]), np.ones(4), np.full(4, 0.5))
    where = marks.between(np.array([0.25, 0.75, 1.5, 2.25, 2.49]))
    np.testing.assert_allclose(where.share, [0.5, 0.5, 0.5, 0.5, 0.98])
    np.testing.assert_array_equal(where.number, [0, 1, 1, 1, 1])


def test_the_first_style_is_drawn_as_ever() -> None:
    """Means of a frame's nine parts, so that the last bits of another build of OpenCV do not matter."""
    frame = ConductorClip(make_plan(TEST_SEEDS, 2.0)).video.frames_at(np.array([1.0]))[0].astype(float)
    parts = frame.reshape(3, 64, 3, 64, 3).mean(axis=(1, 3, 4))
    np.testing.assert_allclose(parts, FIRST_STYLE, atol=0.02)
