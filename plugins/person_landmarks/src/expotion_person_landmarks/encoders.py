"""The encoders `person_pose`, `person_face` and `movement_beat`: one person's landmarks as features."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.beats import Followed
from expotion.contracts import Clip, Encoder, EncoderSpec, Following, Overlay, TimedFeatures, Video, pulled_weights
from expotion.errors import MediaError, Problem
from expotion_person_landmarks import MODELS, WEIGHTS, BeatOptions, PersonOptions, face, pose
from expotion_person_landmarks.beat import (
    beat_features,
    beat_rows,
    causal_movement_beat,
    movement_beat,
    said_at,
    told_beat,
)
from expotion_person_landmarks.events import Movement
from expotion_person_landmarks.face_features import face_features, tells_expression
from expotion_person_landmarks.flow import SIDE_PX, flow_movement
from expotion_person_landmarks.follow import Part, landmarks_of, shorter_side
from expotion_person_landmarks.landmarks import Landmarks
from expotion_person_landmarks.measure import movement_of
from expotion_person_landmarks.models import PULL, model_file
from expotion_person_landmarks.overlay import body_overlay, face_overlay
from expotion_person_landmarks.pose_features import pose_features

log = logging.getLogger("expotion")

Features = Callable[[Landmarks, NDArray[np.float64]], tuple[NDArray[np.float32], NDArray[np.bool_]]]


def tells_nothing(_found: Landmarks) -> Mapping[str, float]:
    """What a body says for others: `movement_beat` says it."""
    return {}


class PersonEncoder(Encoder):
    """A row of features at (i + 1/2) / rate_hz; invalid where the person is not seen."""

    part: Part
    files: Sequence[str]
    features: Features
    drawn: Callable[[Landmarks], Overlay]
    tells: Callable[[Landmarks], Mapping[str, float]]

    def __init__(self, spec: EncoderSpec, options: PersonOptions) -> None:
        self.spec = spec
        self.options: PersonOptions = options
        for name in self.files:
            model_file(name)

    @property
    def weights_hash(self) -> str:
        """SHA-256 over those of the networks' files."""
        return hashlib.sha256("".join(MODELS[name] for name in self.files).encode()).hexdigest()

    def extract(self, clip: Clip) -> TimedFeatures:
        """Landmarks of the frames, made smooth, as features. Raises MediaError for a clip without pictures."""
        self._needs_picture(clip)
        at_s = row_times_s(clip.duration_s, self.options.rate_hz)
        found = landmarks_of(clip, self.part, self.options.person)
        values, valid = type(self).features(found, at_s)
        return TimedFeatures(values, at_s, valid)

    def following(self, shared: dict[str, Any]) -> Following | None:
        """The same from frames that come."""
        from expotion_person_landmarks.live import LivePerson, Watched  # noqa: PLC0415 - live sessions only

        watched = Watched.of(shared, self.part, self.options.person)
        return LivePerson(watched, type(self).features, type(self).tells)

    def _needs_picture(self, clip: Clip) -> None:
        if clip.video is None or not len(clip.video.frame_times_s):
            where, fix = str(clip.path or clip.id), f"give a video, or leave {self.spec.name} out of the recipe"
            raise MediaError(Problem(where, f"a picture for {self.spec.name}", "none", fix))

    def overlay(self, clip: Clip) -> Overlay | None:
        """The landmarks that were found."""
        if clip.video is None:
            return None
        return type(self).drawn(landmarks_of(clip, self.part, self.options.person))

    def frame_sizes(self, video: Video) -> Sequence[int | None]:
        """The size in which people are looked for."""
        return (shorter_side(video),)


class PersonPose(PersonEncoder):
    """Rows [n, 42]: see `pose_features.CHANNELS`."""

    part = "pose"
    files = pose.FILES
    features = staticmethod(pose_features)
    drawn = staticmethod(body_overlay)
    tells = staticmethod(tells_nothing)


class PersonFace(PersonEncoder):
    """Rows [n, 20]: see `face_features.CHANNELS`."""

    part = "face"
    files = face.FILES
    features = staticmethod(face_features)
    drawn = staticmethod(face_overlay)
    tells = staticmethod(tells_expression)


