"""What stands behind the conductor: wall, hall, curtain, window, shelves or studio, drawn once per clip."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion_conductor import paint
from expotion_conductor.person import Camera, Colour

MARGIN = 0.12
"""The backdrop reaches this far (in frame sides) beyond the frame, so that the camera may drift and roll."""


def _gradient(side: int, top: Colour, bottom: Colour) -> NDArray[np.float32]:
    rows = np.linspace(0.0, 1.0, side, dtype=np.float32)[:, None, None]
    column = np.asarray(top, np.float32) * (1 - rows) + np.asarray(bottom, np.float32) * rows
    return np.repeat(column, side, axis=1)


def _glow(
    image: NDArray[np.float32], place: tuple[float, float], radius: float, colour: Colour, strength: float
) -> None:
    x, y = place
    side = image.shape[0]
    axis = np.linspace(0.0, 1.0, side, dtype=np.float32)
    falloff = np.exp(-(((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / radius**2))
    image += (np.asarray(colour, np.float32) - image) * (strength * falloff)[..., None]


def _box(image: NDArray[np.float32], place: tuple[float, float, float, float], colour: Colour) -> None:
    x, y, width, height = place
    side = image.shape[0]
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]) * side
    cv2.fillPoly(image, [paint.fixed(corners)], colour, cv2.LINE_AA, paint.SHIFT_BITS)


def _disc(image: NDArray[np.float32], x: float, y: float, radius: float, colour: Colour) -> None:
    points = paint.fixed(paint.ellipse(x, y, radius, radius, n=24) * image.shape[0])
    cv2.fillPoly(image, [points], colour, cv2.LINE_AA, paint.SHIFT_BITS)


def _curtain(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    axis = np.linspace(0.0, 1.0, image.shape[1], dtype=np.float32)
    folds = 0.82 + 0.16 * np.sin(2 * np.pi * (rng.uniform(7, 12) * axis + 0.4 * np.sin(9 * axis)))
    folds += 0.06 * np.sin(2 * np.pi * rng.uniform(20, 30) * axis)
    image *= folds[None, :, None]


def _hall(image: NDArray[np.float32], camera: Camera, rng: np.random.Generator) -> None:
    for row in range(4):
        y = 0.50 + 0.10 * row
        for x in np.arange(-0.02, 1.05, 0.105) + 0.05 * (row % 2):
            seat = paint.shade(camera.accent, 0.30 + 0.07 * row)
            _box(image, (float(x) - 0.04, y, 0.08, 0.10), seat)
            _disc(image, float(x), y - 0.005, 0.028, paint.shade(camera.accent, 0.22))
    for _ in range(9):
        x, y = float(rng.uniform(0, 1)), float(rng.uniform(0.02, 0.36))
        _glow(image, (x, y), float(rng.uniform(0.015, 0.05)), (255, 214, 150), 0.75)


def _window(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    x = float(rng.choice([0.06, 0.62]))
    _box(image, (x - 0.02, 0.08, 0.36, 0.5), (236, 232, 224))
    for column in range(2):
        for row in range(2):
            _box(image, (x + 0.165 * column, 0.10 + 0.235 * row, 0.15, 0.22), (206, 226, 244))
    _glow(image, (x + 0.16, 0.3), 0.35, (255, 250, 236), 0.4)


def _shelves(image: NDArray[np.float32], camera: Camera, rng: np.random.Generator) -> None:
    for row in range(4):
        y = 0.05 + 0.2 * row
        _box(image, (-0.01, y + 0.165, 1.02, 0.022), (92, 64, 44))
        x = 0.0
        while x < 1.0:
            width, height = float(rng.uniform(0.018, 0.045)), float(rng.uniform(0.10, 0.15))
            hue = paint.mix(camera.accent, camera.wall, float(rng.uniform(0, 1)))
            _box(image, (x, y + 0.165 - height, width, height), paint.shade(hue, float(rng.uniform(0.45, 0.95))))
            x += width + 0.004 + (0.06 if rng.random() < 0.12 else 0.0)


def draw_backdrop(camera: Camera, size_px: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The backdrop and its place: uint8 [s, s, 3] RGB and the [2, 3] map from its pixels to world units."""
    rng = np.random.default_rng(camera.layout_seed)
    side = round(size_px * (1 + 2 * MARGIN))
    wall = camera.wall
    if camera.backdrop == "studio":
        image = _gradient(side, paint.shade(wall, 0.62), paint.shade(wall, 0.40))
        _glow(image, (0.5, 0.35), 0.45, paint.shade(wall, 1.15), 0.85)
    elif camera.backdrop == "curtain":
        image = _gradient(side, paint.shade(camera.accent, 0.85), paint.shade(camera.accent, 0.55))
        _curtain(image, rng)
    elif camera.backdrop == "hall":
        image = _gradient(side, paint.shade(wall, 0.50), paint.shade(wall, 0.24))
        _hall(image, camera, rng)
    else:
        image = _gradient(side, paint.shade(wall, 1.1), paint.shade(wall, 0.74))
        _glow(image, (0.5 + 0.4 * camera.light_side, 0.15), 0.5, paint.shade(wall, 1.5), 0.5)
        if camera.backdrop == "window":
            _window(image, rng)
        elif camera.backdrop == "shelves":
            _shelves(image, camera, rng)
        else:
            _box(image, (-0.01, 0.80, 1.02, 0.012), paint.shade(wall, 0.6))
            x = float(rng.choice([0.10, 0.70]))
            _box(image, (x - 0.012, 0.148, 0.224, 0.264), paint.shade(wall, 0.45))
            _box(image, (x, 0.16, 0.2, 0.24), paint.mix(camera.accent, (235, 230, 215), 0.45))
            _disc(image, x + 0.1, 0.27, 0.05, camera.accent)
    image = np.asarray(
        cv2.GaussianBlur(image, (0, 0), 0.006 * side), np.float32
    )  # out of focus, behind the conductor
    lit = np.clip(image * np.asarray(camera.tint, np.float32), 0, 255)
    scale = (1 + 2 * MARGIN) / side
    place = np.array([[scale, 0.0, -MARGIN + scale / 2], [0.0, scale, -MARGIN + scale / 2]])
    return np.rint(lit).astype(np.uint8), place
