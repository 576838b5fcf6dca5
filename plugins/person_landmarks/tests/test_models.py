"""Files that are missing or cut; and, where the models were pulled, the networks on bad and good pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from rendered_people import RenderedPerson, make_script, true_landmarks

from expotion.contracts import Clip, pulled_weights
from expotion.errors import MediaError, WeightsError
from expotion.testing import check_encoder
from expotion_person_landmarks import FACE, MODELS, POSE, WEIGHTS, PersonOptions
from expotion_person_landmarks.follow import landmarks_of, remarks
from expotion_person_landmarks.landmarks import Landmarks, shoulder_width_px

pulled = [
    pytest.mark.slow,
    pytest.mark.skipif(
        pulled_weights(WEIGHTS.name) is None,
        reason="needs `expotion models pull mediapipe_person`; .ci/full people runs it",
    ),
]


@pytest.mark.parametrize("spec", [POSE, FACE])
def test_models_that_were_not_pulled_are_named_with_the_command(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"mediapipe_person.*not pulled; expotion models pull mediapipe_person"):
        spec.build(PersonOptions())


def test_a_truncated_model_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    folder = tmp_path / "models" / WEIGHTS.name
    folder.mkdir(parents=True)
    for name in MODELS:
        (folder / name).write_bytes(b"TFL3" * 10)
    note = {"file": str(folder / next(iter(MODELS)))}
    (folder / "model.json").write_text(json.dumps(note))
    with pytest.raises(WeightsError, match=r"pose_detection.tflite: .*40 bytes: truncated or another.*models pull"):
        POSE.build(PersonOptions())
    (folder / "face_detection_short_range.tflite").unlink()
    with pytest.raises(WeightsError, match=r"face_detection_short_range\.tflite: a pulled model, got no file"):
        FACE.build(PersonOptions())


def found(present: list[bool], n_people: list[int]) -> Landmarks:
    points = np.zeros((len(present), 33, 3), np.float32)
    points[present] = 1.0
    return Landmarks(np.arange(len(present)) / 25, points, (100, 100), np.array(n_people))


def test_what_is_said_of_a_picture():
    assert remarks(found([True] * 3, [1, -1, -1]), "pose", "largest") == []
    assert remarks(found([False] * 2, [0, 0]), "pose", "left") == ["no person is seen in the picture"]
    assert remarks(found([False] * 2, [0, 0]), "face", 2) == ["no face is seen in the picture"]
    two = found([True, True, False, False], [2, -1, 0, 0])
    several, gone = remarks(two, "pose", "largest")
    assert several.startswith("2 people are seen, the largest is followed") and gone.endswith("50% of the frames")
    assert "the one farthest left is" in remarks(two, "face", "left")[0]
    assert "number 2 from the left is" in remarks(two, "face", 2)[0]
    assert remarks(two, "pose", 3)[0] == "person: 3 was asked for, 2 people seen at a time"
    assert remarks(found([], []), "pose", "largest") == []


class Shown(Clip):
    """Pictures made by a function of the drawn person's frame."""

    def __init__(self, name: str, change, size: tuple[int, int] | None = None, seconds: float = 1.0) -> None:
        inner = RenderedPerson(make_script("conducting", 7_000_004, seconds))
        self.id, self.duration_s, self.tracks = name, seconds, {}
        self._hash, self._inner = f"{name} {inner.content_hash}", inner
        self._change = change
        self._size = size or inner.video.size
        self.decodable_until_s = float("inf")

    @property
    def content_hash(self) -> str:
        return self._hash

    @property
    def video(self):
        return self

    @property
    def frame_times_s(self) -> NDArray[np.float64]:
        return self._inner.video.frame_times_s

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def frames_at(self, times_s, *, shorter_side=None):
        frames = self._inner.video.frames_at(times_s)
        return np.stack([self._change(frame, time_s) for frame, time_s in zip(frames, times_s, strict=True)])

    def audio(self, sample_rate_hz: int) -> None:
        return None


