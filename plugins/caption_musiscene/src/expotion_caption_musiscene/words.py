"""What the words of a caption claim of the music: a fixed reader, the same for people's captions and for models'.

A claim is a kind and a value, as (tempo, slow) or (instrument, piano). Words that stand for a value are listed
here once; the longest that fits is taken, whole words only. A word that is denied ("no drums", "without a
piano", "not sad") claims nothing: what is absent is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Claim = tuple[str, str]
"""(kind, value)."""

READ: Mapping[str, Mapping[str, str]] = {
    "mood": {
        "happy": "happy|cheerful|joyful|joyous|merry|playful|upbeat|festive|sunny",
        "sad": "sad|sorrowful|melancholy|melancholic|mournful|tearful|grieving|lonely",
        "calm": "calm|peaceful|tranquil|serene|relaxed|relaxing|soothing|restful",
        "dramatic": "dramatic|epic|heroic|intense|powerful|thrilling|stormy",
        "dreamy": "dreamy|dreamlike|ethereal|floating|hazy|enchanted",
        "mysterious": "mysterious|eerie|suspenseful|ominous|secretive|uncanny|haunting",
    },
    "tempo": {
        "slow": "slow|slowly|slow-paced|unhurried|leisurely|adagio|largo",
        "medium": "moderate|medium tempo|mid-tempo|medium-paced|moderately paced|andante|walking pace",
        "fast": "fast|quick|rapid|fast-paced|brisk|hurried|racing|allegro|presto",
    },
    "instrument": {
        "piano": "piano|pianist",
        "strings": "strings|violin|violins|cello|cellos|viola|string section|string quartet",
        "organ": "organ",
        "marimba": "marimba|xylophone|mallets",
        "flute": "flute|flutist",
        "synth lead": "synth lead|synth|synthesizer|synthesiser|synths",
        "guitar": "guitar|guitars|guitarist",
        "brass": "brass|trumpet|trumpets|trombone|horn|horns",
        "voice": "vocals|singer|singing|choir",
    },
}
"""Kind -> value -> the words that claim it."""

_DENIED = re.compile(r"\b(?:no|not|without|never|lacks|lacking|n't)(?:\s+(?:a|an|any|the|very|at all))*\s*$")
_PATTERNS = {
    (kind, value): re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")
    for kind, values in READ.items()
    for value, words in values.items()
}


def claims_of(text: str) -> frozenset[Claim]:
    """What a caption claims; nothing for an empty one."""
    plain = " ".join(text.casefold().split())
    return frozenset(
        claim
        for claim, pattern in _PATTERNS.items()
        if any(not denied(plain[: found.start()]) for found in pattern.finditer(plain))
    )


def denied(before: str) -> bool:
    """Whether what follows these words is said not to be."""
    return _DENIED.search(before) is not None
