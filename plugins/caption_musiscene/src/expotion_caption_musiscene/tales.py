"""Scenes told by a grammar, from the mood, style, tempo class and energy of a piece.

Mood gives weather and feeling, style a place and people, tempo how they move, energy how loudly. A scene is
drawn from the four classes of a piece and a generator. Orders of a sentence come in two sets: one for training
and one that no model is trained on, in the same words, which tests whether it understands words or remembers
sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np

from expotion_caption_musiscene import lexicon

FORMS = (
    "{people} {move} in {place} {weather}, {feeling} and {voice}.",
    "{weather}, {people} {move} in {place}: {voice}, {feeling}.",
    "a {feeling} evening in {place}: {people} {move} {weather}, {voice}.",
    "it is a film: {place}, {weather}; {people} {move}, {voice} and {feeling}.",
    "{voice}, {people} {move} {weather}, as if all of {place} is {feeling}.",
    "in {place}, {voice}, {people} {move}; the evening {weather} is {feeling}.",
)
HELD_OUT_FORMS = (
    "it is {feeling} in {place}: {people} {move}, {voice}, {weather}.",
    "{people}, {feeling}, {move} {voice}; {weather}, all of {place}.",
    "{place}. {weather}, {voice}, the {people} {move}; a {feeling} film.",
)
LONGEST = 56
"""Tokens of a scene at most."""
PAD, BEGIN, END = 0, 1, 2

_TOKEN = re.compile(r"[\w'-]+|[.,:;]")


def tell(
    classes: Mapping[str, str], rng: np.random.Generator, *, held_out: bool = False, form: int | None = None
) -> str:
    """A scene of mood, energy, tempo and style; `held_out` takes an order of words never trained on.

    What is not known of the four is drawn.
    """
    known = {kind: classes.get(kind) or _one(values, rng) for kind, values in lexicon.VALUES.items()}
    forms = HELD_OUT_FORMS if held_out else FORMS
    chosen = forms[int(rng.integers(len(forms))) if form is None else form]
    places, people, _ = lexicon.STYLES[known["style"]]
    tables = {
        "weather": lexicon.WEATHER[known["mood"]],
        "feeling": lexicon.FEELINGS[known["mood"]],
        "move": lexicon.MOVES[known["tempo"]],
        "voice": lexicon.VOICES[known["energy"]],
        "place": places,
        "people": people,
    }
    return spaced(chosen.format(**{name: _one(table, rng) for name, table in tables.items()}))


def _one(phrases: Sequence[str], rng: np.random.Generator) -> str:
    return phrases[int(rng.integers(len(phrases)))]


def tokens_of(text: str) -> list[str]:
    """Words and points of a text, in small letters."""
    return _TOKEN.findall(text.casefold())


def spaced(text: str | Sequence[str]) -> str:
    """One line with no space before a point, `an` before a vowel, and sentences that begin with a capital."""
    tokens = tokens_of(text) if isinstance(text, str) else list(text)
    words = [
        ("an" if after[:1] in "aeiou" else "a") if word in ("a", "an") else word
        for word, after in zip(tokens, [*tokens[1:], ""], strict=True)
    ]
    line = re.sub(r" (?=[.,:;])", "", " ".join(words))
    return re.sub(r"(?:^|(?<=\. ))[a-z]", lambda found: found.group().upper(), line)


def _all_words() -> Iterator[str]:
    for table in (lexicon.WEATHER, lexicon.FEELINGS, lexicon.MOVES, lexicon.VOICES):
        for phrases in table.values():
            yield from phrases
    for places, people, _ in lexicon.STYLES.values():
        yield from (*places, *people)
    yield from (re.sub(r"\{\w+\}", " ", form) for form in FORMS)
    yield "an"


@cache
def vocabulary() -> tuple[str, ...]:
    """Every token of the grammar, behind padding, begin and end."""
    return ("", "<", ">", *sorted({token for text in _all_words() for token in tokens_of(text)}))


@cache
def _numbers() -> dict[str, int]:
    return {token: i for i, token in enumerate(vocabulary())}


def encode(text: str) -> list[int]:
    """Numbers of a text's tokens and of the end; KeyError for a token that the grammar has not."""
    return [_numbers()[token] for token in tokens_of(text)] + [END]


def decode(numbers: Sequence[int]) -> str:
    """The text of numbers, to the end."""
    kept = []
    for number in numbers:
        if number == END:
            break
        kept.append(vocabulary()[number])
    return spaced(kept)