def beside(frame, time_s):
    """The person, and at the right the same one half as large, mirrored."""
    small = frame[::2, ::2][:, ::-1]
    space = np.full((frame.shape[0], frame.shape[1] // 2, 3), 90, np.uint8)
    space[-small.shape[0] :] = small
    return np.concatenate([frame, space], axis=1)


class TestNetworks:
    pytestmark = pulled

    @pytest.mark.parametrize("spec", [POSE, FACE])
    def test_the_contract(self, spec):
        assert check_encoder(spec)

    def test_a_drawn_person_is_where_it_was_drawn(self):
        clip = RenderedPerson(make_script("conducting", 7_000_004, 2.0))
        body, true = landmarks_of(clip, "pose"), true_landmarks(clip)
        assert body.present.all() and body.seen(0, 11, 12).all()
        apart = np.linalg.norm(
            body.points[:, [0, 11, 12, 15, 16], :2] - true.points[:, [0, 11, 12, 15, 16], :2], axis=2
        )
        assert np.median(apart, axis=0).max() < 0.15 * shoulder_width_px(true)
        face = landmarks_of(clip, "face")
        assert face.present.all()
        eyes = clip.figure.joints(clip.video.frame_times_s)
        iris = np.linalg.norm(face.points[:, 473, :2] - eyes["left_eye"], axis=1)
        assert np.median(iris) < 0.1 * shoulder_width_px(true)

    @pytest.mark.parametrize("spec", [POSE, FACE])
    def test_nobody_in_the_picture_is_said_and_nothing_is_made_up(self, spec, caplog):
        nobody = Shown(f"nobody {spec.name}", lambda frame, time_s: np.full_like(frame, 120))
        track = spec.build(PersonOptions()).extract(nobody)
        assert not track.valid.any() and not track.values.any() and len(track.times_s) == 25
        assert "is seen in the picture" in caplog.text

    def test_sixteen_pixels_are_nobody(self):
        tiny = Shown("tiny", lambda frame, time_s: np.ascontiguousarray(frame[::16, ::16]), (16, 16))
        for spec in (POSE, FACE):
            track = spec.build(PersonOptions()).extract(tiny)
            assert np.isfinite(track.values).all() and not track.values[~track.valid].any()

    def test_two_people_are_told_apart_by_size_and_by_place(self, caplog):
        two = Shown("two", beside, (256, 384))
        by = {who: landmarks_of(two, "pose", who) for who in ("largest", "left", "right", 2, 3)}
        middle = {who: np.median(body.points[body.present, 0, 0]) for who, body in by.items() if body.present.any()}
        assert middle["largest"] == middle["left"] < 256 < middle["right"] == middle[2]
        assert not by[3].present.any()
        assert "2 people are seen, the largest is followed" in caplog.text
        assert "person: 3 was asked for" in caplog.text

    def test_a_person_who_leaves_is_not_valid_from_then_on(self):
        def leaves(frame, time_s):
            return frame if time_s < 0.5 else np.full_like(frame, 120)

        for spec in (POSE, FACE):
            track = spec.build(PersonOptions()).extract(Shown(f"leaves {spec.name}", leaves))
            assert track.valid[track.times_s < 0.5].all()
            assert not track.valid[track.times_s > 0.7].any() and 0.4 < track.coverage < 0.8

    def test_upside_down_and_only_hands_give_a_track_that_says_how_much_it_knows(self):
        for name, change in (
            ("upside down", lambda frame, time_s: np.ascontiguousarray(frame[::-1, ::-1])),
            (
                "hands",
                lambda frame, time_s: np.where(np.arange(256)[:, None, None] < 150, 110, frame).astype(np.uint8),
            ),
        ):
            for spec in (POSE, FACE):
                track = spec.build(PersonOptions()).extract(Shown(name, change))
                assert np.isfinite(track.values).all() and not track.values[~track.valid].any()

    def test_sound_alone_is_an_error_that_says_what_to_do(self):
        class Sound(Shown):
            video = None

        with pytest.raises(MediaError, match=r"a picture for person_pose.*leave person_pose out"):
            POSE.build(PersonOptions()).extract(Sound("sound", None))
