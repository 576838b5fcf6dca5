"""Shapes of the people's bodies as polygons over time: legs and trunk below the head, face and arms above it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from expotion_conductor import body, paint
from expotion_conductor.body import Stroke
from expotion_conductor.paint import Floats
from expotion_conductor.people.features import EYE_HALF, EYE_Y, SIDES, Face, face_of, hand_of
from expotion_conductor.people.mover import Body, Mover
from expotion_conductor.person import Colour

_LEGS_BELOW_ZOOM = 0.85
_THICK = (0.047, 0.037, 0.026)
"""Radii of an arm of average thickness: shoulder, elbow, wrist."""
_EDGE = 0.0055


def under_head(mover: Mover, pose: Body) -> list[Stroke]:
    """Legs, where they may be seen, trunk and neck."""
    return [*_legs(mover, pose), *body.torso(mover, pose)]


def over_head(mover: Mover, pose: Body) -> list[Stroke]:
    """The face's features and both arms; the hand that is drawn last is the leading one."""
    face = face_of(mover.person, pose.face, pose.yaw, pose.pitch)
    lead = mover.who.habits.side
    return [*_face(mover, pose, face), *_arm(mover, pose, 1 - lead), *_arm(mover, pose, lead)]


def _legs(mover: Mover, pose: Body) -> Iterator[Stroke]:
    if mover.camera.zoom > _LEGS_BELOW_ZOOM:
        return
    radius = 0.085 * mover.limbs.stout
    for side, sign in enumerate(SIDES):
        top = pose.hip[side] + np.array([0.0, 0.05])
        foot = np.broadcast_to(np.array([0.5 + 0.12 * sign, 2.0]), top.shape)
        yield Stroke(
            "convex",
            paint.capsule(top, foot, radius, 0.7 * radius),
            paint.shade(mover.limbs.legs, 0.8 + 0.2 * side),
        )


def _face(mover: Mover, pose: Body, face: Face) -> Iterator[Stroke]:
    person = mover.person

    def place(kind: body.Kind, points: Floats, colour: Colour, fade: tuple[Colour, Floats] | None = None) -> Stroke:
        return Stroke(kind, mover.head_points(pose, points), colour, fade)

    def between(one: Floats, other: Floats) -> Floats:
        return np.concatenate([one, other[:, ::-1]], axis=1)

    lash = paint.shade(person.hair if sum(person.hair) < 240 else (60, 44, 36), 0.6)
    brow = paint.mix(paint.shade(person.hair, 0.62), (40, 30, 26), 0.5)
    disc = paint.ellipse(0.0, 0.0, 1.0, 1.0, n=10)
    for side in (0, 1):
        upper, lower = face.lid_upper[side], face.lid_lower[side]
        yield place("fill", between(upper, lower), (232, 228, 222))
        for radius, colour in ((0.15, person.iris), (0.075, (14, 12, 12))):
            ring = face.iris[side] + radius * disc
            x = (ring[..., 0] - face.turn[..., 0] - SIDES[side] * person.eye_gap) / EYE_HALF
            bow = np.sqrt(np.clip(1.0 - x**2, 0.0, 1.0)) ** 0.8
            eye_y = EYE_Y + face.turn[..., 1]
            top = eye_y + (upper[:, 4, 1:] - eye_y) * bow
            low = eye_y + (lower[:, 4, 1:] - eye_y) * bow
            yield place("fill", np.stack([ring[..., 0], np.clip(ring[..., 1], top, low)], axis=-1), colour)
        yield place("fill", between(upper, upper - np.array([0.0, 0.06])), lash)
        thick = np.stack([np.zeros(5), face.brow_thick], axis=-1)
        yield place("fill", between(face.brow[side], face.brow[side] + thick), brow)
    outer, upper, lower, under = face.lips
    lips = paint.mix(paint.shade(person.skin, 0.74), (176, 58, 62), 0.38)
    line, dark = paint.shade(lips, 0.5), (52, 16, 20)
    parted = np.clip(5 * pose.face.mouth_open, 0.0, 1.0)
    yield place("fill", between(outer, under), lips)
    yield place("fill", between(upper, lower + np.array([0.0, 0.02])), line, (dark, parted))
    bite = np.clip(0.5 * (lower - upper)[..., 1:] - 0.02, 0.0, 0.11)
    shown = np.clip(20 * bite[:, 4, 0] - 0.2, 0.0, 1.0)
    yield place("fill", between(upper, upper + bite * np.array([0.0, 1.0])), line, ((238, 234, 226), shown))
    if person.glasses:
        for sign in SIDES:
            rim = paint.ellipse(sign * person.eye_gap, -0.04, 0.34, 0.29, n=14)
            yield place("ring", rim[None] + 0.5 * face.turn, (44, 40, 42))


