"""NAME=VALUE, as every command line option of that form reads it."""

from __future__ import annotations

from collections.abc import Sequence

from expotion.errors import Problem


def pair_of(text: str) -> tuple[str, str] | None:
    """Name and value, both stripped; None without an `=` or a name."""
    name, found, value = (part.strip() for part in text.partition("="))
    return (name, value) if found and name else None


def split_pairs(
    option: str, given: Sequence[str] | None, wanted: str, example: str, problems: list[Problem]
) -> dict[str, str]:
    """Values by name; what is no pair, has no value or comes twice is added to `problems`."""
    pairs: dict[str, str] = {}
    for text in given or ():
        name, value = pair_of(text) or ("", "")
        if not value:
            problems.append(Problem(f"{option} {text}", wanted, None, f"for example {option} {example}"))
        elif name in pairs:
            problems.append(Problem(f"{option} {text}", f"one value for {name}", f"{pairs[name]} before"))
        else:
            pairs[name] = value
    return pairs
