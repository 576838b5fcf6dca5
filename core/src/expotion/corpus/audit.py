"""Leaks of anybody's split: values that stand in two parts, and sounds that do, by fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expotion.corpus.fingerprint import RATE_HZ, Print, fingerprint, same_sound, similarity
from expotion.corpus.schema import ManifestError, read_manifest
from expotion.corpus.sources import authors_line
from expotion.data.audio import load_audio
from expotion.errors import ExpotionError, Problem

FIELDS = ("path", "recording", "song", "performer", "sound")
Part = list[dict[str, Any]]


def read_parts(paths: Sequence[Path]) -> dict[str, Part]:
    """Clips by part: of one split manifest, or one part per list (a manifest's rows or the authors' lines)."""
    if len(paths) == 1:
        rows = read_manifest(paths[0])
        parts: dict[str, Part] = {}
        for row in rows:
            values = row.model_dump() | {"file": row.file(paths[0].parent)}
            parts.setdefault(row.split or "none", []).append(values)
        if len(parts) < 2:
            fix = "run `expotion data split`, or give two lists"
            raise ManifestError(Problem(str(paths[0]), "clips in two splits or more", f"{list(parts)}", fix))
        return parts
    return {str(path): _list(path) for path in paths}


def _list(path: Path) -> Part:
    if path.suffix == ".jsonl":
        return [row.model_dump() | {"file": row.file(path.parent)} for row in read_manifest(path)]
    part: Part = []
    problems = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(Problem(str(path), "a list (text, UTF-8)", str(error))) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = authors_line(line)
        except (ValueError, SyntaxError) as error:
            problems.append(Problem(f"{path}:{number}", "FEATURES|CODES|{...} or a path", str(error)))
            continue
        part.append(values | {"id": f"{path.name}:{number}", "file": path.parent / values["path"]})
    if problems or not part:
        raise ManifestError(problems or Problem(str(path), "at least one line", "none"))
    return part


def metadata_leaks(parts: Mapping[str, Part]) -> list[dict[str, Any]]:
    """Every value of `FIELDS` that stands in more than one part, with the clips by part."""
    where: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, clips in parts.items():
        for clip in clips:
            for field in FIELDS:
                value = clip.get(field)
                if value:
                    token = (field, str(value).strip().casefold())
                    where.setdefault(token, {}).setdefault(name, []).append(clip["id"])
    return [
        {"by": field, "value": value, "clips": clips}
        for (field, value), clips in sorted(where.items())
        if len(clips) > 1
    ]


def sound_leaks(parts: Mapping[str, Part]) -> tuple[list[dict[str, Any]], list[str]]:
    """Pairs of clips in two parts that share a stretch of sound; and clips whose sound could not be read, why."""
    prints: list[tuple[str, dict[str, Any], Print]] = []
    unread = []
    for name, clips in parts.items():
        for clip in clips:
            try:
                samples = load_audio(
                    clip["file"], RATE_HZ, clip.get("start_s") or 0.0, clip.get("duration_s")
                )
            except ExpotionError as error:
                unread.append(f"{clip['id']}: {error}")
                continue
            if samples is None:
                unread.append(f"{clip['id']}: no sound")
            else:
                prints.append((name, clip, fingerprint(samples)))
    leaks = []
    for i, (part, clip, own) in enumerate(prints):
        for other_part, other, others in prints[:i]:
            if part != other_part and same_sound(others, own):
                votes, share, offset_s = similarity(others, own)
                leaks.append(
                    {
                        "by": "fingerprint",
                        "value": f"{votes} landmarks, {share:.0%}, offset {offset_s:+.2f} s",
                        "clips": {other_part: [other["id"]], part: [clip["id"]]},
                    }
                )
    return leaks, unread


def audit(paths: Sequence[Path], *, fingerprints: bool = True) -> dict[str, Any]:
    """Report: clips by part, leaks, and what could not be checked."""
    parts = read_parts(paths)
    heard, unread = sound_leaks(parts) if fingerprints else ([], [])
    leaks = metadata_leaks(parts) + heard
    counts = {name: len(clips) for name, clips in parts.items()}
    return {"parts": counts, "fingerprints": fingerprints, "leaks": leaks, "unread": unread}
