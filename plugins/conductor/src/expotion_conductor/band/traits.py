"""What a caption can say of a piece: its traits. Words stand for their values; every value changes the music."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from expotion_conductor.band.draw import Draw
from expotion_conductor.band.instruments import INSTRUMENTS, KITS, NO_DRUMS
from expotion_conductor.band.styles import STYLES, STYLES_BY_NAME
from expotion_conductor.band.words import SCENES

MOODS: Mapping[str, Mapping[str, object]] = {
    "happy": {"mood_valence": 0.85, "mode": "major", "touch": "normal", "register": "middle"},
    "sad": {"mood_valence": 0.15, "mode": "minor", "touch": "long", "motion": "stepwise"},
    "calm": {"mood_valence": 0.65, "touch": "long", "motion": "stepwise", "ornament": "plain"},
    "dramatic": {"mood_valence": 0.25, "mode": "minor", "register": "low", "motion": "leaping", "colour": "pad"},
    "dreamy": {"mood_valence": 0.65, "mode": "lydian", "space": "hall", "figure": "arpeggio", "register": "high"},
    "mysterious": {"mood_valence": 0.2, "mode": "phrygian", "space": "hall", "register": "low", "colour": "none"},
    "playful": {"mood_valence": 0.8, "mode": "major", "touch": "short", "motion": "leaping", "register": "high"},
    "romantic": {"mood_valence": 0.6, "touch": "long", "colour": "pad", "ornament": "ornamented"},
    "heroic": {"mood_valence": 0.75, "mode": "mixolydian", "motion": "leaping", "colour": "octaves"},
    "nostalgic": {"mood_valence": 0.4, "mode": "dorian", "space": "room", "motion": "stepwise"},
    "tense": {"mood_valence": 0.15, "mode": "phrygian", "touch": "short", "figure": "repeated"},
    "solemn": {"mood_valence": 0.3, "mode": "minor", "figure": "block", "register": "low", "touch": "long"},
}
"""What each mood sets."""

DOMAIN: Mapping[str, tuple[object, ...]] = {
    "register": ("low", "middle", "high"),
    "touch": ("short", "normal", "long"),
    "figure": ("of the style", "block", "arpeggio", "repeated", "pad"),
    "space": ("dry", "room", "hall"),
    "ornament": ("plain", "ornamented"),
    "motion": ("stepwise", "free", "leaping"),
    "colour": ("none", "octaves", "pad"),
    "syncopated": (False, True),
}
"""The values of the traits that no style draws; the middle or first is the usual one."""
_USUAL = {
    "register": "middle",
    "touch": "normal",
    "figure": "of the style",
    "space": "room",
    "ornament": "plain",
    "motion": "free",
    "colour": "octaves",
    "syncopated": False,
}
_SCENE_SHARE = 0.3
_OWN_LEAD = 0.35
_OWN_COMP = 0.2
_COLOURS = ("glockenspiel", "celesta", "flute", "violin", "clarinet", "vibraphone")
_PADS = ("string orchestra", "synth pad", "choir")


@dataclass(frozen=True)
class Traits:
    """What is true of a piece from its first to its last note."""

    style: str
    metre: str
    mode: str
    tonic: int
    mood: str
    mood_valence: float
    """Where the valence curve of the piece has its middle, 0..1."""
    lead: str
    comp: str
    bass: str
    kit: str
    colour: str
    colour_player: str
    register: str
    touch: str
    figure: str
    space: str
    ornament: str
    motion: str
    syncopated: bool
    scene: str = ""
    """A phrase of `words.SCENES` that set some of these, or none."""


def draw_traits(draw: Draw, style_name: str | None, fixed: Mapping[str, object], *, steady: bool) -> Traits:
    """Traits from a stream of draws; `fixed` sets some, `steady` asks for 3/4 or 4/4 and for drums."""
    scene, tells = draw.pick(tuple(SCENES)), draw.chance(_SCENE_SHARE)
    scene_style = str(SCENES[scene].get("style", ""))
    at_home = not style_name or style_name == scene_style or not scene_style
    if tells and not fixed and at_home and not (steady and scene_style and not _steady_metres(scene_style)):
        fixed = {**SCENES[scene], "scene": scene}
    wanted = style_name or str(fixed.get("style", "")) or None
    style = STYLES_BY_NAME[wanted or draw.pick([s.name for s in STYLES if not steady or _steady_metres(s.name)])]
    metres = _steady_metres(style.name) if steady else ()
    metre = draw.pick(metres or list(style.grooves))
    mood = draw.pick(tuple(MOODS))
    leads = tuple(i.name for i in INSTRUMENTS.values() if i.family != "bass")
    lead = draw.pick(leads if draw.chance(_OWN_LEAD) else style.leads)
    comps = ("piano", "harp", "string orchestra", "nylon guitar", "electric piano", "marimba", "accordion")
    comp = draw.pick(comps if draw.chance(_OWN_COMP) else style.comps)
    kits = [k for k in style.kits if not (steady and k == NO_DRUMS)] or list(KITS)
    values: dict[str, object] = {
        name: draw.pick(domain) if draw.chance(0.25) else _USUAL[name] for name, domain in DOMAIN.items()
    }
    values |= {"mode": draw.pick(style.modes), "tonic": draw.below(12), "lead": lead, "comp": comp}
    values |= {"bass": draw.pick(style.basses), "kit": draw.pick(kits)}
    values |= {name: value for name, value in MOODS[mood].items()}
    pad, doubling = draw.pick(_PADS), draw.pick(_COLOURS)
    traits = Traits(style=style.name, metre=metre, mood=mood, colour_player="", **values)  # type: ignore[arg-type]
    traits = with_traits(traits, {k: v for k, v in fixed.items() if k != "style"})
    if traits.lead == doubling:
        doubling = _COLOURS[(_COLOURS.index(doubling) + 1) % len(_COLOURS)]
    return replace(traits, colour_player=pad if traits.colour == "pad" else doubling)


def _steady_metres(style: str) -> tuple[str, ...]:
    return tuple(metre for metre in STYLES_BY_NAME[style].grooves if metre in ("3/4", "4/4"))


def with_traits(traits: Traits, fixed: Mapping[str, object]) -> Traits:
    """The same with some traits set; a mood brings what it sets, unless that is set too."""
    mood = fixed.get("mood")
    return replace(traits, **({**MOODS[str(mood)], **fixed} if mood else dict(fixed)))  # type: ignore[arg-type]