class MovementBeat(PersonEncoder):
    """Rows [n, 5]: see `beat.CHANNELS`. With `true_beats` a beat, known or tracked, is given as a certain one.

    Accents then stand on the beats, and rows are valid where a beat is said: elsewhere the prompt goes on alone.

    Movement is the landmarks'; of models that were not pulled, and in a clip in which nobody's shoulders are seen,
    it is the whole picture's optical flow (`flow.py`), which is said.
    """

    part = "pose"
    files = pose.FILES

    def __init__(self, spec: EncoderSpec, options: BeatOptions) -> None:
        self.spec, self.options = spec, options
        self._causal, self._true_beats = options.causal, options.true_beats
        self._by_landmarks = pulled_weights(WEIGHTS.name) is not None
        for name in self.files if self._by_landmarks else ():
            model_file(name)

    @property
    def computed_in(self) -> str:
        """Whether this machine has no models: part of the features' key."""
        return "" if self._by_landmarks else "optical flow"

    def extract(self, clip: Clip) -> TimedFeatures:
        """Activation, phase, tempo and certainty. Raises MediaError for a clip without pictures or known beats."""
        at_s = row_times_s(clip.duration_s, self.options.rate_hz)
        if self._true_beats and clip.truth is not None and len(clip.truth.beats_s) > 1:
            values = beat_rows(told_beat(clip.truth.beats_s, clip.duration_s), at_s)
            return TimedFeatures(values, at_s, np.ones(len(at_s), bool))
        self._needs_picture(clip)
        moves, _ = self._movement(clip)
        values, valid = beat_features(moves, at_s, causal=self._causal)
        if self._true_beats:
            found = self._beat(moves)
            valid &= said_at(found, at_s, causal=self._causal)
            values = np.where(valid[:, None], beat_rows(found, at_s), np.float32(0.0))
        return TimedFeatures(values, at_s, valid)

    def overlay(self, clip: Clip) -> Overlay | None:
        """The skeleton, the movement's events, and its beats where a beat is said."""
        if clip.video is None:
            return None
        moves, by_landmarks = self._movement(clip)
        found = self._beat(moves)
        beats_s = found.beats_s[said_at(found, found.beats_s, causal=self._causal)]
        said = f"a beat, certainty of the whole {found.overall:.2f}" if len(beats_s) else "no beat"
        drawn, what = Overlay(""), "optical flow"
        if by_landmarks:
            drawn, what = body_overlay(landmarks_of(clip, "pose", self.options.person)), "the body's landmarks"
        return replace(
            drawn,
            note=f"{what}; downward movement that is stopped; {said}",
            events_s=moves.events_s,
            beats_s=beats_s,
        )

    def frame_sizes(self, video: Video) -> Sequence[int | None]:
        """The size in which people are looked for, or flow is."""
        return super().frame_sizes(video) if self._by_landmarks else (SIDE_PX,)

    def following(self, shared: dict[str, Any]) -> Following | None:
        """The same from frames that come; without the models short windows are looked at."""
        if not self._by_landmarks:
            return None
        from expotion_person_landmarks.live import LiveBeat, Watched  # noqa: PLC0415 - live sessions only

        return LiveBeat(Watched.of(shared, "pose", self.options.person), certain=self._true_beats)

    def _beat(self, moves: Movement) -> Followed:
        return causal_movement_beat(moves) if self._causal else movement_beat(moves)

    def _movement(self, clip: Clip) -> tuple[Movement, bool]:
        """The person's movement, or the picture's; and whether it is the person's."""
        why = f"the models {WEIGHTS.name} are not pulled ({PULL})"
        if self._by_landmarks:
            moves = movement_of(clip, self.options.person)
            if moves.known.any():
                return moves, True
            why = "nobody's shoulders are seen"
        log.warning("%s: %s: the beat is that of whatever moves in the picture", clip.path or clip.id, why)
        return flow_movement(clip), False


def row_times_s(duration_s: float, rate_hz: float) -> NDArray[np.float64]:
    """Times of the rows of a clip: the middles of its whole periods, at least one."""
    n = max(1, int(duration_s * rate_hz))
    return np.asarray((np.arange(n) + 0.5) / rate_hz)
