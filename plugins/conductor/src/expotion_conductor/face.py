"""Shapes of what moves in the face, as polygons over time: eyes, lids, brows, mouth, glasses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from expotion_conductor import paint
from expotion_conductor.body import Kind, Stroke
from expotion_conductor.figure import Figure, Pose
from expotion_conductor.paint import Floats
from expotion_conductor.person import Colour


def _on_head(figure: Figure, pose: Pose, kind: Kind, points: Floats, colour: Colour) -> Stroke:
    """A stroke in head units that turns and nods with the features."""
    drift = np.stack([0.10 * pose.yaw, 0.10 * pose.pitch], axis=1)[:, None, :]
    return Stroke(kind, figure.head_points(pose, points + drift), colour)


def _join(x: Floats, y: Floats) -> Floats:
    return np.stack(np.broadcast_arrays(x, y), axis=-1)


def face(figure: Figure, pose: Pose) -> Iterator[Stroke]:
    """Eyes, brows, mouth and glasses: what shows the intensity."""
    person = figure.person
    n = len(pose.brow)

    def place(kind: Kind, points: Floats, colour: Colour) -> Stroke:
        return _on_head(figure, pose, kind, points, colour)

    lash = paint.shade(person.hair if sum(person.hair) < 240 else (60, 44, 36), 0.6)
    lid_x = 0.245 * np.cos(np.linspace(np.pi, 0.0, 9))
    lid_y = np.sin(np.linspace(np.pi, 0.0, 9)) ** 0.8
    up, low = 0.006 + 0.185 * pose.eye[:, None], 0.004 + 0.075 * pose.eye[:, None]
    for sign in (-1.0, 1.0):
        x0, y0 = sign * person.eye_gap, -0.08
        upper = _join(x0 + lid_x[None], y0 - up * lid_y)
        lower = _join(x0 + lid_x[None, ::-1], y0 + low * lid_y)
        yield place("fill", np.concatenate([upper, lower], axis=1), (232, 228, 222))
        centre_x = x0 + 0.07 * pose.gaze[:, None] + 0.04 * pose.yaw[:, None]
        for radius, colour in ((0.145, person.iris), (0.075, (14, 12, 12))):
            disc = paint.ellipse(0.0, y0 - 0.03, radius, radius, n=12)
            x = centre_x + disc[None, :, 0]
            bow = np.sqrt(np.clip(1 - ((x - x0) / 0.245) ** 2, 0.0, 1.0)) ** 0.8
            yield place("fill", _join(x, np.clip(disc[None, :, 1], y0 - up * bow, y0 + low * bow)), colour)
        lid = np.concatenate([upper, upper[:, ::-1] - np.array([0.0, 0.062])], axis=1)
        yield place("fill", lid, lash)
        crease = _join(x0 + 0.9 * lid_x[None], y0 - 0.09 - up * lid_y)
        yield place("line", crease, paint.shade(person.skin, 0.5))
        brow_x = np.linspace(-0.25, 0.30, 6)
        along = (brow_x + 0.25) / 0.55
        lift = 0.37 + 0.27 * pose.brow[:, None] + (0.03 + 0.06 * pose.brow[:, None]) * np.sin(np.pi * along * 0.9)
        slant = person.brow_slant * pose.brow[:, None] * (1 - along) - 0.05 * along
        top = y0 + 0.02 - lift - slant
        thick = 0.105 * person.brow_weight * (1.0 - 0.6 * along)
        x = np.broadcast_to(sign * (person.eye_gap + brow_x), (n, 6))
        outline = np.concatenate([_join(x, top), _join(x[:, ::-1], (top + thick)[:, ::-1])], axis=1)
        yield place("fill", outline, paint.mix(paint.shade(person.hair, 0.62), (40, 30, 26), 0.5))
    yield from _mouth(figure, pose)
    if person.glasses:
        for sign in (-1.0, 1.0):
            yield place("ring", paint.ellipse(sign * person.eye_gap, -0.04, 0.34, 0.29, n=18)[None], (44, 40, 42))
        yield place(
            "line",
            np.array([[[-person.eye_gap + 0.34, -0.07], [0.0, -0.12], [person.eye_gap - 0.34, -0.07]]]),
            (44, 40, 42),
        )


def _mouth(figure: Figure, pose: Pose) -> Iterator[Stroke]:
    """Lips that part with the intensity, the dark between them, the upper teeth."""
    person = figure.person
    open_ = pose.mouth[:, None] ** 1.2
    half = person.mouth_width * (1.02 - 0.14 * open_)
    along = np.linspace(-1.0, 1.0, 9)
    arch = (1 - along**2)[None]
    middle = 0.80 + 0.02 * open_ - 0.10 * pose.smile[:, None] * (along**2)[None] + 0.03 * pose.smile[:, None]
    x = half * along
    inner_top = middle - (0.015 + 0.05 * open_) * arch
    inner_low = middle + 0.36 * open_ * np.sqrt(arch)
    lip_top = inner_top - (0.085 - 0.02 * open_) * arch * (1 - 0.25 * np.exp(-((along / 0.2) ** 2)))
    lip_low = inner_low + 0.105 * arch
    lips = paint.mix(paint.shade(person.skin, 0.74), (176, 58, 62), 0.38)
    # Thin shapes still cover a pixel, so dark and teeth take the colour of the line between closed lips.
    line, dark, parted = paint.shade(lips, 0.5), (52, 16, 20), np.clip(5 * open_[:, 0], 0.0, 1.0)

    def between(top: Floats, low: Floats, colour: Colour, fade: tuple[Colour, Floats] | None = None) -> Stroke:
        points = np.concatenate([_join(x, top), _join(x[:, ::-1], low[:, ::-1])], axis=1)
        return replace(_on_head(figure, pose, "fill", points, colour), fade=fade)

    yield between(lip_top, lip_low, lips)
    yield between(inner_top, inner_low + 0.02 * np.sqrt(arch), line, (dark, parted))
    bite = np.minimum(0.11, np.maximum(0.5 * (inner_low - inner_top) - 0.02, 0.0))
    teeth = inner_top + bite * np.minimum(1.0, 1.6 * arch)
    yield between(inner_top, teeth, line, ((238, 234, 226), np.clip(20 * bite[:, 4] - 0.2, 0.0, 1.0)))
    yield _on_head(figure, pose, "line", _join(x, inner_top), line)
