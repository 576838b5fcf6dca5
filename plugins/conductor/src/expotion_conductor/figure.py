"""The moving body: where every joint is and what the face does, as pure functions of time.

Everything here is exact and independent of frames, so any frame rate sees the same motion. World lengths are
frame sides, x to the picture's right, y down, z towards the viewer; `Camera` turns them into pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from expotion_conductor import gesture
from expotion_conductor.person import Camera, Person, make_camera, make_person
from expotion_conductor.plan import Plan

Floats = NDArray[np.float64]

FACE_LAG_S = 0.04
"""Mean delay of the face behind the intensity: the mean over the last 80 ms (bound of the world: 50 ms)."""

HEAD_Y = 0.262
SHOULDER_Y = 0.515
SHOULDER_HALF = 0.172
UPPER_ARM = 0.215
FOREARM = 0.225
WRIST_X = 0.285
WRIST_Y = 0.63
WRIST_Z = 0.12
REACH = 0.168

JOINTS = (
    "head", "nose", "left_eye", "right_eye", "neck",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_shoulder", "right_elbow", "right_wrist", "baton_tip",
)  # fmt: skip
"""Names of `Figure.joints`: left and right are the conductor's own, so right is on the picture's left."""


@dataclass(frozen=True)
class Pose:
    """The body at n times, in world units [n, 2], angles and expression [n].

    `shoulder`, `elbow`, `wrist` are keyed by the picture's side: 0 left, 1 right. `head` is the face's
    centre; `head_angle` its roll; `pitch` (nod) and `yaw` shift the features on the head.
    `brow`, `eye`, `mouth`, `smile` are 0..1 (eye: lid opening).
    """

    shoulder: tuple[Floats, Floats]
    elbow: tuple[Floats, Floats]
    wrist: tuple[Floats, Floats]
    hand_angle: tuple[Floats, Floats]
    baton_angle: Floats
    body_x: Floats
    body_y: Floats
    head: Floats
    head_angle: Floats
    pitch: Floats
    yaw: Floats
    brow: Floats
    eye: Floats
    mouth: Floats
    smile: Floats
    gaze: Floats


class TrailingMean:
    """The mean of a curve over the last `span_s` seconds, linear between `times_s` [k] and held beyond."""

    def __init__(self, times_s: Floats, values: Floats, span_s: float) -> None:
        steps = np.concatenate([[0.0], np.diff(times_s)])
        middles = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])
        self._times_s, self._values, self._span_s = times_s, values, span_s
        self._sum = np.cumsum(middles * steps)

    def __call__(self, at_s: Floats) -> Floats:
        """The mean up to each time [n]."""
        return np.asarray((self._integral(at_s) - self._integral(at_s - self._span_s)) / self._span_s)

    def _integral(self, at_s: Floats) -> Floats:
        grid_s = self._times_s
        inside = np.interp(at_s, grid_s, self._sum)
        early = np.minimum(at_s, 0.0) * self._values[0]
        late = np.maximum(at_s - grid_s[-1], 0.0) * self._values[-1]
        return np.asarray(inside + early + late)


class Headed(Protocol):
    """What a pose of anybody has: the face's centre in world units [n, 2] and its roll [n]."""

    @property
    def head(self) -> Floats:
        """The face's centre."""
        ...

    @property
    def head_angle(self) -> Floats:
        """Its roll."""
        ...


class Actor(ABC):
    """Somebody before a camera, as the painter needs them; lengths are world units.

    `Pose` is whatever `pose` gives; the painter hands it back.
    """

    person: Person
    camera: Camera
    size_px: int

    @abstractmethod
    def pose(self, times_s: Floats) -> Any:
        """The body at `times_s` [n]."""

    @abstractmethod
    def trunk_points(self, pose: Any, local: Floats) -> Floats:
        """Points of the trunk [k, 2], as drawn upright about x = 0, in the world [n, k, 2]."""

    @abstractmethod
    def camera_matrices(self, times_s: Floats) -> Floats:
        """World to pixels: [n, 2, 3]."""

    def to_pixels(self, points: Floats, matrices: Floats) -> Floats:
        """World points [n, k, 2] through camera matrices [n, 2, 3] to pixels [n, k, 2]."""
        x, y = points[..., 0], points[..., 1]
        m = matrices[:, :, :, None]
        return np.stack(
            [m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2], m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]], axis=-1
        )

    def head_points(self, pose: Headed, local: Floats) -> Floats:
        """Head points [k, 2] or [n, k, 2] in half face widths (x right, y down) to world [n, k, 2]."""
        unit = self.person.face_half_width
        cos, sin = np.cos(pose.head_angle)[:, None] * unit, np.sin(pose.head_angle)[:, None] * unit
        x, y = local[..., 0], local[..., 1]
        return np.stack([pose.head[:, :1] + cos * x - sin * y, pose.head[:, 1:] + sin * x + cos * y], axis=-1)


