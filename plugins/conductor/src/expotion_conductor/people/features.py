"""Where the parts of a face and of a hand are: the same curves are drawn and told as landmarks.

Face in head units: half a face width is 1, the origin lies between the eyes' height and the nose, y goes down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.people.expression import Expression
from expotion_conductor.person import Person

Floats = NDArray[np.float64]

SIDES = (-1.0, 1.0)
"""Signs of x by the picture's side: 0 left, 1 right."""
FINGERS = ("thumb", "index", "middle", "ring", "little")
EYE_Y, EYE_HALF, MOUTH_Y = -0.08, 0.245, 0.80
_TURN = (0.16, 0.15)
"""How far the features move over the head with yaw and pitch."""
_LIDS = np.linspace(np.pi, 0.0, 9)
_ROOTS = np.array([(0.14, -0.15), (0.47, -0.17), (0.51, -0.06), (0.50, 0.06), (0.45, 0.17)])
_FANS = np.array([-0.85, -0.14, -0.03, 0.08, 0.2])
_LENGTHS = np.array([0.40, 0.44, 0.49, 0.45, 0.35])
PALM = np.array(
    [
        (-0.03, -0.12),
        (0.14, -0.2),
        (0.46, -0.23),
        (0.54, -0.05),
        (0.52, 0.12),
        (0.42, 0.22),
        (0.05, 0.16),
        (-0.03, 0.12),
    ]
)
"""Outline of the palm in lengths of the hand: along it, and across it towards the little finger."""


@dataclass(frozen=True)
class Face:
    """Curves of a face in head units, turned with the head; [n, k, 2], and pairs by the picture's side.

    `brow` is the upper edge from the inner end outwards; lids and `lips` run from the left to the right corner,
    lips as upper edge, upper and lower inside, lower edge.
    """

    brow: tuple[Floats, Floats]
    brow_thick: Floats
    lid_upper: tuple[Floats, Floats]
    lid_lower: tuple[Floats, Floats]
    iris: tuple[Floats, Floats]
    lips: tuple[Floats, Floats, Floats, Floats]
    turn: Floats
    """By how much everything has been moved, [n, 1, 2]."""


def join(x: Floats, y: Floats) -> Floats:
    """Coordinates that broadcast to points [n, k, 2]."""
    return np.stack(np.broadcast_arrays(x, y), axis=-1)


def face_of(person: Person, face: Expression, yaw: Floats, pitch: Floats) -> Face:
    """The curves of a face at n times."""
    turn = np.stack([_TURN[0] * yaw, _TURN[1] * pitch], axis=1)[:, None, :]
    sad, frown, up = face.brow_sad[:, None], face.brow_frown[:, None], face.brow_raise[:, None]
    glad = np.maximum(face.smile, 0.0)[:, None]
    eye = face.eye_open[:, None]
    along = np.linspace(0.0, 1.0, 5)
    inner = 1.0 - along
    brow_y = EYE_Y - 0.30 - 0.24 * up - 0.05 * np.sin(0.9 * np.pi * along) - 0.22 * sad * inner**1.4
    brow_y = brow_y + 0.2 * frown * inner**1.2 + 0.05 * frown + 0.05 * along
    arch = np.sin(_LIDS) ** 0.8
    uppers, lowers, brows, irises = [], [], [], []
    for sign in SIDES:
        x0 = sign * person.eye_gap
        brow_x = sign * (person.eye_gap - 0.25 + 0.55 * along - 0.08 * frown * inner)
        brows.append(join(brow_x, brow_y) + turn)
        x = x0 + EYE_HALF * np.cos(_LIDS)[None]
        uppers.append(join(x, EYE_Y - (0.006 + 0.2 * eye) * arch) + turn)
        lowers.append(join(x, EYE_Y + (0.004 + 0.085 * eye * (1 - 0.55 * glad)) * arch) + turn)
        iris_x = x0 + 0.08 * face.gaze + 0.05 * yaw
        irises.append(np.stack([iris_x, np.full(len(yaw), EYE_Y - 0.03)], axis=1)[:, None] + turn)
    open_ = face.mouth_open[:, None] ** 1.1
    side = np.linspace(-1.0, 1.0, 9)
    bow = (1.0 - side**2)[None]
    half = person.mouth_width * (1.0 - 0.2 * open_ + 0.2 * glad)
    smile = face.smile[:, None]
    middle = MOUTH_Y + 0.05 * smile - 0.17 * smile * (side**2)[None]
    top = middle - (0.015 + 0.05 * open_) * bow
    low = middle + 0.40 * open_ * np.sqrt(bow) + 0.004
    cupid = 1.0 - 0.25 * np.exp(-((side / 0.2) ** 2))
    x = half * side
    lips = [top - 0.075 * bow * cupid, top, low, low + 0.1 * bow]
    outer, upper, lower, under = (join(x, y) + turn for y in lips)
    return Face(
        brow=(brows[0], brows[1]),
        brow_thick=0.1 * person.brow_weight * (1.0 - 0.6 * along),
        lid_upper=(uppers[0], uppers[1]),
        lid_lower=(lowers[0], lowers[1]),
        iris=(irises[0], irises[1]),
        lips=(outer, upper, lower, under),
        turn=turn,
    )


