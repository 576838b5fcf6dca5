"""What somebody does to music, and when: parts of the body, on which beats, how early or late, how evenly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from expotion_conductor.band.draw import Draw

Role = Literal["beats", "phrases", "free", "still"]
"""Marks beats; moves over bars and phrases; gestures at any time; does hardly anything."""
Part = Literal[
    "nod", "tilt", "sway", "bounce", "shoulders", "one hand", "both hands", "conduct", "fingers", "clap", "drums",
    "guitar", "piano", "violin", "float", "point", "reach", "still",
]  # fmt: skip
Feel = Literal["every beat", "every second beat", "downbeats", "phrase ends"]

BODY: tuple[Part, ...] = ("nod", "tilt", "sway", "bounce", "shoulders")
HANDS: tuple[Part, ...] = (
    "one hand", "both hands", "conduct", "fingers", "clap", "drums", "guitar", "piano", "violin"
)  # fmt: skip
_ROLES: dict[Role, float] = {"beats": 0.62, "phrases": 0.14, "free": 0.15, "still": 0.09}
_FEELS: dict[Feel, float] = {"every beat": 0.66, "every second beat": 0.22, "downbeats": 0.12}


@dataclass(frozen=True)
class Habits:
    """How one person moves.

    `segments` are what is done in stretches of `segment_bars` bars, in turn; each is a set of parts. Who `beats`
    marks beats `lead_s` before (or, below 0, after) they sound, with 1/f deviations of `jitter_s`.
    """

    role: Role
    segments: tuple[tuple[Part, ...], ...]
    segment_bars: int
    feel: Feel
    shift: int
    """Which of every second beat."""
    lead_s: float
    jitter_s: float
    size: float
    """Of all movement; 1 is usual."""
    sharp: float
    """0 swings smoothly, 1 strikes and rebounds."""
    accent: float
    """How much stronger downbeats are."""
    arousal: float
    """How far arousal drives the size, 0..1."""
    side: int
    """The picture's side of the hand that leads."""
    height: float
    """Where the hands move: shoulder widths below the shoulders."""
    keeps_on: bool
    """Goes on in rests."""

    @property
    def beats(self) -> bool:
        """Whether beats are marked, more than at ends of phrases."""
        return self.role == "beats"


def draw_habits(seed: int, role: Role | None = None) -> Habits:
    """Draw how somebody moves; `role` fixes what for."""
    draw = Draw(seed, 21)
    drawn = draw.weighed(_ROLES)
    role = role or drawn
    count = 1 if draw.chance(0.6) else 2
    segments = tuple(_segment(Draw(seed, 22, i), role) for i in range(count))
    asynchrony = draw.random()
    lead_s = draw.between(-0.01, 0.05)  # on the beat, as people tap: a little early
    if asynchrony < 0.15:
        lead_s = draw.between(0.06, 0.15)
    elif asynchrony < 0.3:
        lead_s = draw.between(-0.15, -0.06)
    return Habits(
        role=role,
        segments=segments,
        segment_bars=draw.pick((2, 4)),
        feel="phrase ends" if role == "phrases" else draw.weighed(_FEELS),
        shift=draw.below(2),
        lead_s=lead_s,
        jitter_s=draw.between(0.004, 0.025),
        size=draw.between(0.65, 1.35),
        sharp=draw.random(),
        accent=draw.between(0.0, 0.5),
        arousal=draw.between(0.4, 0.8),
        side=draw.below(2),
        height=draw.between(0.1, 0.75),
        keeps_on=draw.chance(0.3),
    )


def _segment(draw: Draw, role: Role) -> tuple[Part, ...]:
    if role == "still":
        return ("still",)
    if role == "free":
        return (draw.pick(("point", "reach", "reach")),)
    if role == "phrases":
        return ("float",)
    main = draw.pick(BODY) if draw.chance(0.42) else draw.pick(HANDS)
    parts = [main]
    if main in HANDS and draw.chance(0.45):
        parts.append(draw.pick(BODY))
    elif main in BODY and draw.chance(0.3):
        parts.append(draw.pick(tuple(one for one in BODY if one != main)))
    return tuple(parts)
