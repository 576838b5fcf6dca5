"""Splits that do not leak, and the proof, computed again from the file that was written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expotion.errors import ExpotionError, Problem
from expotion.files import write_json
from expotion.manifest.rows import ManifestError, Row, Split, read_header, read_manifest, write_manifest
from expotion_corpus.match import linked

KEYS = ("recording", "song", "performer")
ALWAYS = ("file_sha256", "sound")
"""Two clips of one file, or of two files with the same sound, belong together whatever was asked."""

TOLERANCE = 2.0
"""A part may hold this many times what was asked, for the sake of whole groups."""


def tokens_of(row: Row, keys: Iterable[str]) -> list[tuple[str, str]]:
    """(field, value) pairs that tie a clip to others; a field that is not known ties nothing."""
    pairs = ((key, getattr(row, key)) for key in (*ALWAYS, *keys))
    return [(key, str(value).strip().casefold()) for key, value in pairs if value]


def components(rows: Sequence[Row], keys: Sequence[str]) -> list[list[int]]:
    """Positions of rows by connected component, largest first, then in the order of the rows."""
    first: dict[tuple[str, str], int] = {}
    ties = ((first.setdefault(token, i), i) for i, row in enumerate(rows) for token in tokens_of(row, keys))
    groups: dict[int, list[int]] = {}
    for i, group in enumerate(linked(len(rows), ties)):
        groups.setdefault(group, []).append(i)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]))


def assign(
    rows: Sequence[Row], keys: Sequence[str], test: float, validation: float, seed: int
) -> tuple[list[Row], list[list[int]]]:
    """Rows with their split, and the groups. `test` and `validation` are fractions of the duration.

    Groups are shuffled by the seed; each goes to the first part that it fits into, the rest to training. Raises
    ManifestError with the numbers where whole groups cannot make the parts.
    """
    if not (0 <= test < 1 and 0 <= validation < 1 and test + validation < 1 and test + validation > 0):
        wanted = "fractions from 0 to 1 with something left to train on"
        raise ManifestError(Problem("--test, --validation", wanted, f"{test} and {validation}"))
    groups = components(rows, keys)
    lengths_s = [sum(rows[i].duration_s for i in group) for group in groups]
    total_s = sum(lengths_s)
    asked: dict[Split, float] = {"test": test * total_s, "validation": validation * total_s}
    asked = {name: length_s for name, length_s in asked.items() if length_s > 0}
    if len(groups) < len(asked) + 1:
        raise ManifestError(_impossible(rows, groups, keys, f"{len(asked) + 1} groups"))
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(groups))]
    part: dict[int, Split] = {}
    for name, wanted_s in asked.items():
        filled_s = 0.0
        for g in order:
            if g not in part and filled_s < wanted_s and filled_s + lengths_s[g] <= wanted_s * 1.1:
                part[g], filled_s = name, filled_s + lengths_s[g]
        if filled_s == 0:  # no group is small enough: take the smallest one
            g = min((g for g in order if g not in part), key=lambda g: lengths_s[g])
            if lengths_s[g] > TOLERANCE * wanted_s and lengths_s[g] > 0.5 * total_s:
                raise ManifestError(_impossible(rows, groups, keys, f"a group of about {wanted_s:.0f} s"))
            part[g] = name
    if len(part) == len(groups):
        raise ManifestError(_impossible(rows, groups, keys, "a group left to train on"))
    split: dict[int, Split] = {i: part.get(g, "train") for g, group in enumerate(groups) for i in group}
    return [row.model_copy(update={"split": split[i]}) for i, row in enumerate(rows)], groups


def _impossible(rows: Sequence[Row], groups: Sequence[Sequence[int]], keys: Sequence[str], wanted: str) -> Problem:
    largest = groups[0]
    counts = {key: len({getattr(rows[i], key) for i in largest} - {None}) for key in keys}
    inside = ", ".join(f"{count} {key}s" for key, count in counts.items())
    got = f"{len(groups)} for {len(rows)} clips; the largest holds {len(largest)} clips ({inside})"
    fix = "add clips of other songs and performers, or give fewer keys with --by"
    return Problem("split", f"{wanted} that share nothing", got, fix)


def crossings(rows: Sequence[Row], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Every value that stands in more than one split: field, value, and clips by split."""
    found = shared((row.split or "none", row.id, token) for row in rows for token in tokens_of(row, keys))
    return [{"field": field, "value": value, "clips": parts} for (field, value), parts in found]


Token = tuple[str, str]


def shared(entries: Iterable[tuple[str, str, Token]]) -> list[tuple[Token, dict[str, list[str]]]]:
    """Of (part, clip, token) the tokens that stand in more than one part, sorted, each with its clips by part."""
    found: dict[Token, dict[str, list[str]]] = {}
    for part, clip, token in entries:
        found.setdefault(token, {}).setdefault(part, []).append(clip)
    return [(token, parts) for token, parts in sorted(found.items()) if len(parts) > 1]


def split_manifest(
    manifest: Path, out: Path, keys: Sequence[str], test: float, validation: float, seed: int
) -> dict[str, Any]:
    """Write a manifest with splits and `OUT.split.json`, the report; return the report."""
    rows, groups = assign(read_manifest(manifest), keys, test, validation, seed)
    if out.parent.resolve() != manifest.parent.resolve():
        folder = manifest.parent.resolve()
        rows = [row.model_copy(update={"path": str(folder / row.path)}) for row in rows]
    setting = {"by": list(keys), "test": test, "validation": validation, "seed": seed}
    header = {k: v for k, v in read_header(manifest).items() if k not in {"schema", "clips", "sha256", "split"}}
    write_manifest(out, rows, {**header, "split": setting})
    written = read_manifest(out)
    crossing = crossings(written, keys)
    if crossing:  # a fault of ours: say so rather than train on it
        raise ExpotionError(Problem(str(out), "no group in two splits", f"{len(crossing)} crossings"))
    parts = ("train", "validation", "test")
    report = {
        "settings": setting,
        "splits": {name: _counts([row for row in written if row.split == name], keys) for name in parts},
        "unknown": {key: sum(getattr(row, key) is None for row in written) for key in keys},
        "groups": [{"split": written[g[0]].split, "clips": [written[i].id for i in g]} for g in groups],
        "crossings": crossing,
    }
    write_json(out.with_suffix(".split.json"), report)
    return report


def _counts(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, Any]:
    names = {f"{key}s": len({getattr(row, key) for row in rows} - {None}) for key in keys}
    return {"clips": len(rows), "duration_s": round(sum(r.duration_s for r in rows), 3), **names}
