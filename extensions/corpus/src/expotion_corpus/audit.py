"""Leaks of anybody's split: values that stand in two parts, and sounds that do, by fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from expotion.errors import ExpotionError, Problem
from expotion.manifest.rows import ManifestError, Row, read_header, read_manifest
from expotion.video.audio import load_audio
from expotion_corpus.match import EMPTY, RATE_HZ, Print, fingerprint, matches
from expotion_corpus.sources import list_folder
from expotion_corpus.split import shared
from expotion_corpus.tables import Item, read_table

Part = list[dict[str, Any]]
"""Clips as plain values: `id`, `file` and whatever else is known of them."""
FIELDS = ("path", "file_sha256", "recording", "song", "performer", "sound")
Progress = Callable[[int, int], None]


def read_parts(paths: Sequence[Path], root: Path | None = None) -> dict[str, Part]:
    """Clips by part: of one list or folder with splits, or one part per list or folder.

    Lists are manifests, CSV, JSONL, Parquet or the authors' lists; files need not be there. Raises ManifestError
    for bad lines, an empty list, and one list without two splits.
    """
    if len(paths) > 1:
        names = [path.name for path in paths]
        if len(set(names)) < len(names):
            names = [str(path) for path in paths]
        if len(set(names)) < len(names):
            raise ManifestError(Problem("audit", "each list once", ", ".join(names)))
        return {name: _clips(path, root) for name, path in zip(names, paths, strict=True)}
    parts: dict[str, Part] = {}
    for clip in _clips(paths[0], root):
        parts.setdefault(clip.get("split") or "none", []).append(clip)
    if len(parts) < 2:
        fix = "run `expotion data split`, or give one list for each part"
        raise ManifestError(Problem(str(paths[0]), "clips in two splits or more", ", ".join(parts), fix))
    return parts


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


def metadata_leaks(parts: Mapping[str, Part], fields: Sequence[str] = FIELDS) -> list[dict[str, Any]]:
    """Every value of `fields` that stands in more than one part, with the clips by part."""
    found = shared(
        (part, clip["id"], (field, value))
        for part, clips in parts.items()
        for clip in clips
        for field in fields
        if (value := _value(clip, field))
    )
    return [{"by": field, "value": value, "clips": clips} for (field, value), clips in found]


def _value(clip: dict[str, Any], field: str) -> str:
    """A field as it is compared, empty where it is not known."""
    return str(clip["file"]) if field == "path" else str(clip.get(field) or "").strip().casefold()


def sound_leaks(
    parts: Mapping[str, Part], progress: Progress = lambda done, total: None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Pairs of clips in two parts that share a stretch of sound; and clips whose sound could not be read, why."""
    clips = [(name, clip) for name, part in parts.items() for clip in part]
    prints: list[Print] = []
    unread = []
    for done, (_, clip) in enumerate(clips, start=1):
        why: str | Exception = "no sound"
        try:
            samples = load_audio(clip["file"], RATE_HZ, clip.get("start_s") or 0.0, clip.get("duration_s"))
        except (ExpotionError, OSError) as error:
            samples, why = None, error
        if samples is None:
            unread.append(f"{clip['id']}: {why}")
        prints.append(EMPTY if samples is None else fingerprint(samples))
        progress(done, len(clips))
    leaks: list[dict[str, Any]] = []
    for match in matches(prints, lambda a, b: clips[a][0] != clips[b][0]):
        told = f"{match.likeness:.0%} alike, {match.votes} landmarks, offset {match.offset_s:+.2f} s"
        both = {part: [clip["id"]] for part, clip in (clips[match.a], clips[match.b])}
        leaks.append({"by": "fingerprint", "value": told, "clips": both})
    return leaks, unread


def summarise(
    parts: Mapping[str, Part], leaks: Sequence[Mapping[str, Any]], fields: Sequence[str] = FIELDS
) -> list[dict[str, Any]]:
    """For each field and part: how many of its values it has, how many stand in another part as well, and clips.

    A field that nobody states is left out; of fingerprints there are clips only.
    """
    lines = []
    for field in (*fields, "fingerprint"):
        crossing = [leak for leak in leaks if leak["by"] == field]
        for name, clips in parts.items():
            values = {value for clip in clips if (value := _value(clip, field))}
            touched = {clip for leak in crossing for clip in leak["clips"].get(name, ())}
            if values or touched:
                shared = sum(name in leak["clips"] for leak in crossing)
                line: dict[str, Any] = {"by": field, "part": name, "leaking_clips": len(touched)}
                if field != "fingerprint":
                    line |= {"values": len(values), "shared": shared}
                lines.append(line | {"clips": len(clips)})
    return lines


def audit(
    paths: Sequence[Path],
    *,
    fields: Sequence[str] = FIELDS,
    root: Path | None = None,
    fingerprints: bool = True,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Report: clips by part, leaks, a summary by field, and what could not be checked.

    `paths` is one split list or folder, or one list per part; paths in lists are relative to `root` (default: the
    list's folder).
    """
    parts = read_parts(paths, root)
    heard, unread = sound_leaks(parts, progress) if fingerprints else ([], [])
    leaks = metadata_leaks(parts, fields) + heard
    n_clips = sum(len(clips) for clips in parts.values())
    unknown = {
        field: sum(not clip.get(field) for clips in parts.values() for clip in clips)
        for field in fields
        if field not in {"path", "file_sha256", "sound"}
    }
    return {
        "parts": {name: len(clips) for name, clips in parts.items()},
        "fingerprints": fingerprints,
        "heard": n_clips - len(unread) if fingerprints else 0,
        "leaks": leaks,
        "summary": summarise(parts, leaks, fields),
        "unknown": unknown,
        "unread": unread,
    }
