"""From a source to a checked manifest: examine every file, join equal sounds, caption, write."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expotion.contracts import Clip
from expotion.corpus.examine import Examined, Settings
from expotion.corpus.fingerprint import Print, clusters
from expotion.corpus.schema import ManifestError, Row, write_manifest
from expotion.corpus.sources import Item, read_source
from expotion.errors import ExpotionError, Problem
from expotion.files import replacing, write_json

ExamineAll = Callable[[Sequence[Item]], Iterator[tuple[int, Any]]]
"""(index, `Examined` or the exception) of every item, in the order in which they finish."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """The rows, and the report: what was dropped and why, warnings, equal sounds."""

    rows: list[Row]
    report: dict[str, Any]


def prepare(
    source: Path,
    out: Path,
    settings: Settings,
    examine_all: ExamineAll,
    *,
    prompt: str | None = None,
    versions: Mapping[str, str] | None = None,
    finish: Callable[[list[Row]], list[Row]] = lambda rows: rows,
    progress: Progress = lambda done, total: None,
) -> Prepared:
    """Write `out`/manifest.jsonl, manifest.json and report.json. Files examined before are not examined again.

    `prompt` is the caption of clips that have none; `finish` may complete the rows (codes, captions) before they
    are written. Raises ManifestError where the source is wrong or no clip is left; nothing is written then.
    """
    if not 0 < settings.min_s <= settings.clip_s or settings.hop_s <= 0:
        wanted = "0 < --min <= --clip and --hop > 0"
        raise ManifestError(
            Problem("prepare", wanted, f"{settings.min_s}, {settings.clip_s}, {settings.hop_s}")
        )
    items = read_source(source, out / "media")
    found = _examined(items, settings, out / "examined", examine_all, progress)
    usable = [i for i in range(len(items)) if found[i].clips]
    same = clusters([found[i].print for i in usable])
    rows: list[Row] = []
    taken: dict[tuple[str, float, float], str] = {}
    dropped = [drop for one in found for drop in one.dropped]
    names: dict[str, int] = {}
    for position, i in enumerate(usable):
        item, one = items[i], found[i]
        first = found[usable[same[position]]].sha256
        for clip in one.clips:
            key = (one.sha256, clip["start_s"], clip["duration_s"])
            if key in taken:
                dropped.append({"where": item.where, "reason": f"same bytes and time as {taken[key]}"})
                continue
            row = _row(item, one, clip, first, out, prompt, names)
            taken[key] = row.id
            rows.append(row)
    if not rows:
        reasons = [Problem(drop["where"], drop["reason"]) for drop in dropped]
        raise ManifestError([Problem(str(source), "at least one usable clip", "none"), *reasons])
    rows = finish(rows)
    equal: dict[int, list[str]] = {}
    for position, root in enumerate(same):
        equal.setdefault(root, []).append(str(items[usable[position]].path))
    report = {
        "files": len(items),
        "clips": len(rows),
        "dropped": dropped,
        "warnings": [warning for one in found for warning in one.warnings],
        "same_sound": [files for files in equal.values() if len(files) > 1],
        "without_caption": sum(row.caption is None for row in rows),
    }
    write_json(out / "report.json", report)
    header = {
        "source": str(source),
        "settings": asdict(settings),
        "prompt": prompt,
        "versions": dict(versions or {}),
    }
    write_manifest(out / "manifest.jsonl", rows, header)
    return Prepared(rows, report)


def _row(
    item: Item,
    one: Examined,
    clip: dict[str, Any],
    sound: str,
    out: Path,
    prompt: str | None,
    names: dict[str, int],
) -> Row:
    stem = item.path.stem + ("" if clip["whole"] else f"@{clip['start_s']:.3f}+{clip['duration_s']:.3f}")
    names[stem] = names.get(stem, 0) + 1
    name = stem if names[stem] == 1 else f"{stem}#{names[stem]}"
    inside = item.path.resolve().is_relative_to(out.resolve())
    path = os.path.relpath(item.path.resolve(), out.resolve()) if inside else str(item.path.resolve())
    return Row(
        id=name,
        path=path,
        file_sha256=one.sha256,
        caption=item.caption or prompt,
        song=item.song,
        performer=item.performer,
        recording=item.recording,
        sound=sound,
        **clip,
    )


def _examined(
    items: Sequence[Item], settings: Settings, kept: Path, examine_all: ExamineAll, progress: Progress
) -> list[Examined]:
    paths = [kept / f"{_key(item, settings)}.npz" for item in items]
    found: dict[int, Examined] = {}
    for i, path in enumerate(paths):
        before = load_examined(path)
        if before is not None:
            found[i] = before
    left = [i for i in range(len(items)) if i not in found]
    progress(len(found), len(items))
    for position, result in examine_all([items[i] for i in left]):
        i = left[position]
        if isinstance(result, Examined):
            found[i] = result
            save_examined(paths[i], result)
        elif isinstance(result, (OSError, ExpotionError, ValueError, MemoryError, pickle.PickleError)):
            found[i] = Examined(dropped=[{"where": items[i].where, "reason": str(result)}])
        else:
            raise result
        progress(len(found), len(items))
    return [found[i] for i in range(len(items))]


def _key(item: Item, settings: Settings) -> str:
    status = item.path.stat()
    about = [
        str(item.path.resolve()),
        item.where,
        status.st_size,
        status.st_mtime_ns,
        item.start_s,
        item.duration_s,
    ]
    return hashlib.sha256(json.dumps([*about, asdict(settings)]).encode()).hexdigest()


def save_examined(path: Path, one: Examined) -> None:
    """Keep what was found of a file, so that an interrupted run goes on."""
    about = {name: value for name, value in vars(one).items() if name != "print"}
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, about=json.dumps(about), hashes=one.print.hashes, frames=one.print.frames)


def load_examined(path: Path) -> Examined | None:
    """What was found of a file before, or None where nothing (whole) is kept."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            return Examined(**about, print=Print(kept["hashes"], kept["frames"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def with_captions(
    rows: Sequence[Row], clips: Sequence[Clip], captioner: Callable[[Clip], str], kept: Path, described: str
) -> tuple[list[Row], list[str]]:
    """Rows with the captioner's words, remembered in `kept` by captioner and content; and who was refused, why."""
    known: dict[str, str] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    out, refused = [], []
    for row, clip in zip(rows, clips, strict=True):
        key = hashlib.sha256(f"{described} {clip.content_hash}".encode()).hexdigest()
        if key not in known:
            try:
                known[key] = captioner(clip)
            except ExpotionError as error:
                refused.append(f"{row.id} keeps its own caption: {error}")
                out.append(row)
                continue
            write_json(kept, known)
        out.append(row.model_copy(update={"caption": known[key]}))
    return out, refused