def _arm(mover: Mover, pose: Body, side: int) -> Iterator[Stroke]:
    person, limbs, light = mover.person, mover.limbs, mover.camera.light_side
    shoulder, elbow, wrist = pose.shoulder[side], pose.elbow[side], pose.wrist[side]
    thick = [radius * limbs.stout**0.7 for radius in _THICK]
    lit = np.array([0.010 * light, -0.009])
    covered = 2.0 * limbs.sleeve - 1.0
    upper = person.clothes if limbs.sleeve > 0 else person.skin
    lower = person.clothes if covered >= 1.0 else person.skin
    pieces = [(shoulder, elbow, thick[0], thick[1], upper), (elbow, wrist, thick[1], thick[2], lower)]
    for start, end, root, tip, colour in pieces:
        begin = start + 0.45 * (end - start) if root == thick[0] else start  # no outline where the arm joins
        yield Stroke("convex", paint.capsule(begin, end, root + _EDGE, tip + _EDGE, 5), paint.shade(colour, 0.55))
    for start, end, root, tip, colour in pieces:
        yield Stroke("convex", paint.capsule(start, end, root, tip, 6), colour)
    if 0.0 < limbs.sleeve < 1.0:
        start, end, share = (shoulder, elbow, 2 * limbs.sleeve) if covered <= 0 else (elbow, wrist, covered)
        root, tip = (thick[0], thick[1]) if covered <= 0 else (thick[1], thick[2])
        if covered <= 0:
            yield Stroke("convex", paint.capsule(start + share * (end - start), end, tip, tip, 5), person.skin)
        else:
            yield Stroke(
                "convex", paint.capsule(start, start + share * (end - start), root + 0.004, tip + 0.006, 5), upper
            )
    for start, end, root, tip, colour in pieces:
        begin = start + 0.2 * (end - start)
        yield Stroke(
            "convex", paint.capsule(begin + lit, end + lit, 0.5 * root, 0.45 * tip, 4), paint.shade(colour, 1.07)
        )
    yield from _hand(mover, pose, side)


def _hand(mover: Mover, pose: Body, side: int) -> Iterator[Stroke]:
    """Palm and fingers, all of their dark edges first, so that fingers part from each other and from a face."""
    length, skin = mover.limbs.hand, mover.person.skin
    hand = hand_of(pose.wrist[side], pose.hand_angle[side], pose.curl[side], length, side)
    edge, line = paint.shade(skin, 0.6), paint.shade(skin, 0.72)
    middle = hand.palm.mean(axis=1, keepdims=True)
    for grow, colour in ((0.035 * length, edge), (0.0, skin)):
        away = hand.palm - middle
        size = np.maximum(np.hypot(away[..., 0], away[..., 1]), 1e-9)[..., None]
        yield Stroke("convex", hand.palm + grow * away / size, colour)
        for finger in range(5):
            root, tip = hand.roots[:, finger], hand.tips[:, finger]
            wide = (0.085 if finger == 0 else 0.07) * length + grow
            # Each finger's own edge is seen beside its neighbour.
            yield Stroke("convex", paint.capsule(root, tip, wide, 0.85 * wide, 4), colour if grow else skin)
    for finger in (2, 3, 4):
        between = 0.5 * (hand.roots[:, finger - 1 : finger] + hand.roots[:, finger : finger + 1])
        far = 0.5 * (hand.tips[:, finger - 1 : finger] + hand.tips[:, finger : finger + 1])
        yield Stroke("line", np.concatenate([between, between + 0.6 * (far - between)], axis=1), line)
