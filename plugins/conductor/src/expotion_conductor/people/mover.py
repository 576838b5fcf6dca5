"""Somebody who moves: where every joint is and what the face shows, as pure functions of time.

World lengths are sides of the picture at zoom 1; 0 and 1 name the picture's left and right, so that 1 is the
person's own left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from expotion_conductor import gesture
from expotion_conductor.figure import Actor, TrailingMean
from expotion_conductor.people.expression import LAG_S, Expression, express
from expotion_conductor.people.habits import Habits
from expotion_conductor.people.looks import SHOULDER_HALF, Looks
from expotion_conductor.people.marks import Marks, marks_of
from expotion_conductor.people.parts import PARTS, Moment, Moves, gesturing
from expotion_conductor.people.shot import Shot
from expotion_conductor.people.wander import Gestures, draw_gestures, drift, eased

Floats = NDArray[np.float64]

AHEAD_S = 4.0
"""What happens this long after the clip's end is known already: the next mark shapes the movement towards it."""
_CHANGE_S = 0.6
_COLLAR_Y, _DRAWN_SHOULDER_Y, _DRAWN_TRUNK = 0.48, 0.515, 0.43
_BELOW_HIPS = 0.35
"""The conductor's trunk is drawn down to the picture's edge; a jacket ends sooner."""


@dataclass(frozen=True)
class Who:
    """All that one person's picture is made of. `grid_s`: the beats that they hear, beyond both ends of the clip.

    `arousal` and `valence` [k] are what they feel at `times_s` [k]; `zoom` and `offset` come on top of the shot's.
    """

    seed: int
    looks: Looks
    habits: Habits
    shot: Shot
    grid_s: Floats
    beats_per_bar: int
    first_bar: int
    rests_s: tuple[tuple[float, float], ...]
    times_s: Floats
    arousal: Floats
    valence: Floats
    zoom: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Body:
    """A pose at n times: places [n, 2] in world units, by the picture's side; angles [n]; `curl` [n, 5]."""

    shoulder: tuple[Floats, Floats]
    elbow: tuple[Floats, Floats]
    wrist: tuple[Floats, Floats]
    hand_angle: tuple[Floats, Floats]
    curl: tuple[Floats, Floats]
    hip: tuple[Floats, Floats]
    shift: Floats
    drop: Floats
    lean: Floats
    lift: tuple[Floats, Floats]
    head: Floats
    head_angle: Floats
    pitch: Floats
    yaw: Floats
    face: Expression


