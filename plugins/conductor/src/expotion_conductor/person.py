"""Who conducts and how the camera sees it: everything about a clip's looks that does not move.

Lengths are in frame sides (1.0 = the picture's width = its height), head measures in half face widths,
angles in radians, colours in linear RGB 0..255 before the light falls on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[int, int, int]

SKINS: tuple[Colour, ...] = (
    (234, 196, 168), (228, 186, 156), (228, 180, 146), (212, 160, 122),
    (190, 136, 98), (160, 110, 78), (130, 88, 62), (104, 70, 52),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (28, 24, 24), (52, 36, 28), (84, 54, 34), (122, 78, 44),
    (176, 124, 66), (205, 168, 104), (150, 62, 34), (128, 124, 120), (176, 172, 166),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (
    (30, 31, 38), (40, 44, 66), (62, 58, 60), (96, 34, 44), (36, 74, 78),
    (122, 116, 104), (70, 88, 120), (150, 70, 52), (54, 90, 62), (196, 186, 170), (88, 60, 104),
)  # fmt: skip
SHIRTS: tuple[Colour, ...] = ((240, 240, 238), (222, 230, 242), (244, 228, 214), (58, 58, 66), (200, 208, 196))
TIES: tuple[Colour, ...] = ((24, 24, 28), (130, 24, 36), (32, 52, 110), (196, 150, 48), (96, 44, 92))

HairStyle = Literal["short", "side", "curly", "bob", "long", "bun", "bald", "receding"]
HAIR_STYLES: tuple[HairStyle, ...] = ("short", "side", "curly", "bob", "long", "bun", "bald", "receding")
Outfit = Literal["suit", "bow_tie", "turtleneck", "shirt", "v_neck"]
OUTFITS: tuple[Outfit, ...] = ("suit", "bow_tie", "turtleneck", "shirt", "v_neck")
Backdrop = Literal["wall", "hall", "curtain", "window", "shelves", "studio"]
BACKDROPS: tuple[Backdrop, ...] = ("wall", "hall", "curtain", "window", "shelves", "studio")


@dataclass(frozen=True)
class Person:
    """Looks and habits of one conductor. See the module for units."""

    skin: Colour
    hair: Colour
    hair_style: HairStyle
    clothes: Colour
    shirt: Colour
    tie: Colour
    outfit: Outfit
    iris: Colour
    glasses: bool
    beard: float  # 0 none .. 1 full
    left_handed: bool
    build: float  # 0.9 slim .. 1.12 broad
    face_half_width: float
    face_length: float  # 0.94 round .. 1.08 long
    jaw: float  # 0.86 narrow .. 1.0 square
    eye_gap: float
    brow_weight: float
    brow_slant: float  # > 0: the inner ends rise with intensity, < 0: they frown
    mouth_width: float
    smile: float
    reach: float
    mirror: float  # how far the free hand mirrors the beating hand, 0..1
    wrist_lag_s: float
    sway: float
    baton_length: float


@dataclass(frozen=True)
class Camera:
    """Framing, drift, light and sensor of one clip; `phases` [6] are the drift's random phases."""

    zoom: float
    offset: tuple[float, float]
    roll: float
    drift: float  # 0 on a tripod .. 1 in the hand
    phases: tuple[float, ...]
    backdrop: Backdrop
    wall: Colour
    accent: Colour
    tint: tuple[float, float, float]
    light_side: float  # -1 from the picture's left .. 1 from its right
    light_fall: float  # 0 even .. 1 strong side light
    vignette: float
    noise: float  # standard deviation in 8-bit steps
    layout_seed: int


def _pick(rng: np.random.Generator, table: tuple[Colour, ...]) -> Colour:
    colour = np.array(table[int(rng.integers(len(table)))]) + rng.integers(-8, 9, 3)
    red, green, blue = (int(value) for value in np.clip(colour, 8, 252))
    return red, green, blue


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def make_person(seed: int) -> Person:
    """A person drawn from `seed`; the same seed gives the same person on every machine."""
    rng = np.random.default_rng([seed, 1])
    style = HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))]
    beard = 0.0 if style in ("bob", "long", "bun") else float(rng.choice([0.0, 0.0, 0.35, 0.7, 1.0]))
    iris = _pick(rng, ((74, 50, 32), (52, 84, 120), (70, 96, 60), (40, 30, 24)))
    return Person(
        skin=_pick(rng, SKINS),
        hair=_pick(rng, HAIRS),
        hair_style=style,
        clothes=_pick(rng, CLOTHES),
        shirt=_pick(rng, SHIRTS),
        tie=_pick(rng, TIES),
        outfit=OUTFITS[int(rng.integers(len(OUTFITS)))],
        iris=iris,
        glasses=_chance(rng, 0.22),
        beard=beard,
        left_handed=_chance(rng, 0.15),
        build=float(rng.uniform(0.9, 1.12)),
        face_half_width=float(rng.uniform(0.117, 0.127)),
        face_length=float(rng.uniform(0.95, 1.07)),
        jaw=float(rng.uniform(0.86, 1.0)),
        eye_gap=float(rng.uniform(0.40, 0.455)),
        brow_weight=float(rng.uniform(0.85, 1.35)),
        brow_slant=float(rng.uniform(-0.10, 0.10)),
        mouth_width=float(rng.uniform(0.40, 0.50)),
        smile=float(rng.uniform(-0.02, 0.07)),
        reach=float(rng.uniform(0.88, 1.12)),
        mirror=float(rng.choice([0.25, 0.5, 0.8, 1.0])),
        wrist_lag_s=float(rng.uniform(0.02, 0.05)),
        sway=float(rng.uniform(0.3, 1.0)),
        baton_length=float(rng.uniform(0.17, 0.23)),
    )


def make_camera(seed: int) -> Camera:
    """A camera, a place and a light drawn from `seed`."""
    rng = np.random.default_rng([seed, 2])
    warmth = float(rng.uniform(-0.6, 1))
    level = float(rng.uniform(0.86, 1.06))
    handheld = _chance(rng, 0.6)
    return Camera(
        zoom=float(rng.uniform(0.94, 1.08)),
        offset=(float(rng.uniform(-0.03, 0.03)), float(rng.uniform(-0.015, 0.02))),
        roll=float(np.clip(rng.normal(0, 0.022), -0.05, 0.05)),
        drift=float(rng.uniform(0.3, 1.0)) if handheld else 0.0,
        phases=tuple(float(value) for value in rng.uniform(0, 2 * np.pi, 6)),
        backdrop=BACKDROPS[int(rng.integers(len(BACKDROPS)))],
        wall=_pick(
            rng, ((150, 160, 168), (176, 158, 136), (110, 128, 140), (96, 84, 92), (132, 150, 128), (190, 186, 178))
        ),
        accent=_pick(rng, ((170, 60, 48), (60, 96, 150), (204, 164, 84), (70, 120, 96), (120, 76, 130))),
        tint=(level * (1 + 0.07 * warmth), level, level * (1 - 0.09 * warmth)),
        light_side=float(rng.choice([-1.0, 1.0])) * float(rng.uniform(0.3, 1.0)),
        light_fall=float(rng.uniform(0.05, 0.32)),
        vignette=float(rng.uniform(0.0, 0.3)),
        noise=float(rng.uniform(0.5, 4.0)),
        layout_seed=int(rng.integers(2**31)),
    )