class Figure(Actor):
    """The conductor of a plan.

    `size_px` is the side of the square picture. All methods take times in seconds [n], any order, and are
    pure: equal times give equal results whatever else is asked for.
    """

    def __init__(self, plan: Plan, size_px: int = 192) -> None:
        self.plan = plan
        self.size_px = size_px
        self.person = make_person(plan.person_seed)
        self.camera = make_camera(plan.person_seed)
        self.baton_side = 1 if self.person.left_handed else 0
        """The picture's side that holds the baton: 0 left (a right-handed conductor), 1 right."""
        self._grid_s, self._places = gesture.beat_grid(
            plan.beats_s, plan.beat_in_bar, plan.beats_per_bar, plan.duration_s, plan.periods_s
        )
        self._felt = TrailingMean(plan.intensity_times_s, plan.intensity, 2 * FACE_LAG_S)
        rng = np.random.default_rng([plan.person_seed, 3])
        self._blinks_s = np.cumsum(rng.uniform(1.6, 4.5, int(plan.duration_s / 1.6) + 2))
        self._phases = rng.uniform(0, 2 * np.pi, 6)

    @property
    def baton_wrist(self) -> str:
        """Name of the joint that beats time: 'right_wrist' or 'left_wrist'."""
        return ("right_wrist", "left_wrist")[self.baton_side]

    def felt_intensity(self, times_s: Floats) -> Floats:
        """Intensity that the body shows [n]: the plan's, averaged over the last 2 * FACE_LAG_S seconds."""
        return self._felt(times_s)

    def _wrists(self, times_s: Floats, felt: Floats) -> tuple[Floats, Floats]:
        """Wanted wrists in space [n, 3], by the picture's side, before the arms' reach is applied."""
        person, plan = self.person, self.plan
        tempo = float(np.clip((plan.beat_period_s / 0.5) ** 0.3, 0.8, 1.1))
        size = REACH * person.reach * tempo * (0.6 + 0.4 * felt)
        beating_s = np.minimum(times_s, plan.rests_from_s)
        across, up = gesture.hand_path(beating_s, self._grid_s, self._places, plan.beats_per_bar)
        hands = []
        for beating in (True, False):
            share = 1.0 if beating else person.mirror
            raised = (0.045 if beating else 0.045 + 0.10 * (1 - person.mirror)) * felt
            x = WRIST_X + size * share * across
            y = WRIST_Y - size * share * up - raised + (0.0 if beating else 0.03 * (1 - person.mirror))
            if not beating:
                y = y + 0.008 * np.sin(1.3 * times_s + self._phases[0])
            hands.append((x, y))
        result = []
        for side in (0, 1):
            x, y = hands[0 if side == self.baton_side else 1]
            sign = -1.0 if side == 0 else 1.0
            depth = np.full_like(x, WRIST_Z)
            result.append(np.stack([0.5 + sign * x, y, depth], axis=1))
        return result[0], result[1]

    def pose(self, times_s: Floats) -> Pose:
        """The body at `times_s` [n]."""
        times_s = np.asarray(times_s, dtype=np.float64)
        person = self.person
        felt = self.felt_intensity(times_s)
        dip = gesture.nod(np.minimum(times_s, self.plan.rests_from_s), self._grid_s, self._places)
        body_x = 0.006 * person.sway * np.sin(0.9 * times_s + self._phases[1])
        body_y = 0.003 * np.sin(1.7 * times_s + self._phases[2]) - 0.006 * felt
        shoulders, elbows, wrists, hand_angles = [], [], [], []
        for side, wanted in enumerate(self._wrists(times_s, felt)):
            sign = -1.0 if side == 0 else 1.0
            lift = 0.10 * np.maximum(0.60 - wanted[:, 1], 0.0)
            shoulder = np.stack(
                [0.5 + sign * SHOULDER_HALF * person.build + body_x, SHOULDER_Y + body_y - lift, 0 * body_x], axis=1
            )
            pole = np.array([sign * 0.28, 0.95, -0.15])
            elbow, wrist = gesture.two_bone(shoulder, wanted, pole, UPPER_ARM, FOREARM)
            fore = wrist - elbow
            hand_angle = np.arctan2(fore[:, 1] - 0.10, fore[:, 0] - 0.35 * sign * 0.1)
            shoulders.append(shoulder[:, :2])
            elbows.append(elbow[:, :2])
            wrists.append(wrist[:, :2])
            hand_angles.append(hand_angle)
        head_angle = 0.035 * person.sway * np.sin(1.1 * times_s + self._phases[3]) + self.camera.roll * 0.3
        yaw = 0.5 * np.sin(0.7 * times_s + self._phases[4]) * person.sway
        head = np.stack([0.5 + 1.6 * body_x, HEAD_Y + body_y + (0.004 + 0.006 * felt) * dip], axis=1)
        blink = np.zeros_like(times_s)
        for blink_s in self._blinks_s:
            blink = np.maximum(blink, 1.0 - np.abs(times_s - blink_s) / 0.09)
        # The wrist flicks: the baton follows the hand's own motion a moment late.
        late = self._wrists(times_s - person.wrist_lag_s, felt)[self.baton_side][:, :2]
        flick = np.clip((wrists[self.baton_side] - late)[:, 1] / person.wrist_lag_s, -1.5, 1.5)
        sign = -1.0 if self.baton_side == 0 else 1.0
        baton_angle = -np.pi / 2 + sign * (0.35 + 0.30 * flick)
        return Pose(
            shoulder=(shoulders[0], shoulders[1]),
            elbow=(elbows[0], elbows[1]),
            wrist=(wrists[0], wrists[1]),
            hand_angle=(hand_angles[0], hand_angles[1]),
            baton_angle=baton_angle,
            body_x=body_x,
            body_y=body_y,
            head=head,
            head_angle=head_angle,
            pitch=0.5 * dip,
            yaw=yaw,
            brow=felt,
            eye=np.clip((0.42 + 0.58 * felt) * (1.0 - np.clip(blink, 0.0, 1.0)), 0.0, 1.0),
            mouth=felt,
            smile=np.clip(0.3 + 0.5 * felt + 10 * person.smile * (1 - felt), 0.0, 1.0),
            gaze=0.5 * np.sin(0.5 * times_s + self._phases[5]),
        )

    def trunk_points(self, pose: Pose, local: Floats) -> Floats:
        """Points of the trunk [k, 2], as drawn upright about x = 0, in the world [n, k, 2]."""
        moving = np.stack([pose.body_x, pose.body_y], axis=1)[:, None, :]
        return np.asarray(local + np.array([0.5, 0.0]) + moving)

    def camera_matrices(self, times_s: Floats) -> Floats:
        """World to pixels: [n, 2, 3], with framing, roll and handheld drift."""
        times_s = np.asarray(times_s, dtype=np.float64)
        camera, size_px = self.camera, self.size_px
        p = camera.phases
        drift_x = camera.drift * (0.007 * np.sin(0.83 * times_s + p[0]) + 0.003 * np.sin(2.9 * times_s + p[1]))
        drift_y = camera.drift * (0.006 * np.sin(0.67 * times_s + p[2]) + 0.003 * np.sin(3.3 * times_s + p[3]))
        angle = camera.roll + camera.drift * 0.006 * np.sin(0.51 * times_s + p[4])
        scale = size_px * camera.zoom
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        shift_x = size_px * (0.5 + camera.offset[0] + drift_x) - cos * 0.5 + sin * 0.45
        shift_y = size_px * (0.45 + camera.offset[1] + drift_y) - sin * 0.5 - cos * 0.45
        return np.stack([np.stack([cos, -sin, shift_x], axis=1), np.stack([sin, cos, shift_y], axis=1)], axis=1)

    def baton_tip(self, pose: Pose) -> Floats:
        """Tip of the baton in world units [n, 2]."""
        grip = pose.wrist[self.baton_side] + 0.03 * _unit(pose.hand_angle[self.baton_side])
        return np.asarray(grip + self.person.baton_length * _unit(pose.baton_angle))

    def joints(self, times_s: Floats) -> dict[str, Floats]:
        """True places of every joint in pixels of the frame: name -> float64 [n, 2] as (x, y).

        Names as in `JOINTS`; left and right are the conductor's own. `baton_wrist` names the beating hand.
        Pixel centres lie at whole numbers; points may lie outside the frame.
        """
        pose = self.pose(times_s)
        face = self.head_points(pose, _features(self.person.eye_gap))
        shift = np.stack([0.10 * pose.yaw, 0.10 * pose.pitch], axis=1)[:, None, :] * self.person.face_half_width
        face[:, 1:] += shift
        neck = (pose.shoulder[0] + pose.shoulder[1]) / 2 - np.array([0.0, 0.02])
        world = np.stack(
            [
                face[:, 0], face[:, 1], face[:, 2], face[:, 3], neck,
                pose.shoulder[1], pose.elbow[1], pose.wrist[1],
                pose.shoulder[0], pose.elbow[0], pose.wrist[0], self.baton_tip(pose),
            ],
            axis=1,
        )  # fmt: skip
        pixels = self.to_pixels(world, self.camera_matrices(times_s))
        return {name: pixels[:, index] for index, name in enumerate(JOINTS)}

    def face_boxes(self, times_s: Floats) -> Floats:
        """True face box in pixels [n, 4] as (x, y, width, height): a square from the forehead to the chin."""
        pose = self.pose(times_s)
        centre = self.head_points(pose, np.array([[0.0, 0.2]]))
        pixels = self.to_pixels(centre, self.camera_matrices(times_s))[:, 0]
        side = 2.75 * self.person.face_half_width * self.size_px * self.camera.zoom
        return np.concatenate([pixels - side / 2, np.full((len(pixels), 2), side)], axis=1)


def _unit(angle: Floats) -> Floats:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _features(eye_gap: float) -> Floats:
    """Head centre, nose tip, the conductor's left and right eye in head units."""
    return np.array([[0.0, 0.0], [0.0, 0.36], [eye_gap, -0.06], [-eye_gap, -0.06]])