class Mover(Actor):
    """One of the people. Equal times give equal poses, whatever else is asked for."""

    def __init__(self, who: Who, size_px: int) -> None:
        self.who, self.size_px = who, size_px
        self.person, self.limbs = who.looks.person, who.looks.limbs
        self.camera = replace(who.looks.camera, zoom=who.shot.zoom * who.zoom)
        self.marks: Marks = marks_of(
            who.habits, who.grid_s, who.beats_per_bar, who.first_bar, who.rests_s, who.seed
        )
        self._arousal = TrailingMean(who.times_s, who.arousal, 2 * LAG_S)
        self._valence = TrailingMean(who.times_s, who.valence, 2 * LAG_S)
        self._lap = tuple((0.85 + 0.4 * (k % 7) / 7, 2.25 + 0.5 * (k % 11) / 11) for k in (who.seed, who.seed // 7))
        self.gestures: tuple[Gestures, Gestures] | None = None
        if who.habits.role == "free":
            end_s, pointing = float(who.times_s[-1]) + AHEAD_S, self._points
            first, second = (
                draw_gestures(who.seed, side, end_s, pointing=pointing, rest=self._lap[side]) for side in (0, 1)
            )
            self.gestures = (first, second)

    @property
    def _points(self) -> bool:
        return self.who.habits.segments[0] == ("point",)

    def _moves(self, times_s: Floats) -> Moves:
        who, habits = self.who, self.who.habits
        arousal = self._arousal(times_s)
        size = habits.size * (1.0 - habits.arousal + habits.arousal * arousal)
        bars = np.interp(times_s, who.grid_s, np.arange(len(who.grid_s))) / who.beats_per_bar
        moves = Moves(len(times_s))
        now = Moment(times_s, self.marks, size, habits, who.beats_per_bar, bars, who.seed)
        for parts, weight in zip(habits.segments, self._weights(times_s), strict=True):
            for number, part in enumerate(parts):
                PARTS[part](moves, now, weight if number == 0 else 0.7 * weight)
        if self.gestures:
            gesturing(moves, times_s, self.gestures, self._points)
        seed, still = who.seed, 0.6 + 0.8 * habits.size
        moves.lean += 0.018 * still * drift(times_s, 0.07, seed, 61)
        moves.shift += 0.008 * still * drift(times_s, 0.06, seed, 62)
        moves.drop += 0.0025 * np.sin(2 * np.pi * 0.27 * times_s + seed % 6)
        moves.yaw += 0.45 * drift(times_s, 0.09, seed, 63)
        moves.roll += 0.05 * drift(times_s, 0.1, seed, 64)
        return moves

    def _weights(self, times_s: Floats) -> list[Floats]:
        """How far each segment is on [n]: they take turns, and cross over within `_CHANGE_S`."""
        who, count = self.who, len(self.who.habits.segments)
        bounds_s = who.grid_s[:: who.habits.segment_bars * who.beats_per_bar]
        if count == 1 or len(bounds_s) < 2:
            return [np.ones(len(times_s))] + [np.zeros(len(times_s)) for _ in range(count - 1)]
        steps = eased((times_s[:, None] - bounds_s[1:]) / _CHANGE_S + 0.5)
        begun = np.concatenate([np.ones((len(times_s), 1)), steps], axis=1)
        on = begun - np.concatenate([steps, np.zeros((len(times_s), 1))], axis=1)
        return [on[:, k::count].sum(axis=1) for k in range(count)]

    def trunk_points(self, pose: Body | Moves, local: Floats) -> Floats:
        """Points of the trunk [k, 2], as drawn about x = 0 for average shoulders, in the world [n, k, 2]."""
        limbs = self.limbs
        x, y = local[:, 0], local[:, 1]
        low = np.clip((y - _DRAWN_SHOULDER_Y) / _DRAWN_TRUNK, 0.0, None)
        low = np.where(low > 1.0, 1.0 + _BELOW_HIPS * (low - 1.0), low)
        stout = 1.0 + 0.35 * (limbs.stout - 1.0)
        wide = limbs.shoulder_half / SHOULDER_HALF
        # The collar keeps its size, the shoulders have theirs, and the waist is as stout as the person.
        edge = np.clip((y - _COLLAR_Y) / 0.05, 0.0, 1.0)
        across = x * (1.0 - edge + edge * wide * (1.0 - np.minimum(low, 1.0) + np.minimum(low, 1.0) * stout))
        down = np.minimum(y - _DRAWN_SHOULDER_Y, 0.0) + low * limbs.trunk
        reach = np.clip(np.abs(across) / limbs.shoulder_half, 0.0, 1.2) ** 1.5 * np.clip(1.0 - 2.5 * low, 0.0, 1.0)
        lift = np.where(x < 0, pose.lift[0][:, None], pose.lift[1][:, None]) * reach
        down = down - lift
        cos, sin = np.cos(pose.lean)[:, None], np.sin(pose.lean)[:, None]
        above = limbs.trunk - down  # of the hips, about which the trunk leans
        return np.stack(
            [
                0.5 + pose.shift[:, None] + cos * across + sin * above,
                limbs.shoulder_y + limbs.trunk + pose.drop[:, None] + sin * across - cos * above,
            ],
            axis=-1,
        )

    def pose(self, times_s: Floats) -> Body:
        """The body at `times_s` [n]."""
        times_s = np.asarray(times_s, dtype=np.float64)
        limbs, person, who = self.limbs, self.person, self.who
        moves = self._moves(times_s)
        face = express(times_s, self._arousal(times_s), self._valence(times_s), float(who.times_s[-1]), who.seed)
        head_y = _DRAWN_SHOULDER_Y - 0.03 - limbs.neck - 1.3 * person.face_length * person.face_half_width
        drawn = np.array([[-0.168, 0.53], [0.168, 0.53], [-0.1, _DRAWN_SHOULDER_Y + _DRAWN_TRUNK],
                          [0.1, _DRAWN_SHOULDER_Y + _DRAWN_TRUNK], [0.0, head_y]])  # fmt: skip
        left, right, hip_0, hip_1, head = np.moveaxis(self.trunk_points(moves, drawn), 1, 0)
        unit = person.face_half_width
        # Who is glad or stirred holds the head up.
        held = 0.22 * (self._valence(times_s) - 0.5) + 0.1 * self._arousal(times_s)
        head = head + np.stack([-0.5 * unit * moves.roll, 0.46 * unit * moves.nod - 0.3 * unit * held], axis=1)
        pitch = 0.9 * moves.nod - 0.8 * held + 0.12 * drift(times_s, 0.12, who.seed, 65)
        elbows, wrists, angles = [], [], []
        for side, shoulder in ((0, left), (1, right)):
            elbow, wrist, angle = self._arm(side, shoulder, moves, times_s)
            elbows.append(elbow)
            wrists.append(wrist)
            angles.append(angle)
        return Body(
            shoulder=(left, right),
            elbow=(elbows[0], elbows[1]),
            wrist=(wrists[0], wrists[1]),
            hand_angle=(angles[0], angles[1]),
            curl=moves.curl,
            hip=(hip_0, hip_1),
            shift=moves.shift,
            drop=moves.drop,
            lean=moves.lean,
            lift=moves.lift,
            head=head,
            head_angle=1.3 * moves.lean + moves.roll,
            pitch=pitch,
            yaw=moves.yaw,
            face=face,
        )

    def _arm(self, side: int, shoulder: Floats, moves: Moves, times_s: Floats) -> tuple[Floats, Floats, Floats]:
        """Elbow, wrist and the hand's angle: a place that the parts want, else the lap, within the arm's reach."""
        limbs, seed = self.limbs, self.who.seed
        sign = -1.0 if side == 0 else 1.0
        weight = moves.weights[side]
        total = np.maximum(weight, 1.0)[:, None]
        place = (moves.hands[side] + (total - weight[:, None]) * np.array(self._lap[side])) / total
        place = place + 0.03 * np.stack(
            [drift(times_s, 0.12, seed, 66, side), drift(times_s, 0.1, seed, 67, side)], axis=1
        )
        middle = np.stack([0.5 + 0.6 * moves.shift, limbs.shoulder_y + 0.6 * moves.drop], axis=1)
        wanted = middle + limbs.shoulder_half * place * np.array([sign, 1.0])
        # The nearer a hand is to the middle of the body, the further it is in front of it.
        depth = limbs.shoulder_half * np.clip(1.3 - 0.45 * place[:, 0], 0.1, 1.2)
        space = np.concatenate([wanted, depth[:, None]], axis=1)
        root = np.concatenate([shoulder, np.zeros((len(shoulder), 1))], axis=1)
        pole = np.array([sign * 0.35, 0.9, -0.15])
        elbow, wrist = gesture.two_bone(root, space, pole, limbs.upper_arm, limbs.forearm)
        fore = wrist - elbow
        bend = 0.25 * drift(times_s, 0.25, seed, 68, side)
        return elbow[:, :2], wrist[:, :2], np.arctan2(fore[:, 1], fore[:, 0]) + bend

    def camera_matrices(self, times_s: Floats) -> Floats:
        """World to pixels: [n, 2, 3], with framing, roll, drift and shake."""
        who = self.who
        x, y = who.shot.offset[0] + who.offset[0], who.shot.offset[1] + who.offset[1]
        return self.size_px * who.shot.matrices(np.asarray(times_s, dtype=np.float64), self.camera.zoom, (x, y))

    def marked_s(self) -> tuple[Floats, Floats]:
        """Movement events of all times that are known, in seconds, and how strong they are: 0..about 2.

        They are where downward movement is meant to be stopped: on marks, and where single gestures land.
        """
        habits = self.who.habits
        if self.gestures:
            found = [each.landings() for each in self.gestures]
            times_s, fall = (np.concatenate([one[i] for one in found]) for i in (0, 1))
            order = np.argsort(times_s)
            return times_s[order], 0.5 * fall[order]
        if habits.role == "still":
            return np.zeros(0), np.zeros(0)
        strength = self.marks.strength * habits.size
        size = 1.0 - habits.arousal + habits.arousal * self._arousal(self.marks.times_s)
        moved = strength > 0
        return self.marks.times_s[moved], (strength * size)[moved]
