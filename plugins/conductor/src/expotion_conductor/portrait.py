"""The head without what moves on it: skull, ears, hair, beard and the light on the skin, drawn once per clip.

Drawn in head units (half a face width = 1, origin between the eyes' height and the nose, y down) at twice the
wanted size, then shrunk, so edges and shading stay soft. The shading is that of a face lit from above: dark
eye sockets between a bright forehead and bright cheeks, a bright nose bridge, shadows under nose and lip;
that is what makes a frontal-face detector see a face in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion_conductor import paint
from expotion_conductor.person import Camera, Person

HALF_WIDTH, ABOVE, BELOW = 2.0, 2.3, 2.6
"""Extent of the drawing in head units: [-HALF_WIDTH, HALF_WIDTH] x [-ABOVE, BELOW]."""

OVERSAMPLING = 2


@dataclass(frozen=True)
class Portrait:
    """A head for blending: `picture` uint8 [h, w, 3] is premultiplied, `hole` uint8 [h, w, 3] is 255 - alpha.

    `units_per_pixel` and `origin` place it: head = pixel * units_per_pixel - origin.
    """

    picture: NDArray[np.uint8]
    hole: NDArray[np.uint8]
    units_per_pixel: float
    origin: tuple[float, float]


def face_outline(person: Person) -> paint.Floats:
    """Outline of the face from the top of the skull to the chin in head units [k, 2]."""
    long, jaw = person.face_length, person.jaw
    return paint.mirrored(
        [
            (0.0, -1.36 * long), (0.52, -1.26 * long), (0.88, -0.88 * long), (1.0, -0.25), (0.97, 0.25),
            (0.93 * jaw, 0.68 * long), (0.72 * jaw, 1.06 * long), (0.36, 1.32 * long), (0.0, 1.39 * long),
        ]
    )  # fmt: skip


def _hair_behind(layer: paint.Layer, person: Person) -> None:
    colour = paint.shade(person.hair, 0.72)
    style = person.hair_style
    if style == "bob":
        layer.add(
            paint.mirrored(
                [
                    (0, -1.66),
                    (0.8, -1.5),
                    (1.24, -0.8),
                    (1.34, 0.2),
                    (1.36, 0.9),
                    (1.1, 1.14),
                    (0.7, 1.08),
                    (0.5, 0.9),
                    (0, 0.8),
                ]
            ),
            colour,
        )
    elif style == "long":
        layer.add(
            paint.mirrored(
                [
                    (0, -1.64),
                    (0.8, -1.48),
                    (1.2, -0.8),
                    (1.3, 0.2),
                    (1.42, 1.2),
                    (1.38, 2.1),
                    (1.0, 2.42),
                    (0.66, 2.1),
                    (0.6, 1.3),
                    (0.4, 0.9),
                    (0, 0.8),
                ]
            ),
            colour,
        )
    elif style == "bun":
        layer.add(paint.ellipse(0.1, -1.72, 0.46, 0.42), colour)
        layer.tone(paint.ellipse(0.02, -1.85, 0.25, 0.16), paint.shade(person.hair, 1.25), 0.5, 0.1)
    elif style == "curly":
        for angle in np.linspace(-2.9, -0.24, 13):
            layer.add(
                paint.ellipse(1.06 * np.cos(angle), -0.35 + 1.14 * np.sin(angle), 0.37, 0.35),
                paint.shade(person.hair, 0.8 + 0.3 * abs(np.sin(5 * angle))),
            )


def _hair_front(layer: paint.Layer, person: Person) -> None:
    hair, style = person.hair, person.hair_style
    if style == "bald":
        layer.tone(paint.ellipse(-0.25, -1.05, 0.42, 0.2, angle=-0.25), (255, 255, 255), 0.35, 0.14)
        return
    if style == "receding":
        for sign in (-1.0, 1.0):
            side = [
                (0.98, -0.02),
                (1.06, -0.5),
                (1.0, -0.98),
                (0.72, -1.2),
                (0.74, -0.95),
                (0.88, -0.6),
                (0.9, -0.1),
            ]
            layer.add(paint.smooth_closed([(sign * x, y) for x, y in side]), hair, blur=0.02)
        layer.tone(paint.ellipse(-0.2, -1.1, 0.36, 0.15), (255, 255, 255), 0.25, 0.14)
        return
    top = {"curly": 1.54, "side": 1.62, "bob": 1.62, "long": 1.58, "bun": 1.5, "short": 1.53}[style]
    down = {"bob": 0.75, "long": 0.8}.get(style, -0.08)
    inner = {"bob": 0.86, "long": 0.88}.get(style, 0.93)
    part = -0.45 if style in ("side", "long") else 0.0
    fringe = {"short": -0.93, "curly": -0.9, "side": -0.98, "bob": -0.80, "long": -1.05, "bun": -0.99}[style]
    outline = [
        (0.0, -top), (0.6, -top + 0.11), (1.0, -1.08), (1.11, -0.5), (1.1, down), (inner, down - 0.02),
        (inner, -0.45), (0.74, -0.8), (0.35, fringe + 0.03), (part, fringe - 0.12 * (part != 0)),
        (-0.5, fringe + 0.05), (-0.78, -0.78), (-inner, -0.45), (-inner, down - 0.02), (-1.1, down),
        (-1.11, -0.5), (-1.0, -1.08), (-0.6, -top + 0.11),
    ]  # fmt: skip
    points = paint.smooth_closed(outline)
    shadow = paint.mix(paint.shade(person.skin, 0.5), (70, 40, 30), 0.2)
    layer.tone(points + np.array([0.0, 0.10]), shadow, 0.5, 0.06)  # on the skin below the hairline
    layer.add(points, hair)
    inside = layer.mask(points)
    light, dark = paint.shade(hair, 1.28), paint.shade(hair, 0.66)
    before = layer.colour.copy()
    layer.tone(paint.ellipse(-0.3, -1.25, 0.55, 0.12, angle=-0.2), light, 0.75, 0.1)
    layer.tone(paint.ellipse(0.55, -1.05, 0.2, 0.1, angle=0.5), light, 0.4, 0.08)
    for x in (-1.0, -0.55, -0.1, 0.3, 0.7, 1.0):
        strand = paint.ellipse(x, -1.12, 0.03, 0.42, angle=0.45 * x)
        layer.tone(strand, dark, 0.35, 0.03)
    layer.colour[:] = before + (layer.colour - before) * inside[..., None]


def _skin(layer: paint.Layer, person: Person, camera: Camera) -> None:
    skin, gap, long = person.skin, person.eye_gap, person.face_length
    dark, deep = paint.mix(paint.shade(skin, 0.62), (120, 50, 40), 0.12), paint.shade(skin, 0.42)
    light = paint.mix(paint.shade(skin, 1.30), (255, 214, 170), 0.25)
    outline = face_outline(person)
    layer.add(outline, skin)
    inside = layer.mask(outline)
    before = layer.colour.copy()
    # Round the head off: a shadow that grows towards the outline.
    core = layer.mask(outline * np.array([0.80, 0.86]) + np.array([0.06 * camera.light_side, -0.02]), 0.17)
    layer.colour += (np.asarray(dark, np.float32) - layer.colour) * ((1 - core) * 0.62)[..., None]
    far = paint.ellipse(-0.95 * camera.light_side, 0.2, 0.45, 1.1)
    layer.tone(far, dark, 0.9 * camera.light_fall + 0.12, 0.25)
    layer.tone(paint.ellipse(0.1 * camera.light_side, -0.72, 0.56, 0.2), light, 0.55, 0.16)
    for sign in (-1.0, 1.0):
        layer.tone(paint.ellipse(sign * gap, -0.13, 0.33, 0.20, angle=-0.08 * sign), deep, 0.62, 0.09)
        layer.tone(paint.ellipse(sign * 0.20, -0.16, 0.07, 0.16), deep, 0.35, 0.06)
        layer.tone(paint.ellipse(sign * 0.54, 0.36, 0.25, 0.15, angle=0.25 * sign), light, 0.62, 0.11)
        layer.tone(paint.ellipse(sign * 0.56, 0.48, 0.22, 0.14), (226, 92, 84), 0.13, 0.12)
        layer.tone(paint.ellipse(sign * 0.17, 0.20, 0.05, 0.24, angle=-0.15 * sign), dark, 0.42, 0.05)
        layer.tone(paint.ellipse(sign * 0.13, 0.45, 0.065, 0.035), deep, 0.85, 0.02)
        layer.tone(paint.ellipse(sign * 0.36, 0.58, 0.04, 0.16, angle=-0.5 * sign), dark, 0.30, 0.05)
    layer.tone(paint.ellipse(0.0, 0.0, 0.075, 0.36), light, 0.75, 0.05)
    layer.tone(paint.ellipse(0.0, 0.33, 0.11, 0.09), light, 0.7, 0.05)
    layer.tone(paint.ellipse(0.0, 0.50, 0.20, 0.05), deep, 0.45, 0.05)
    layer.tone(paint.ellipse(0.0, 1.10 * long, 0.26, 0.1), light, 0.3, 0.09)
    layer.tone(paint.ellipse(0.0, 0.99, 0.26, 0.05), dark, 0.4, 0.06)
    if person.beard > 0:
        _beard(layer, person)
    layer.colour[:] = before + (layer.colour - before) * inside[..., None]


def _beard(layer: paint.Layer, person: Person) -> None:
    jaw = paint.smooth_closed(
        [(0.97, 0.1), (0.93, 0.8), (0.6, 1.5), (0.0, 1.65), (-0.6, 1.5), (-0.93, 0.8), (-0.97, 0.1),
         (-0.82, 0.5), (-0.5, 0.72), (-0.2, 0.60), (0.0, 0.62), (0.2, 0.60), (0.5, 0.72), (0.82, 0.5)]
    )  # fmt: skip
    layer.tone(jaw, paint.shade(person.hair, 0.9), 0.30 + 0.55 * person.beard, 0.05)
    lips = paint.ellipse(0.0, 0.80, 0.34, 0.12)
    layer.tone(lips, person.skin, 0.55, 0.05)


def draw_portrait(person: Person, camera: Camera, pixels_per_unit: float) -> Portrait:
    """Draw the head of `person` for a picture in which half the face is `pixels_per_unit` pixels wide."""
    scale = pixels_per_unit * OVERSAMPLING
    width = 2 * int(np.ceil(HALF_WIDTH * pixels_per_unit))
    height = int(np.ceil((ABOVE + BELOW) * pixels_per_unit))
    layer = paint.Layer(height * OVERSAMPLING, width * OVERSAMPLING, scale, (width / 2 / pixels_per_unit, ABOVE))
    _hair_behind(layer, person)
    if person.hair_style not in ("bob", "long"):
        for sign in (-1.0, 1.0):
            layer.add(paint.ellipse(sign * 1.03, 0.10, 0.15, 0.27), paint.shade(person.skin, 0.84))
            layer.tone(paint.ellipse(sign * 1.06, 0.10, 0.06, 0.14), paint.shade(person.skin, 0.55), 0.5, 0.04)
    _skin(layer, person, camera)
    _hair_front(layer, person)
    alpha = layer.alpha[..., None]
    tint = np.asarray(camera.tint, np.float32)
    premultiplied = np.clip(layer.colour * tint, 0, 255) * alpha
    picture = cv2.resize(premultiplied, (width, height), interpolation=cv2.INTER_AREA)
    cover = cv2.resize(layer.alpha, (width, height), interpolation=cv2.INTER_AREA)
    hole = np.repeat(np.rint(255 * (1 - cover)).astype(np.uint8)[..., None], 3, axis=2)
    return Portrait(
        picture=np.rint(picture).astype(np.uint8),
        hole=np.ascontiguousarray(hole),
        units_per_pixel=1.0 / pixels_per_unit,
        origin=(width / 2 / pixels_per_unit, ABOVE),
    )
