"""Another camera for rendered pictures: framing, shake, exposure, noise, as warps of pictures and of their flow.

Where a picture ends its edge goes on, as the conductor world's backdrop does. The camera is the people's world's
(`expotion_conductor.people.shot`), with more shake, and drawn as it comes for a part of the segments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion_conductor.people.shot import CHANGES, Shot, draw_shot
from expotion_motion_synchformer.place import Square, square_at

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]

AS_DRAWN = CHANGES["as drawn"]
DRAWN_SHARE, SHAKEN_SHARE, NOISY_SHARE, LOW_SHARE = 0.25, 0.35, 0.4, 0.2
SHAKE = (0.003, 0.026)
NOISE = (0.5, 6.0)
LOW = ((0.0, 0.0), (1.0, 1.25), (0.1, 0.26))
"""Offset and zoom of who sits so low that the hands are seldom in the picture."""
AGAIN_ZOOM = (0.75, 1.3)
NEARLY = (0.05, 0.15)
"""A square is moved by up to this part of its side and made larger or smaller by up to that."""
_TILE = 16


@dataclass(frozen=True)
class Framing:
    """What a camera did: picture to picture in pixels [n, 2, 3], brightness [n], the noise's deviation."""

    matrices: Floats
    gains: Floats
    noise: float

    @property
    def still(self) -> bool:
        """Whether every pixel stays where it is."""
        return bool((self.matrices == np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).all())


def framing(shot: Shot, times_s: Floats, side_px: int, noise: float = 0.0) -> Framing:
    """A shot at these times [n] for pictures of this side."""
    matrices = shot.matrices(times_s)
    matrices[:, :, 2] *= side_px
    return Framing(matrices, shot.gains(times_s), noise)


def changed(change: str, seed: int, n_frames: int, fps: float, side_px: int) -> Framing:
    """A named change of framing of a whole clip."""
    shot = replace(CHANGES[change](draw_shot(seed)), exposure=0.0, flicker=0.0)
    return framing(shot, np.arange(n_frames) / fps, side_px)


def draw_framing(rng: np.random.Generator, n_frames: int, fps: float, side_px: int, *, framed: bool) -> Framing:
    """A camera for one segment; `framed`: the pictures have a framing already, which changes a little."""
    shot = draw_shot(int(rng.integers(2**31)))
    if rng.random() < DRAWN_SHARE:
        shot = AS_DRAWN(shot)
    elif framed:
        low, high = np.log(AGAIN_ZOOM)
        x, y = shot.offset
        shot = replace(shot, zoom=float(np.exp(rng.uniform(low, high))), offset=(0.4 * x, 0.4 * y), roll=0.0)
    elif rng.random() < LOW_SHARE:
        shot = replace(shot, offset=(shot.offset[0], rng.uniform(*LOW[2])), zoom=rng.uniform(*LOW[1]))
    if rng.random() < SHAKEN_SHARE:
        shot = replace(shot, shake=rng.uniform(*SHAKE))
    noise = rng.uniform(*NOISE) if rng.random() < NOISY_SHARE else 0.0
    return framing(shot, rng.uniform(0.0, 60.0) + np.arange(n_frames) / fps, side_px, noise)


def reframe(pictures: Image, seen: Framing, rng: np.random.Generator | None = None) -> Image:
    """Pictures uint8 [n, S, S, 3] as this camera sees them."""
    size = pictures.shape[1]
    out = np.empty_like(pictures)
    for i, picture in enumerate(pictures):
        if seen.still:
            out[i] = picture
        else:
            border = cv2.BORDER_REPLICATE
            cv2.warpAffine(picture, seen.matrices[i], (size, size), out[i], cv2.INTER_LINEAR, border)
        if abs(seen.gains[i] - 1.0) > 1e-3:
            cv2.convertScaleAbs(out[i], out[i], float(seen.gains[i]), 0.0)
        if seen.noise and rng is not None:
            more, less = _noise(size, round(2 * seen.noise))
            y, x = rng.integers(0, _TILE, 2)
            cv2.add(out[i], more[y : y + size, x : x + size], out[i])
            cv2.subtract(out[i], less[y : y + size, x : x + size], out[i])
    return out


@lru_cache(maxsize=32)
def _noise(size: int, level: int) -> tuple[Image, Image]:
    side = size + _TILE
    values = np.rint(np.random.default_rng([size, level]).standard_normal((side, side, 3)) * level / 2)
    return np.maximum(values, 0).astype(np.uint8), np.maximum(-values, 0).astype(np.uint8)


def nearly(square: Square, length: int, rng: np.random.Generator) -> Square:
    """A square beside this one, so that nothing is learned of where exactly it was put."""
    x, y = (at + square.side * (0.5 + rng.uniform(-NEARLY[0], NEARLY[0])) for at in (square.left, square.top))
    side = square.side * np.exp(rng.uniform(-NEARLY[1], NEARLY[1])) / length
    return square_at(x / length, y / length, float(np.clip(side, 0.2, 1.0)), length)


def reflow(
    flow: NDArray[np.float32], seen: Framing, square: Square, length: int, image: int
) -> NDArray[np.float32]:
    """Cells of flow [t, 2, c, c] in pictures of `length` pixels -> in the encoder's picture and its pixels.

    Flow f at place p goes to k A f + k (M' - M) p at M p, M and M' the camera at a tubelet's two frames.
    """
    tubelets, _, cells, _ = flow.shape
    scale, cell_px = image / square.side, length / cells
    crop = np.array([[scale, 0.0, -scale * square.left], [0.0, scale, -scale * square.top]])
    first, second = seen.matrices[0::2], seen.matrices[1::2]
    out = np.empty_like(flow)
    grid = (np.arange(cells) + 0.5) * (image / cells)
    places = np.stack(np.meshgrid(grid, grid, indexing="xy"), axis=-1)  # [c, c, (x, y)] in the encoder's picture
    for i in range(tubelets):
        turn = first[i, :, :2]
        back = np.linalg.inv(scale * turn)
        source = (places - crop[:, 2] - scale * first[i, :, 2]) @ back.T  # in the rendered picture
        at = (source / cell_px - 0.5).astype(np.float32)
        found = cv2.remap(
            np.ascontiguousarray(flow[i].transpose(1, 2, 0)), at[..., 0], at[..., 1], cv2.INTER_LINEAR, None,
            cv2.BORDER_REPLICATE,
        )  # fmt: skip
        shaken = source @ (second[i, :, :2] - turn).T + (second[i, :, 2] - first[i, :, 2])
        out[i] = (scale * (found @ turn.T + shaken)).transpose(2, 0, 1)
    return out
