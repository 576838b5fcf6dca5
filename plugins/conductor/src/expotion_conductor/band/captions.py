"""Captions of pieces: which traits are named, in which words, in which order.

A caption names some of a piece's traits and never tempo or loudness. Orders of a sentence come in two sets, one for
training and one that is kept for testing whether words are understood in sentences never trained on.
"""

from __future__ import annotations

import re

from expotion_conductor.band import words
from expotion_conductor.band.draw import Draw
from expotion_conductor.band.harmony import TONICS
from expotion_conductor.band.instruments import INSTRUMENTS, NO_DRUMS
from expotion_conductor.band.traits import Traits

FORMS = (
    "{details} {mood} {style} music {lead_with} {others} {key} {scene}",
    "a {mood} {details} {style} piece {lead_for} {others} {key} {scene}",
    "{lead_playing} {mood} {style} music {details_comma} {key} {others} {scene}",
    "{scene_first} {mood} {style} {details} music {lead_with} {key} {others}",
    "{mood} {style} {lead_with} {others} {details_comma} {scene}",
    "a {style} tune {key} {lead_on} {mood_comma} {details_comma} {scene} {others}",
)
HELD_OUT_FORMS = (
    "music {scene} {mood_comma} {details_comma} {lead_with} {style_comma} {key}",
    "{lead_for_bare} a {details} {mood} {style} song {others} {key} {scene}",
    "{others_bare} {lead_and} {style} {details} {mood} music {scene} {key}",
)


def caption_of(traits: Traits, draw: Draw, *, held_out: bool = False) -> str:
    """A caption of a piece, the same for the same draws; `held_out` takes an order of words never trained on."""
    mood, style, lead, details, others, key, scene = _said(traits, draw)
    parts = {
        "mood": mood,
        "mood_comma": f", {mood}" if mood else "",
        "style": style,
        "style_comma": f", {style}" if style else "",
        "details": " ".join(details),
        "details_comma": "".join(f", {one}" for one in details),
        "lead_with": lead and f"with {lead}",
        "lead_for": lead and f"for {lead}",
        "lead_for_bare": lead and f"{lead} in",
        "lead_on": lead and f"played on {lead}",
        "lead_playing": lead and f"{lead} playing",
        "lead_and": lead and f"and {lead} in",
        "others": others and f"over {others}",
        "others_bare": others,
        "key": key and f"in {key}",
        "scene": scene and f", like {scene}",
        "scene_first": scene and f"{scene} :",
    }
    text = draw.pick(HELD_OUT_FORMS if held_out else FORMS).format(**parts)
    text = " ".join(text.split()).replace(" ,", ",").replace(" :", ":").lstrip(", ")
    return re.sub(r"\ba (?=[aeio])", "an ", text)


def _said(traits: Traits, draw: Draw) -> tuple[str, str, str, list[str], str, str, str]:
    """Mood, style, lead, details, other players, key and scene as they are named; empty where they are not."""
    scene = traits.scene if draw.chance(0.9) else ""
    mood = draw.pick(words.MOOD_WORDS[traits.mood]) if draw.chance(0.3 if scene else 0.75) else ""
    style = draw.pick(words.STYLE_WORDS[traits.style]) if draw.chance(0.65) else ""
    family = INSTRUMENTS[traits.lead].family
    name_family = draw.chance(0.12) and family in words.FAMILIES
    lead = draw.pick(words.FAMILIES[family] if name_family else words.PLAYERS[traits.lead])
    if not draw.chance(0.8) and (mood or style or scene):
        lead = ""
    described = [
        draw.pick(phrases)
        for (trait, value), phrases in words.DETAILS.items()
        if getattr(traits, trait) == value and draw.chance(0.4)
    ]
    others = []
    if draw.chance(0.2):
        others.append(draw.pick(words.PLAYERS[traits.comp]) + " chords")
    if draw.chance(0.12):
        bass = draw.pick(words.PLAYERS[traits.bass])
        others.append(bass if bass.endswith("bass") else f"{bass} bass line")
    if traits.kit != NO_DRUMS and draw.chance(0.2):
        others.append(draw.pick(words.KIT_WORDS[traits.kit]))
    key = f"{TONICS[traits.tonic]} {traits.mode}" if draw.chance(0.2) else ""
    return mood, style, lead, described[:2], " and ".join(others), key, scene
