"""All that is true of a clip of the people's world, in pixels and seconds, at the times of its frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Truth
from expotion_conductor.people.features import FINGERS, face_landmarks, face_of, hand_of
from expotion_conductor.people.mover import Mover
from expotion_conductor.plan import Plan

Floats = NDArray[np.float64]
NAMES = ("right", "left")
"""By the picture's side: the person's right is on its left."""


def landmarks(mover: Mover, times_s: Floats) -> tuple[dict[str, Floats], dict[str, NDArray[np.bool_]]]:
    """True places in pixels [n, 2] of body, hands and face by name, and whether they lie in the picture [n].

    What a hand or the other person covers counts as in the picture.
    """
    pose = mover.pose(times_s)
    world: dict[str, Floats] = {}
    features = face_landmarks(mover.person, face_of(mover.person, pose.face, pose.yaw, pose.pitch))
    on_head = mover.head_points(pose, np.stack(list(features.values()), axis=1))
    world |= {name: on_head[:, i] for i, name in enumerate(features)}
    world["head"] = pose.head
    world["neck"] = (pose.shoulder[0] + pose.shoulder[1]) / 2 - np.array([0.0, 0.03])
    for side, name in enumerate(NAMES):
        hand = hand_of(pose.wrist[side], pose.hand_angle[side], pose.curl[side], mover.limbs.hand, side)
        world |= {
            f"{name}_shoulder": pose.shoulder[side],
            f"{name}_elbow": pose.elbow[side],
            f"{name}_wrist": pose.wrist[side],
            f"{name}_hip": pose.hip[side],
            f"{name}_palm": hand.palm.mean(axis=1),
        }
        world |= {f"{name}_{finger}": hand.tips[:, i] for i, finger in enumerate(FINGERS)}
    pixels = mover.to_pixels(np.stack(list(world.values()), axis=1), mover.camera_matrices(times_s))
    inside = np.asarray(((pixels >= -0.5) & (pixels < mover.size_px - 0.5)).all(axis=-1))
    return (
        {name: pixels[:, i] for i, name in enumerate(world)},
        {name: inside[:, i] for i, name in enumerate(world)},
    )


def truth_of(plan: Plan, mover: Mover, frame_times_s: Floats) -> Truth:
    """The whole truth of a clip with these frames.

    `ictus_s` are the marks of who beats time; `events_s['movement']` those of everybody.
    """
    piece, people = plan.piece, plan.people
    assert piece is not None and people is not None
    habits = people.lead.habits
    places, seen = landmarks(mover, frame_times_s)
    moved_s, strength = mover.marked_s()
    inside = (moved_s >= frame_times_s[0]) & (moved_s < plan.duration_s)
    moved_s, strength = moved_s[inside], strength[inside]
    return Truth(
        beats_s=plan.beats_s,
        intensity_times_s=plan.intensity_times_s,
        intensity=plan.intensity,
        tempo_bpm=plan.tempo_bpm if piece.steady else None,
        ictus_s=moved_s if habits.beats else np.zeros(0),
        tempo_curve_bpm=piece.tempo_curve_bpm,
        valence=piece.valence,
        notes=piece.notes,
        landmarks=places,
        events_s={**piece.events_s, "movement": moved_s},
        landmark_times_s=frame_times_s,
        visible=seen,
        event_strengths={"movement": strength},
        framing=mover.camera_matrices(frame_times_s),
        expression=mover.pose(frame_times_s).face.named(),
        traits=plan.traits,
    )