def face_landmarks(person: Person, face: Face) -> dict[str, Floats]:
    """Landmarks of a face in head units [n, 2] by name; left and right are the person's own."""
    found: dict[str, Floats] = {}
    for side, name in enumerate(("right", "left")):
        brow, upper, lower = face.brow[side], face.lid_upper[side], face.lid_lower[side]
        outer, inner = (0, -1) if side == 0 else (-1, 0)
        found |= {
            f"{name}_brow_inner": brow[:, 0], f"{name}_brow_middle": brow[:, 2], f"{name}_brow_outer": brow[:, -1],
            f"{name}_lid_upper": upper[:, 4], f"{name}_lid_lower": lower[:, 4],
            f"{name}_eye_inner": upper[:, inner], f"{name}_eye_outer": upper[:, outer],
            f"{name}_eye": face.iris[side][:, 0],
            f"mouth_{name}": face.lips[1][:, 0 if side == 0 else -1],
            f"{name}_ear": np.repeat([[1.03 * SIDES[side], 0.1]], len(face.turn), axis=0),
        }  # fmt: skip
    long = person.face_length
    still = {"forehead": (0.0, -0.9 * long), "nose": (0.0, 0.36), "chin": (0.0, 1.36 * long)}
    found |= {name: np.asarray(place) + face.turn[:, 0] for name, place in still.items()}
    names = ("lip_top", "lip_upper_inner", "lip_lower_inner", "lip_bottom")
    return found | {name: curve[:, 4] for name, curve in zip(names, face.lips, strict=True)}


@dataclass(frozen=True)
class Hand:
    """A hand in the world at n times: `palm` [n, k, 2], `roots` and `tips` of the five fingers [n, 5, 2]."""

    palm: Floats
    roots: Floats
    tips: Floats


def hand_of(wrist: Floats, angle: Floats, curl: Floats, length: float, side: int) -> Hand:
    """The hand that begins at `wrist` [n, 2] and points along `angle` [n], the thumb inwards."""
    # Of hands that point down the thumbs are inside; the same hand lifted has its thumb inside, too.
    flip = SIDES[side] * np.where(np.sin(angle) > 0.3, -1.0, 1.0)
    cos, sin = np.cos(angle)[:, None] * length, np.sin(angle)[:, None] * length

    def placed(local: Floats) -> Floats:
        x, y = local[..., 0], local[..., 1] * flip[:, None]
        return wrist[:, None] + np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)

    reach = _LENGTHS * (1.0 - 0.7 * curl)
    tips = _ROOTS + np.stack([reach * np.cos(_FANS), reach * np.sin(_FANS)], axis=-1)
    return Hand(placed(PALM[None]), placed(_ROOTS[None]), placed(tips))
