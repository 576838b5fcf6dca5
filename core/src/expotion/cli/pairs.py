"""Options of the form NAME=VALUE that may be given several times."""

from __future__ import annotations

import math
from pathlib import Path

from expotion.errors import Problem


def split_pairs(
    option: str, given: list[str] | None, wanted: str, example: str, problems: list[Problem]
) -> dict[str, str]:
    """Values by name, both stripped; what is no pair or comes twice is added to `problems`."""
    pairs: dict[str, str] = {}
    for text in given or []:
        name, found, value = (part.strip() for part in text.partition("="))
        if not (name and found and value):
            problems.append(Problem(f"{option} {text}", wanted, None, f"for example {option} {example}"))
        elif name in pairs:
            problems.append(Problem(f"{option} {text}", f"one value for {name}", f"{pairs[name]} before"))
        else:
            pairs[name] = value
    return pairs


def numbers(
    option: str, given: list[str] | None, wanted: str, example: str, problems: list[Problem]
) -> dict[str, float]:
    """Pairs whose values are finite numbers of at least 0."""
    values = {}
    for name, text in split_pairs(option, given, wanted, example, problems).items():
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value >= 0.0:
            values[name] = value
        else:
            fix = f"for example {option} {example}"
            problems.append(Problem(f"{option} {name}={text}", "a number of at least 0", text, fix))
    return values


def controls(
    swapped: list[str] | None, muted: list[str] | None, problems: list[Problem]
) -> dict[str, Path | None]:
    """Clips by control of `--control`, and None for those of `--mute`."""
    pairs = split_pairs("--control", swapped, "NAME=CLIP", "motion=other.mp4", problems)
    chosen: dict[str, Path | None] = {name: Path(path) for name, path in pairs.items()}
    for name in muted or []:
        if name in pairs:
            problems.append(Problem(f"--mute {name}", "a control that --control does not set", pairs[name]))
        chosen[name] = None
    return chosen
