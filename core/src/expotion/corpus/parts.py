"""The parts of anybody's split: a manifest with splits, a folder, or one list per part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expotion.corpus.items import Item
from expotion.corpus.schema import ManifestError, Row, read_header, read_manifest
from expotion.corpus.sources import list_folder
from expotion.corpus.tables import read_table
from expotion.errors import Problem

Part = list[dict[str, Any]]
"""Clips as plain values: `id`, `file` and whatever else is known of them."""


def read_parts(paths: Sequence[Path], root: Path | None = None) -> dict[str, Part]:
    """Clips by part: of one list or folder with splits, or one part per list or folder.

    Lists are manifests, CSV, JSONL, Parquet or the authors' lists; files need not be there. Raises ManifestError
    for bad lines, an empty list, and one list without two splits.
    """
    if len(paths) > 1:
        names = _names(paths)
        return {name: _clips(path, root) for name, path in zip(names, paths, strict=True)}
    parts: dict[str, Part] = {}
    for clip in _clips(paths[0], root):
        parts.setdefault(clip.get("split") or "none", []).append(clip)
    if len(parts) < 2:
        fix = "run `expotion data split`, or give one list for each part"
        raise ManifestError(Problem(str(paths[0]), "clips in two splits or more", ", ".join(parts), fix))
    return parts


def _names(paths: Sequence[Path]) -> list[str]:
    short = [path.name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ManifestError(Problem("audit", "each list once", ", ".join(names)))
    return names


def _clips(path: Path, root: Path | None) -> Part:
    if path.suffix == ".jsonl" and (read_header(path) or _is_manifest(path)):
        return [_plain(row, row.file(path.parent)) for row in read_manifest(path)]
    problems: list[Problem] = []
    if path.is_dir():
        items = list_folder(path, problems)
    elif path.is_file():
        items = read_table(path, root or path.parent, problems)
    else:
        raise ManifestError(Problem(str(path), "a list or a folder", "nothing there"))
    if problems or not items:
        raise ManifestError(problems or Problem(str(path), "at least one clip", "none"))
    return [_plain(item, item.path) for item in items]


def _plain(clip: Row | Item, file: Path) -> dict[str, Any]:
    values = clip.model_dump() if isinstance(clip, Row) else dict(vars(clip))
    name = clip.id if isinstance(clip, Row) else clip.where
    return values | {"id": name, "file": file.resolve()}


def _is_manifest(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return '"file_sha256"' in file.readline()
    except (OSError, UnicodeDecodeError):
        return False
