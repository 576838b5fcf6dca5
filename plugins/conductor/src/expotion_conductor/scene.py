"""From a plan to pictures: what stands still is drawn once, what moves is drawn on top, frame by frame.

The order is backdrop, trunk, head, face, arms, baton, then the fall of the light and the sensor's noise over
everything. A frame is a pure function of plan, size and time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion_conductor import backdrop, body, face, paint, portrait
from expotion_conductor.figure import Actor, Figure
from expotion_conductor.person import Colour
from expotion_conductor.plan import Plan

Image = NDArray[np.uint8]

LIGHT_UNIT = 200
"""A light of 200 leaves a pixel as it is; 255 is the brightest."""

NOISE_SHIFT = 16
"""The noise pattern is this much larger than the frame and is shifted at random."""

BLOCK = 64
"""Frames whose outlines are worked out at once."""


@lru_cache(maxsize=16)
def _noise(size_px: int, level: int) -> tuple[Image, Image]:
    """What to add and what to take away, uint8 [size + 16, size + 16, 3]; `level` in half 8-bit steps."""
    rng = np.random.default_rng([size_px, level, 4])
    side = size_px + NOISE_SHIFT
    grain = rng.standard_normal((side, side, 1), np.float32) * 0.8
    colour = rng.standard_normal((side, side, 3), np.float32) * 0.6
    values = np.rint((grain + colour) * (level / 2))
    return np.maximum(values, 0).astype(np.uint8), np.maximum(-values, 0).astype(np.uint8)


class Scene:
    """Draws a plan. `size_px` is the side of the square picture.

    What differs between worlds is in the methods that a subclass may replace: who is there (`actors`, back to
    front), their strokes, what moves behind them, where the backdrop lies and how bright a frame is.
    """

    figure: Actor

    def __init__(self, plan: Plan, size_px: int = 192) -> None:
        self.figure = self.lead(plan, size_px)
        self.size_px = size_px
        self._still: tuple[Image, NDArray[np.float64], list[portrait.Portrait], Image] | None = None

    def lead(self, plan: Plan, size_px: int) -> Actor:
        """Whoever the clip is about."""
        return Figure(plan, size_px)

    @property
    def actors(self) -> list[Actor]:
        """Everybody in the picture, from behind to the front."""
        return [self.figure]

    def strokes(self, actor: Any, pose: Any) -> tuple[list[body.Stroke], list[body.Stroke]]:
        """What is drawn below an actor's head and above it."""
        return [*body.torso(actor, pose)], [*face.face(actor, pose), *body.arms(actor, pose)]

    def ground(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the backdrop lies, as world to pixels: [n, 2, 3]."""
        return self.figure.camera_matrices(times_s)

    def behind(self, times_s: NDArray[np.float64]) -> list[body.Stroke]:
        """What moves behind everybody, in the backdrop's world."""
        del times_s
        return []

    def gains(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """How bright each frame is: [n], 1 is as lit."""
        return np.ones(len(times_s))

    def finish(self, frame: Image) -> None:
        """What optics and codec do to a frame, in place, before the sensor's noise."""

    def _prepared(self) -> tuple[Image, NDArray[np.float64], list[portrait.Portrait], Image]:
        """Backdrop with its place, heads and light: everything that is drawn once per clip."""
        if self._still is None:
            picture, place = backdrop.draw_backdrop(self.figure.camera, self.size_px)
            heads = []
            for actor in self.actors:
                unit_px = actor.person.face_half_width * actor.camera.zoom * self.size_px
                heads.append(portrait.draw_portrait(actor.person, actor.camera, unit_px))
            self._still = (picture, place, heads, self._light())
        return self._still

    def _light(self) -> Image:
        """Side light and vignette as a gain on every pixel: uint8 [S, S, 3] in units of LIGHT_UNIT."""
        camera = self.figure.camera
        axis = np.linspace(-1.0, 1.0, self.size_px)
        across = 1.0 + 0.5 * camera.light_fall * camera.light_side * axis[None, :]
        down = 1.04 - 0.10 * axis[:, None]
        dark = 1.0 - camera.vignette * (axis[None, :] ** 2 + axis[:, None] ** 2) ** 1.5 / 2.8
        gain = np.clip(LIGHT_UNIT * across * down * dark, 0, 255)
        return np.repeat(np.rint(gain).astype(np.uint8)[..., None], 3, axis=2)

    def draw(self, times_s: NDArray[np.float64]) -> Image:
        """RGB frames at `times_s` [m], uint8 [m, S, S, 3]."""
        times_s = np.asarray(times_s, dtype=np.float64)
        frames = np.empty((len(times_s), self.size_px, self.size_px, 3), np.uint8)
        for start in range(0, len(times_s), BLOCK):
            part = slice(start, start + BLOCK)
            self._draw_block(times_s[part], frames[part])
        return frames

    def _draw_block(self, times_s: NDArray[np.float64], frames: Image) -> None:
        picture, place, heads, light = self._prepared()
        grounds, gains = self.ground(times_s), self.gains(times_s)
        layers: list[Any] = [self._to_pixels(self.behind(times_s), grounds, self.figure)]
        for actor, head in zip(self.actors, heads, strict=True):
            pose, cameras = actor.pose(times_s), actor.camera_matrices(times_s)
            under, over = self.strokes(actor, pose)
            layers.append(self._to_pixels(under, cameras, actor))
            layers.append((head, self._head_matrices(pose, cameras, head, actor)))
            layers.append(self._to_pixels(over, cameras, actor))
        more, less = _noise(self.size_px, round(2 * self.figure.camera.noise))
        backdrops = _compose(grounds, place)
        # A camera that stands still sees the same backdrop in every frame.
        still = bool((backdrops == backdrops[:1]).all())
        empty = np.empty_like(frames[0])
        for index, frame in enumerate(frames):
            if index == 0 or not still:
                side = (self.size_px, self.size_px)
                cv2.warpAffine(picture, backdrops[index], side, empty, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
            frame[:] = empty
            for layer in layers:
                if isinstance(layer, tuple):
                    _blend(frame, layer[0], layer[1][index])
                else:
                    _paint(frame, layer, index)
            cv2.multiply(frame, light, frame, gains[index] / LIGHT_UNIT)
            self.finish(frame)
            tick = round(times_s[index] * 1e4)
            x, y = (tick * 7919) % 17 % NOISE_SHIFT, (tick * 104729) % 19 % NOISE_SHIFT
            window = np.s_[y : y + self.size_px, x : x + self.size_px]
            cv2.add(frame, more[window], frame)
            cv2.subtract(frame, less[window], frame)

    def _to_pixels(self, strokes: list[body.Stroke], cameras: NDArray[np.float64], actor: Actor) -> list[_Drawn]:
        """All strokes through the camera at once, in fixed point, under the light's colour."""
        if not strokes:
            return []
        n = len(cameras)
        points = [np.broadcast_to(stroke.points, (n, *stroke.points.shape[1:])) for stroke in strokes]
        pixels = paint.fixed(actor.to_pixels(np.concatenate(points, axis=1), cameras))
        tint = np.asarray(actor.camera.tint)
        result, start = [], 0
        for stroke in strokes:
            end = start + stroke.points.shape[1]
            colours = np.tile(np.asarray(stroke.colour, np.float64), (n, 1))
            if stroke.fade is not None:
                colours += (np.asarray(stroke.fade[0]) - colours) * stroke.fade[1][:, None]
            lit = np.clip(colours * tint, 0, 255).astype(int).tolist()
            result.append((stroke.kind, np.ascontiguousarray(pixels[:, start:end]), lit))
            start = end
        return result

    def _head_matrices(
        self, pose: Any, cameras: NDArray[np.float64], head: portrait.Portrait, actor: Actor
    ) -> NDArray[np.float64]:
        """Maps from the head's picture to the frame, [n, 2, 3]."""
        step, (x0, y0) = head.units_per_pixel, head.origin
        corners = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]) * step - np.array([x0, y0])
        pixels = actor.to_pixels(actor.head_points(pose, corners), cameras)
        columns = [pixels[:, 1] - pixels[:, 0], pixels[:, 2] - pixels[:, 0], pixels[:, 0]]
        return np.stack(columns, axis=2)


_Drawn = tuple[body.Kind, NDArray[np.int32], list[Colour]]
"""Kind, outlines [n, k, 2] in fixed point, a colour for each frame."""


def _compose(cameras: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Camera after place: [n, 2, 3]."""
    result = np.empty_like(cameras)
    for column in range(3):
        for row in range(2):
            result[:, row, column] = cameras[:, row, 0] * place[0, column] + cameras[:, row, 1] * place[1, column]
    result[:, :, 2] += cameras[:, :, 2]
    return result


def _paint(frame: Image, strokes: list[_Drawn], index: int) -> None:
    for kind, points, colours in strokes:
        colour = colours[index]
        if kind == "convex":
            paint.fill_convex(frame, points[index], colour)
        elif kind == "fill":
            paint.fill(frame, points[index], colour)
        else:
            paint.line(frame, points[index], colour, kind == "ring")


def _blend(frame: Image, head: portrait.Portrait, matrix: NDArray[np.float64]) -> None:
    """Lay the head over the frame: `matrix` [2, 3] maps the head's pixels to the frame's."""
    height, width = head.hole.shape[:2]
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    size = frame.shape[0]
    left, top = (max(0, int(np.floor(corners[axis].min()))) for axis in (0, 1))
    right, bottom = (min(size, int(np.ceil(corners[axis].max()))) for axis in (0, 1))
    if right <= left or bottom <= top:
        return
    moved = matrix.copy()
    moved[:, 2] -= (left, top)
    shape = (right - left, bottom - top)
    picture = cv2.warpAffine(head.picture, moved, shape, None, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT, (0, 0, 0))
    hole = cv2.warpAffine(head.hole, moved, shape, None, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT, (255, 255, 255))
    area = frame[top:bottom, left:right]
    cv2.multiply(area, hole, area, 1.0 / 255.0)
    cv2.add(area, picture, area)
