"""The picture of the people's world: a still room in which things may move, one or two people, and a webcam."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion_conductor import paint
from expotion_conductor.band.draw import Draw
from expotion_conductor.body import Stroke
from expotion_conductor.figure import Actor
from expotion_conductor.people.cast import Passing, People
from expotion_conductor.people.mover import Mover
from expotion_conductor.people.strokes import over_head, under_head
from expotion_conductor.people.wander import drift
from expotion_conductor.person import Colour
from expotion_conductor.plan import Plan
from expotion_conductor.scene import Image, Scene

Floats = NDArray[np.float64]
_ROOM_ZOOM = 1.06


class PeopleScene(Scene):
    """Draws a plan with people. The room does not grow with them: who sits further away is smaller before it."""

    def lead(self, plan: Plan, size_px: int) -> Actor:
        """The person whom the clip is about; a second one stands behind."""
        assert plan.people is not None
        self._people: People = plan.people
        self._second = Mover(self._people.second, size_px) if self._people.second else None
        return Mover(self._people.lead, size_px)

    @property
    def actors(self) -> list[Actor]:
        """The second person, where there is one, and the lead."""
        return [self._second, self.figure] if self._second else [self.figure]

    def strokes(self, actor: Any, pose: Any) -> tuple[list[Stroke], list[Stroke]]:
        """What is drawn below a head and above it."""
        return under_head(actor, pose), over_head(actor, pose)

    def ground(self, times_s: Floats) -> Floats:
        """Where the room lies: [n, 2, 3]; it shakes with the camera."""
        shot = self._people.lead.shot
        return self.size_px * shot.matrices(np.asarray(times_s), _ROOM_ZOOM, (0.0, 0.0))

    def behind(self, times_s: Floats) -> list[Stroke]:
        """What moves in the room."""
        return passing_strokes(self._people.passing, times_s, self._people.lead.seed, self.figure.camera.accent)

    def gains(self, times_s: Floats) -> Floats:
        """Exposure and the lamps' flicker: [n]."""
        return self._people.lead.shot.gains(np.asarray(times_s))

    def finish(self, frame: Image) -> None:
        """Blur what a cheap lens blurs."""
        if self._people.lead.shot.soft:
            cv2.blur(frame, (3, 3), frame)


def passing_strokes(kind: Passing, times_s: Floats, seed: int, colour: Colour) -> list[Stroke]:
    """What moves in the background, in sides of the picture: [n, k, 2] and how its colour changes."""
    draw = Draw(seed, 71)
    place = np.array([draw.pick((draw.between(0.0, 0.25), draw.between(0.75, 1.0))), draw.between(0.1, 0.45)])
    size, rate_hz = draw.between(0.08, 0.2), draw.between(0.3, 2.2)
    other = paint.shade(colour, draw.between(0.4, 1.6))
    at = np.broadcast_to(place, (len(times_s), 2))[:, None]
    if kind == "screen":
        box = size * np.array([[-1.0, -0.6], [1.0, -0.6], [1.0, 0.6], [-1.0, 0.6]])
        flicker = 0.5 + 0.5 * np.tanh(3 * drift(times_s, 0.6 * rate_hz, seed, 72))
        return [
            Stroke("convex", at + 1.08 * box, (24, 24, 26)),
            Stroke("convex", at + box, colour, (other, flicker)),
        ]
    if kind == "passer-by":
        # Back and forth through the room, in and out of the picture.
        x = 0.5 + 0.95 * np.sin(2 * np.pi * 0.12 * rate_hz * times_s + seed % 6)
        y = 0.3 + 0.012 * np.abs(np.sin(2 * np.pi * 0.9 * times_s))
        top = np.stack([x, y], axis=1)
        low = top + np.array([0.0, 0.8])
        return [
            Stroke("convex", paint.capsule(top + np.array([0.0, 0.16]), low, 0.09, 0.08), other),
            Stroke("convex", top[:, None] + paint.ellipse(0.0, 0.0, 0.05, 0.062, n=12), (150, 110, 86)),
        ]
    if kind == "fan":
        turn = 2 * np.pi * rate_hz * times_s
        blades = []
        for blade in range(3):
            angle = turn + 2 * np.pi * blade / 3
            end = place + size * np.stack([np.cos(angle), 0.8 * np.sin(angle)], axis=1)
            blades.append(
                Stroke("convex", paint.capsule(np.broadcast_to(place, end.shape), end, 0.012, 0.035), other)
            )
        return blades
    if kind == "leaves":
        leaves = []
        for leaf in range(7):
            way = np.stack(
                [drift(times_s, 0.5 * rate_hz, seed, 73, leaf), drift(times_s, 0.6 * rate_hz, seed, 74, leaf)],
                axis=1,
            )
            middle = place + np.array([draw.between(-1, 1), draw.between(-1, 1)]) * 1.3 * size
            outline = paint.ellipse(0.0, 0.0, 0.45 * size, 0.16 * size, n=8, angle=draw.between(0, 3))
            leaves.append(
                Stroke("convex", (middle + 0.03 * way)[:, None] + outline, paint.mix(other, (60, 120, 50), 0.6))
            )
        return leaves
    return []
