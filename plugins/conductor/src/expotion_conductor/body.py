"""Shapes of the body as polygons over time, back to front: trunk and clothes, arms, hands, baton.

Each function yields strokes: a kind ('fill', 'convex', 'line', 'ring'), outlines [n, k, 2] in world units and
a colour. The scene turns them into pixels all at once and draws frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from expotion_conductor import paint
from expotion_conductor.figure import Actor, Figure, Pose
from expotion_conductor.paint import Floats
from expotion_conductor.person import Colour

Kind = Literal["fill", "convex", "line", "ring"]


@dataclass(frozen=True)
class Stroke:
    """One shape in every frame: `points` [n, k, 2] in world units.

    `fade` (another colour, its share 0..1 [n]) lets the colour change over time.
    """

    kind: Kind
    points: Floats
    colour: Colour
    fade: tuple[Colour, Floats] | None = None


def torso(figure: Actor, pose: Any) -> Iterator[Stroke]:
    """Trunk, neck and clothes."""
    person = figure.person
    b = person.build

    def still(kind: Kind, points: Floats, colour: Colour) -> Stroke:
        return Stroke(kind, figure.trunk_points(pose, points), colour)

    def both(kind: Kind, points: list[tuple[float, float]], colour: Colour) -> Iterator[Stroke]:
        for sign in (-1.0, 1.0):
            yield still(kind, np.array(points) * np.array([sign, 1.0]), colour)

    clothes, skin = person.clothes, person.skin
    trunk = paint.mirrored(
        [(0.0, 0.445), (0.062, 0.452), (0.115 * b, 0.474), (0.172 * b, 0.492), (0.212 * b, 0.535),
         (0.205 * b, 0.66),         (0.178 * b, 0.85), (0.186 * b, 1.15), (0.0, 1.2)], 4,
    )  # fmt: skip
    yield still("fill", trunk, clothes)
    yield from both("line", [(0.205 * b, 0.60), (0.172 * b, 0.70), (0.160 * b, 0.9)], paint.shade(clothes, 0.6))
    yield from both(
        "fill", [(0.21 * b, 0.6), (0.15 * b, 0.72), (0.14 * b, 1.2), (0.25, 1.2)], paint.shade(clothes, 0.9)
    )
    notch = 0.485 if person.outfit == "turtleneck" else 0.53
    jaw = figure.head_points(pose, np.array([[-0.56, 0.8], [0.56, 0.8]]))
    root = figure.trunk_points(pose, np.array([[0.056, 0.475], [0.0, notch], [-0.056, 0.475]]))
    yield Stroke("convex", np.concatenate([jaw, root], axis=1), paint.shade(skin, 0.86))
    under = figure.head_points(
        pose, np.array([[-0.56, 0.9], [0.56, 0.9], [0.46, 1.42], [0.0, 1.62], [-0.46, 1.42]])
    )
    yield Stroke("convex", under, paint.mix(paint.shade(skin, 0.6), (110, 50, 40), 0.1))
    if person.outfit in ("suit", "bow_tie"):
        shirt, dark = person.shirt, paint.shade(clothes, 0.55)
        yield still(
            "fill",
            np.array([(-0.058, 0.462), (0.0, 0.515), (0.058, 0.462), (0.070, 0.49), (0.0, 0.77), (-0.070, 0.49)]),
            shirt,
        )
        yield from both(
            "convex", [(0.060, 0.452), (0.0, 0.515), (0.034, 0.545), (0.072, 0.482)], paint.shade(shirt, 0.9)
        )
        lapel = paint.shade(clothes, 1.12)
        yield from both(
            "fill",
            [(0.064, 0.456), (0.104 * b, 0.52), (0.082, 0.565), (0.092, 0.58), (0.0, 0.775), (0.052, 0.55)],
            lapel,
        )
        yield from both(
            "line", [(0.064, 0.456), (0.104 * b, 0.52), (0.082, 0.565), (0.092, 0.58), (0.0, 0.775)], dark
        )
        yield still("line", np.array([(0.0, 0.775), (0.012, 1.2)]), dark)
        yield still("convex", paint.ellipse(0.014, 0.83, 0.008, 0.008, n=10), paint.shade(clothes, 0.4))
        if person.outfit == "bow_tie":
            yield from both("convex", [(0.0, 0.516), (0.044, 0.494), (0.046, 0.548), (0.0, 0.528)], person.tie)
            yield still("convex", paint.ellipse(0, 0.521, 0.011, 0.013, n=10), paint.shade(person.tie, 1.25))
        else:
            yield still(
                "convex",
                np.array([(-0.016, 0.508), (0.016, 0.508), (0.011, 0.54), (-0.011, 0.54)]),
                paint.shade(person.tie, 1.1),
            )
            yield still(
                "convex",
                np.array([(-0.011, 0.54), (0.011, 0.54), (0.022, 0.70), (0.0, 0.765), (-0.022, 0.70)]),
                person.tie,
            )
    elif person.outfit == "turtleneck":
        collar = paint.mirrored([(0.0, 0.424), (0.052, 0.428), (0.062, 0.452), (0.074, 0.482), (0.0, 0.492)], 4)
        yield still("fill", collar, paint.shade(clothes, 1.12))
        yield still("line", np.array([(-0.055, 0.446), (0.0, 0.453), (0.055, 0.446)]), paint.shade(clothes, 0.7))
        yield still("line", np.array([(-0.072, 0.482), (0.0, 0.494), (0.072, 0.482)]), paint.shade(clothes, 0.6))
    elif person.outfit == "shirt":
        yield from both(
            "convex", [(0.056, 0.446), (0.0, 0.522), (0.036, 0.558), (0.080, 0.486)], paint.shade(clothes, 1.2)
        )
        yield from both("line", [(0.0, 0.522), (0.036, 0.558), (0.080, 0.486)], paint.shade(clothes, 0.6))
        yield still("line", np.array([(0.0, 0.522), (0.004, 1.2)]), paint.shade(clothes, 0.6))
        for y in (0.58, 0.67, 0.76, 0.85, 0.94):
            yield still("convex", paint.ellipse(-0.008, y, 0.005, 0.005, n=8), paint.shade(clothes, 0.5))
    else:
        yield still(
            "fill",
            np.array([(-0.060, 0.462), (0.060, 0.462), (0.045, 0.52), (0.0, 0.605), (-0.045, 0.52)]),
            paint.shade(skin, 0.93),
        )
        yield from both("line", [(0.064, 0.456), (0.047, 0.52), (0.0, 0.608)], paint.shade(clothes, 0.55))


_FIST = np.array(
    [
        (-0.2, -0.42),
        (0.2, -0.50),
        (0.62, -0.48),
        (0.98, -0.30),
        (1.05, 0.05),
        (0.92, 0.38),
        (0.5, 0.5),
        (0.1, 0.46),
        (-0.2, 0.4),
    ]
)
_OPEN = np.array(
    [(-0.2, -0.36), (0.2, -0.46), (0.5, -0.85), (0.68, -0.82), (0.66, -0.52), (0.9, -0.42), (1.45, -0.44),
     (1.52, -0.30), (1.62, -0.14), (1.62, 0.06), (1.5, 0.2), (1.38, 0.36), (0.9, 0.42), (0.4, 0.44),
     (-0.2, 0.36)]
)  # fmt: skip


def _hand(wrist: Floats, angle: Floats, template: Floats, size: float, flip: float) -> Floats:
    local = template * np.array([size, size * flip])
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = local[None, :, 0], local[None, :, 1]
    return np.stack([wrist[:, :1] + cos * x - sin * y, wrist[:, 1:] + sin * x + cos * y], axis=-1)


def arms(figure: Figure, pose: Pose) -> Iterator[Stroke]:
    """Both arms with their hands; the baton last, in front of everything."""
    person, camera = figure.person, figure.camera
    b = person.build
    sleeve, bare = person.clothes, person.skin
    edge, glow = paint.shade(sleeve, 0.55), paint.shade(sleeve, 1.07)
    lit = np.array([0.010 * camera.light_side, -0.009])
    size = 0.047
    for side in (1 - figure.baton_side, figure.baton_side):
        sign = -1.0 if side == 0 else 1.0
        shoulder, elbow, wrist = pose.shoulder[side], pose.elbow[side], pose.wrist[side]
        for grow, colour in ((0.0055, edge), (0.0, sleeve)):
            top = shoulder + (0.45 * (elbow - shoulder) if grow else 0.0)  # no outline where the arm joins
            yield Stroke("convex", paint.capsule(top, elbow, 0.045 * b + grow, 0.037 * b + grow), colour)
            yield Stroke("convex", paint.capsule(elbow, wrist, 0.037 * b + grow, 0.028 * b + grow), colour)
        top = shoulder + 0.2 * (elbow - shoulder)
        yield Stroke("convex", paint.capsule(top + lit, elbow + lit, 0.024 * b, 0.020 * b), glow)
        yield Stroke("convex", paint.capsule(elbow + lit, wrist + lit, 0.019 * b, 0.012 * b), glow)
        fore = wrist - elbow
        fore = fore / np.maximum(np.hypot(fore[:, 0], fore[:, 1]), 1e-9)[:, None]
        if person.outfit in ("suit", "bow_tie"):
            yield Stroke("convex", paint.capsule(wrist, wrist + 0.014 * fore, 0.028, 0.025), person.shirt)
        root = wrist + 0.012 * fore
        if side == figure.baton_side:
            tip = figure.baton_tip(pose)
            grip = root + 0.024 * fore
            yield Stroke("convex", paint.capsule(grip, tip, 0.0062, 0.0036, 4), (60, 48, 40))
            yield Stroke("convex", paint.capsule(grip, tip, 0.0040, 0.0022, 4), (250, 244, 228))
            yield Stroke("convex", paint.capsule(grip, grip + 0.16 * (tip - grip), 0.010, 0.006, 4), (150, 100, 62))
            hand = _hand(root, pose.hand_angle[side], _FIST, size, 1.0)
        else:
            hand = _hand(root, pose.hand_angle[side], _OPEN, size * 0.92, sign)
        yield Stroke("fill", hand, bare)
        yield Stroke("ring", hand, paint.shade(bare, 0.62))
        folds = ((0.55, -0.15), (1.0, -0.12)), ((0.55, 0.15), (1.0, 0.14))
        for fold in folds:
            reach = 1.0 if side == figure.baton_side else 1.45
            template = np.array(fold) * np.array([reach, 1.0])
            yield Stroke(
                "line", _hand(root, pose.hand_angle[side], template, size * 0.92, sign), paint.shade(bare, 0.70)
            )
