"""What somebody of the people's world looks like: limbs, skin, hair, clothes, room and light, from wide ranges.

Lengths are world units: 1 is the side of the picture at zoom 1. A person of average size has shoulders 0.344 wide
(40 cm), so that 1 cm is about 0.0086.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from expotion_conductor.band.draw import Draw
from expotion_conductor.person import BACKDROPS, HAIR_STYLES, OUTFITS, Camera, Colour, Person

SHOULDER_HALF = 0.172
"""Half the width of average shoulders; the trunk's drawing is made for it."""
_SKINS: tuple[Colour, ...] = (
    (250, 218, 196),
    (236, 196, 164),
    (212, 164, 126),
    (166, 118, 84),
    (112, 76, 54),
    (66, 46, 38),
)
_HAIRS: tuple[Colour, ...] = (
    (20, 18, 20), (48, 34, 28), (84, 56, 36), (134, 90, 52),
    (206, 170, 112), (156, 66, 36), (150, 148, 146), (228, 226, 222),
)  # fmt: skip


@dataclass(frozen=True)
class Limbs:
    """Lengths of one body in world units; `stout` 0.8 slim .. 1.4 broad scales the thickness of limbs and trunk."""

    shoulder_half: float
    shoulder_y: float
    trunk: float
    """From the shoulders to the hips."""
    upper_arm: float
    forearm: float
    hand: float
    """From the wrist to the tip of the middle finger."""
    neck: float
    """From the chin to the shoulders."""
    stout: float
    sleeve: float
    """How far the clothes reach down the arm: 0 none, 0.5 to the elbow, 1 to the wrist."""
    legs: Colour


@dataclass(frozen=True)
class Looks:
    """One person, in one place, in one light."""

    person: Person
    limbs: Limbs
    camera: Camera


def _between(draw: Draw, table: tuple[Colour, ...], spread: int) -> Colour:
    """A colour between two neighbours of a table, each channel off by up to `spread`."""
    at = draw.random() * (len(table) - 1)
    low = int(at)
    red, green, blue = (
        min(254, max(8, round(a + (b - a) * (at - low) + draw.between(-spread, spread))))
        for a, b in zip(table[low], table[low + 1], strict=True)
    )
    return red, green, blue


def _any(draw: Draw, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Any hue."""
    rgb = colorsys.hsv_to_rgb(draw.random(), draw.between(*saturation), draw.between(*value))
    red, green, blue = (round(255 * channel) for channel in rgb)
    return red, green, blue


def make_looks(seed: int) -> Looks:
    """Draw somebody; every part has draws of its own, so that a part that is added changes no other."""
    return Looks(_person(Draw(seed, 1)), _limbs(Draw(seed, 2)), _camera(Draw(seed, 3)))


def _person(draw: Draw) -> Person:
    style = draw.pick(HAIR_STYLES)
    beard = 0.0 if style in ("bob", "long", "bun") or draw.chance(0.6) else draw.between(0.2, 1.0)
    dyed = draw.chance(0.08)
    hair = _any(draw, (0.5, 1.0), (0.4, 1.0)) if dyed and not beard else _between(draw, _HAIRS, 14)
    plain = draw.chance(0.4)
    return Person(
        skin=_between(draw, _SKINS, 8),
        hair=hair,
        hair_style=style,
        clothes=_any(draw, (0.0, 0.25) if plain else (0.2, 0.9), (0.1, 0.95)),
        shirt=_any(draw, (0.0, 0.3), (0.6, 0.98)),
        tie=_any(draw, (0.3, 1.0), (0.1, 0.9)),
        outfit=draw.pick((*OUTFITS, "v_neck", "v_neck", "turtleneck", "shirt", "turtleneck")),
        iris=draw.pick(((74, 50, 32), (52, 84, 120), (70, 96, 60), (40, 30, 24), (110, 120, 130))),
        glasses=draw.chance(0.3),
        beard=beard,
        left_handed=draw.chance(0.15),
        build=1.0,
        face_half_width=draw.between(0.066, 0.088),
        face_length=draw.between(0.92, 1.1),
        jaw=draw.between(0.82, 1.02),
        eye_gap=draw.between(0.38, 0.46),
        brow_weight=draw.between(0.6, 1.5),
        brow_slant=0.0,
        mouth_width=draw.between(0.34, 0.5),
        smile=0.0,
        reach=1.0,
        mirror=1.0,
        wrist_lag_s=0.03,
        sway=1.0,
        baton_length=0.0,
    )


def _limbs(draw: Draw) -> Limbs:
    size = draw.between(0.88, 1.12)
    short = draw.random()
    return Limbs(
        shoulder_half=SHOULDER_HALF * size * draw.between(0.92, 1.08),
        shoulder_y=draw.between(0.5, 0.63),
        trunk=0.43 * size * draw.between(0.92, 1.08),
        upper_arm=0.25 * size * draw.between(0.9, 1.1),
        forearm=0.215 * size * draw.between(0.9, 1.1),
        hand=0.15 * size * draw.between(0.86, 1.14),
        neck=draw.between(0.035, 0.075),
        stout=draw.between(0.8, 1.38),
        sleeve=0.0 if short < 0.12 else draw.between(0.3, 0.6) if short < 0.45 else 1.0,
        legs=_any(draw, (0.0, 0.6), (0.1, 0.6)),
    )


def _camera(draw: Draw) -> Camera:
    warmth, level = draw.between(-1.0, 1.4), draw.between(0.62, 1.12)
    return Camera(
        zoom=1.0,
        offset=(0.0, 0.0),
        roll=0.0,
        drift=0.0,
        phases=(),
        backdrop=draw.pick(BACKDROPS),
        wall=_any(draw, (0.0, 0.5), (0.2, 0.95)),
        accent=_any(draw, (0.2, 0.9), (0.2, 0.95)),
        tint=(level * (1 + 0.09 * warmth), level, level * (1 - 0.11 * warmth)),
        light_side=draw.pick((-1.0, 1.0)) * draw.between(0.2, 1.0),
        light_fall=draw.between(0.0, 0.45),
        vignette=draw.between(0.0, 0.4),
        noise=draw.between(0.5, 4.0) if draw.chance(0.6) else draw.between(4.0, 11.0),
        layout_seed=draw.below(2**31),
    )
