"""The four things that a scene says of its music, and a fixed reader that takes them from any words.

    mood        the quadrant of valence and intensity (Russell 1980), means of their true curves, parted at 0.5:
                joyful, tender, dark, sorrowful; without a curve of valence, the family of the mood that is named
    energy      gentle, moderate or strong: the mean intensity, below 0.43, between, from 0.57
    tempo       slow, medium or fast: below 90 BPM, between, from 125
    style       a genre of the world's band

The reader looks for the phrases of `lexicon.py`, longest first, whole words only, each word once; what is
denied ("no", "without", "not") does not count. Of one kind the value with most phrases is read, none where two
have as many.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import numpy as np

from expotion.contracts import Truth
from expotion_caption_musiscene import lexicon
from expotion_caption_musiscene.judge import tempo_class
from expotion_caption_musiscene.lexicon import VALUES
from expotion_caption_musiscene.words import denied

KINDS = tuple(VALUES)
GENTLE_BELOW, STRONG_FROM = 0.43, 0.57
MIDDLE = 0.5
QUADRANTS = {(True, True): "joyful", (True, False): "tender", (False, False): "sorrowful", (False, True): "dark"}
"""(bright, strong) -> mood."""

Classes = dict[str, str]
"""Kind -> value; kinds that are not known or not said are left out."""


@cache
def _phrases() -> list[tuple[re.Pattern[str], str, str]]:
    found: dict[str, tuple[str, str]] = {}
    tables = {
        "mood": (lexicon.WEATHER, lexicon.FEELINGS, lexicon.MOODS_NAMED),
        "energy": (lexicon.VOICES, lexicon.ENERGIES_NAMED),
        "tempo": (lexicon.MOVES, lexicon.TEMPI_NAMED),
    }
    for kind, parts in tables.items():
        for value in VALUES[kind]:
            found |= {phrase: (kind, value) for part in parts for phrase in part[value]}
    for value, groups in lexicon.STYLES.items():
        found |= {phrase: ("style", value) for group in groups for phrase in group}
    ordered = sorted(found, key=lambda phrase: (-len(phrase), phrase))
    return [(re.compile(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])"), *found[phrase]) for phrase in ordered]


def read(text: str) -> Classes:
    """What words say of mood, energy, tempo and style."""
    plain = " ".join(text.casefold().split())
    votes: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for pattern, kind, value in _phrases():
        for found in reversed(list(pattern.finditer(plain))):
            votes[kind][value] += not denied(plain[: found.start()])
            plain = plain[: found.start()] + "\0" * len(found.group()) + plain[found.end() :]
    said: Classes = {}
    for kind, counted in votes.items():
        ranked = [pair for pair in counted.most_common(2) if pair[1]]
        if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
            said[kind] = ranked[0][0]
    return said


def true_of(truth: Truth | None) -> Classes:
    """What is true of a clip, as far as its truth tells: valence, intensity, tempo, traits named mood and style."""
    if truth is None:
        return {}
    named = read(" ".join((truth.traits or {}).get(kind, "") for kind in ("mood", "style")))
    true: Classes = {kind: named[kind] for kind in ("mood", "style") if kind in named}
    if truth.tempo_bpm is not None:
        true["tempo"] = tempo_class(truth.tempo_bpm)
    if len(truth.intensity):
        mean = float(np.mean(truth.intensity))
        true["energy"] = "gentle" if mean < GENTLE_BELOW else "strong" if mean >= STRONG_FROM else "moderate"
        if truth.valence is not None and len(truth.valence):
            true["mood"] = QUADRANTS[float(np.mean(truth.valence)) >= MIDDLE, mean >= MIDDLE]
    return true
