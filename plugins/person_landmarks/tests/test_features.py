"""Features from landmarks: true ones of rendered people, and arrays that the networks once gave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rendered_people import BEATING, NOT_BEATING, RenderedPerson, make_script, true_landmarks

from expotion_person_landmarks import FACE, POSE, PersonOptions
from expotion_person_landmarks.encoders import row_times_s
from expotion_person_landmarks.face_features import CHANNELS as FACE_CHANNELS
from expotion_person_landmarks.face_features import expression, face_features
from expotion_person_landmarks.landmarks import LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_WRIST, Landmarks
from expotion_person_landmarks.overlay import body_overlay, face_overlay
from expotion_person_landmarks.pose_features import CHANNELS, pose_features
from expotion_person_landmarks.smoothing import smooth_path

STORED = Path(__file__).parent / "data" / "rendered.npz"
AT_S = row_times_s(4.0, 25.0)


def person(kind="conducting", seed=7_000_001, **options) -> Landmarks:
    return true_landmarks(RenderedPerson(make_script(kind, seed, 4.0)), **options)


def stored(name: str) -> Landmarks:
    with np.load(STORED) as arrays:
        return Landmarks(
            arrays[f"{name}_times_s"].astype(np.float64),
            arrays[name].astype(np.float32),
            (256, 256),
            np.full(len(arrays[name]), -1),
        )


def column(values, name, channels=CHANNELS):
    return values[:, channels.index(name)]


def test_the_announced_width_is_that_of_the_channels():
    options = PersonOptions()
    assert POSE.width(options) == len(CHANNELS) and FACE.width(options) == len(FACE_CHANNELS)
    with pytest.raises(ValueError):
        PersonOptions(person=0)
    assert [PersonOptions(person=who).person for who in ("left", 2)] == ["left", 2]


def test_half_the_size_elsewhere_in_the_picture_gives_the_same_numbers():
    body = person()
    smaller = body.points.copy()
    smaller[..., :2] = body.points[..., :2] * 0.5 + np.array([40.0, 11.0], np.float32)
    values, valid = pose_features(body, AT_S)
    other, other_valid = pose_features(replace(body, points=smaller), AT_S)
    assert valid.all() and (other_valid == valid).all()
    assert other == pytest.approx(values, abs=2e-3)


def test_a_camera_that_shakes_does_not_move_the_hands():
    body = person()
    shaken = body.points.copy()
    shaken[..., :2] += (4.0 * np.sin(2 * np.pi * 1.7 * body.times_s)[:, None, None]).astype(np.float32)
    steady = column(pose_features(body, AT_S)[0], "right_wrist_y_speed")
    moved = column(pose_features(replace(body, points=shaken), AT_S)[0], "right_wrist_y_speed")
    assert np.abs(moved - steady).max() < 0.02 * np.abs(steady).max()


def test_the_hand_is_braked_on_the_beats():
    clip = RenderedPerson(make_script("conducting", 7_000_001, 4.0))
    values, _ = pose_features(true_landmarks(clip), AT_S)
    braking = column(values, f"{clip.figure.baton_wrist}_braking")
    beats_s = clip.script.beats_s[(clip.script.beats_s > 0.2) & (clip.script.beats_s < 3.8)]
    peaks = AT_S[1:-1][(braking[1:-1] > braking[:-2]) & (braking[1:-1] >= braking[2:]) & (braking[1:-1] > 0.3)]
    assert len(beats_s) >= 3
    assert max(np.abs(peaks - beat).min() for beat in beats_s) < 0.045


def test_a_hidden_hand_is_zeros_and_the_rest_stays():
    body = person()
    hidden = body.points.copy()
    hidden[:, RIGHT_WRIST, 2] = 0.1
    values, valid = pose_features(replace(body, points=hidden), AT_S)
    there, _ = pose_features(body, AT_S)
    which = [name.startswith("right_wrist") for name in CHANNELS]
    assert valid.all() and not values[:, which].any()
    assert values[:, ~np.array(which)] == pytest.approx(there[:, ~np.array(which)])
    assert column(there, "right_wrist_seen").all()


def test_who_leaves_is_not_valid_until_back():
    body = person()
    gone = body.points.copy()
    gone[40:80] = 0.0
    values, valid = pose_features(replace(body, points=gone), AT_S)
    away = (AT_S > 40 / 25 + 0.13) & (AT_S < 79 / 25 - 0.13)
    assert not valid[away].any() and not values[~valid].any()
    assert valid[AT_S < 1.5].all() and valid[AT_S > 3.3].all()
    for nobody in (
        replace(body, points=np.zeros_like(body.points)),
        Landmarks(np.zeros(0), np.zeros((0, 33, 3), np.float32), (0, 0), np.zeros(0, np.int64)),
    ):
        values, valid = pose_features(nobody, AT_S)
        assert values.shape == (len(AT_S), len(CHANNELS)) and not valid.any() and not values.any()


@pytest.mark.parametrize("fps", [15.0, 25.0, 30.0])
def test_the_same_movement_at_any_frame_rate(fps):
    """Where the hand is braked most: within 20 ms of the densest frames."""

    def events(at_fps: float) -> np.ndarray:
        clip = RenderedPerson(make_script("conducting", 7_000_003, 6.0), fps=at_fps)
        body = true_landmarks(clip)
        at_s = np.arange(0.2, 5.8, 0.005)
        number = RIGHT_WRIST if clip.figure.baton_side == 0 else LEFT_WRIST
        path = body.points[:, number, :2].astype(np.float64)
        _, speed, change, known = smooth_path(body.times_s, path, np.ones(len(path)), at_s)
        assert known.all()
        upward = -change[:, 1]
        top = (upward[1:-1] > upward[:-2]) & (upward[1:-1] >= upward[2:]) & (upward[1:-1] > 0.5 * upward.max())
        del speed
        return at_s[1:-1][top]

    dense, thin = events(100.0), events(fps)
    assert len(dense) == len(thin) >= 4
    assert np.abs(dense - thin).max() <= 0.020


def test_smoothing_follows_a_parabola_exactly_and_says_where_it_knows_nothing():
    times_s = np.sort(np.random.default_rng(1).uniform(0, 2, 60))
    values = np.column_stack([3 + 2 * times_s - 4 * times_s**2, np.ones(60)])
    at_s = np.linspace(0.2, 1.8, 50)
    place, speed, change, known = smooth_path(times_s, values, np.ones(60), at_s)
    assert place[:, 0] == pytest.approx(3 + 2 * at_s - 4 * at_s**2, abs=5e-3)
    assert speed[:, 0] == pytest.approx(2 - 8 * at_s, abs=0.15)
    assert place[:, 1] == pytest.approx(np.ones(50)) and np.abs(speed[:, 1]).max() < 1e-6
    weights = np.where((times_s > 0.8) & (times_s < 1.4), 0.0, 1.0)
    known = smooth_path(times_s, values, weights, at_s)[3]
    assert not known[(at_s > 0.98) & (at_s < 1.22)].any() and known[at_s < 0.7].all()
    assert not smooth_path(times_s, values, np.zeros(60), at_s)[3].any()
    del change


def test_true_joints_are_where_the_networks_saw_them():
    """Stored landmarks of the networks beside the joints that were drawn: 256 pixels, four kinds of movement."""
    for kind, seed in (
        ("conducting", 7_000_004),
        ("nods", 7_000_102),
        ("pointing", 7_000_301),
        ("sway", 7_000_203),
    ):
        seen, true = stored(kind), person(kind, seed)
        width = float(np.median(np.hypot(*(true.points[:, 11, :2] - true.points[:, 12, :2]).T)))
        both = seen.seen(11, 12, NOSE)
        assert both.mean() > 0.95
        apart = np.linalg.norm(
            seen.points[both][:, [NOSE, 11, 12], :2] - true.points[both][:, [NOSE, 11, 12], :2], axis=2
        )
        assert np.median(apart) / width < 0.1


def test_features_of_the_networks_landmarks_follow_those_of_the_true_ones():
    seen = pose_features(stored("conducting"), AT_S)[0]
    true = pose_features(person(seed=7_000_004), AT_S)[0]
    for name in ("left_wrist_y_speed", "right_wrist_y_speed"):
        assert np.corrcoef(column(seen, name), column(true, name))[0, 1] > 0.8


def test_a_face_in_numbers():
    face = stored("face")
    at_s = row_times_s(float(face.times_s[-1]), 25.0)
    values, valid = face_features(face, at_s)
    assert valid.all() and np.isfinite(values).all()
    wider = replace(
        face, points=face.points * np.array([1.7, 1.7, 1.0], np.float32) + np.array([9, -4, 0], np.float32)
    )
    assert face_features(wider, at_s)[0] == pytest.approx(values, abs=2e-3)
    eyes = column(values, "right_eye_open", FACE_CHANNELS)
    assert 0.02 < eyes.min() < eyes.max() < 1.2
    turned = face.points.copy()
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    turned[..., :2] = turned[..., :2] @ turn.T
    rolled = face_features(replace(face, points=turned), at_s)[0]
    difference = column(rolled, "roll", FACE_CHANNELS) - column(values, "roll", FACE_CHANNELS)
    assert difference == pytest.approx(np.full(len(at_s), angle), abs=0.01)
    for name in ("yaw", "pitch", "mouth_open", "smile", "left_brow", "eyes_x", "left_eye_open"):
        assert column(rolled, name, FACE_CHANNELS) == pytest.approx(column(values, name, FACE_CHANNELS), abs=0.02)
    gone = face.points.copy()
    gone[10:30] = 0
    assert not face_features(replace(face, points=gone), at_s)[1][(at_s > 0.55) & (at_s < 1.0)].any()


def test_a_mouth_that_opens_and_a_head_that_turns_show():
    face = stored("face")
    at_s = row_times_s(float(face.times_s[-1]), 25.0)
    values, _ = face_features(face, at_s)
    changed = face.points.copy()
    changed[:, 14, 1] += 10.0
    changed[:, 1, 0] += 8.0
    other, _ = face_features(replace(face, points=changed), at_s)
    assert (column(other, "mouth_open", FACE_CHANNELS) > column(values, "mouth_open", FACE_CHANNELS) + 0.05).all()
    assert (column(other, "yaw", FACE_CHANNELS) > column(values, "yaw", FACE_CHANNELS) + 0.05).all()


def test_expression_is_how_far_the_face_is_from_rest():
    face = stored("face")
    n = len(face.times_s)
    still = replace(face, points=np.repeat(face.points[:1], n, axis=0))
    np.testing.assert_allclose(expression(still), 0.0, atol=1e-6)
    smiling = still.points.copy()
    smiling[: n // 4, 14, 1] += 10.0  # the mouth is open for less than half of the clip: no rest
    smiling[-1] = 0.0
    found = expression(replace(face, points=smiling))
    assert np.isnan(found[-1]) and (found[: n // 4] > 0.05).all()
    np.testing.assert_allclose(found[n // 4 : -1], 0.0, atol=1e-6)
    turned = still.points.copy()
    turned[..., :2] *= 1.5  # nearer, and as expressive as before
    np.testing.assert_allclose(expression(replace(face, points=turned)), 0.0, atol=1e-5)
    drawn = face_overlay(face)
    np.testing.assert_array_equal(drawn.expression, expression(face))
    np.testing.assert_array_equal(drawn.expression_times_s, face.times_s)


def test_an_overlay_draws_what_is_seen():
    body = person()
    hidden = body.points.copy()
    hidden[:, LEFT_WRIST, 2] = 0.2
    drawn = body_overlay(replace(body, points=hidden))
    assert drawn.points is not None and drawn.points.shape[0] == len(body.times_s)
    at = [pair for pair in drawn.lines if np.isfinite(drawn.points[0, list(pair)]).all()]
    assert 0 < len(at) < len(drawn.lines)
    assert np.nanmax(drawn.points) <= 1.5 and np.isnan(drawn.points).any()
    shoulder = body.points[0, LEFT_SHOULDER, :2] / 256
    assert (np.abs(drawn.points[0] - shoulder).sum(axis=1) < 1e-6).any()
    assert len(face_overlay(stored("face")).lines) > 100


def test_accents_are_drawn_where_a_nod_ends():
    clip = RenderedPerson(make_script("nods", 7_000_102, 6.0))
    drawn = body_overlay(true_landmarks(clip, noise=0.005))
    beats_s = clip.script.beats_s[(clip.script.beats_s > 0.5) & (clip.script.beats_s < 5.5)]
    assert len(beats_s) > 3 and max(np.abs(drawn.events_s - beat).min() for beat in beats_s) < 0.07
    assert drawn.beats_s is None


def test_half_of_the_rendered_people_beat_and_the_others_do_not():
    for kind in BEATING:
        assert len(make_script(kind, 7_000_000, 10.0).beats_s) >= 9
    for kind in NOT_BEATING:
        assert not len(make_script(kind, 7_000_000, 10.0).beats_s)
    clips = [RenderedPerson(make_script(kind, 7_000_000, 4.0)) for kind in ("pointing", "reaching", "stillness")]
    assert len({clip.content_hash for clip in clips}) == 3
