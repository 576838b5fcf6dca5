"""From a source to a checked manifest: examine every file, join equal sounds, caption, write."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from expotion.errors import ExpotionError, Problem
from expotion.files import replacing, write_json
from expotion.manifest.rows import ManifestError, Row, write_manifest
from expotion.workers import WorkerDiedError
from expotion_corpus.examine import VERSION, Examined, Settings, longest_clip_s
from expotion_corpus.items import TEXT_FIELDS, Item
from expotion_corpus.match import Print, clusters
from expotion_corpus.sources import read_source

ExamineAll = Callable[[Sequence[Item]], Iterator[tuple[int, Any]]]
"""(index, `Examined` or the exception) of every item, in the order in which they finish."""
Progress = Callable[[int, int], None]


def examined(
    items: Sequence[Item], settings: Settings, kept: Path, examine_all: ExamineAll, progress: Progress
) -> list[Examined]:
    """What is found of every item: from the folder `kept`, or by examining it now."""
    paths = [kept / f"{_key(item, settings)}.npz" for item in items]
    found: dict[int, Examined] = {}
    for i, path in enumerate(paths):
        before = load_examined(path)
        if before is not None:
            found[i] = before
    left = [i for i in range(len(items)) if i not in found]
    progress(len(found), len(items))
    died: list[Problem] = []
    fix = "run again to go on, with EXPOTION_WORKERS=1 for fewer processes"
    for position, result in examine_all([items[i] for i in left]):
        i = left[position]
        if isinstance(result, Examined):
            found[i] = result
            save_examined(paths[i], result)
        elif isinstance(result, WorkerDiedError):
            died.append(Problem(str(items[i].path), "a file that can be examined", str(result), fix))
        elif isinstance(result, (OSError, ExpotionError, ValueError, MemoryError, pickle.PickleError)):
            found[i] = Examined(dropped=[{"reason": str(result)}])
        else:
            raise result
        progress(len(found), len(items))
    if died:  # the others are kept
        raise ExpotionError(died)
    return [found[i] for i in range(len(items))]


def _key(item: Item, settings: Settings) -> str:
    status = item.path.stat()
    about = [
        VERSION,
        str(item.path.resolve()),
        status.st_size,
        status.st_mtime_ns,
        item.start_s,
        item.duration_s,
    ]
    return hashlib.sha256(json.dumps([*about, asdict(settings)]).encode()).hexdigest()


def save_examined(path: Path, one: Examined) -> None:
    """Keep what was found of a file."""
    about = {name: value for name, value in vars(one).items() if name != "print"}
    with replacing(path) as draft, draft.open("wb") as file:
        parts = vars(one.print)
        np.savez(file, about=json.dumps(about), **parts)


def load_examined(path: Path) -> Examined | None:
    """What was found of a file before, or None where nothing (whole) is kept."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            return Examined(**about, print=Print(kept["hashes"], kept["frames"], kept["bands"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


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
    root: Path | None = None,
    skip_missing: bool = False,
    versions: Mapping[str, str] | None = None,
    finish: Callable[[list[Row]], list[Row]] = lambda rows: rows,
    progress: Progress = lambda done, total: None,
) -> Prepared:
    """Write `out`/manifest.jsonl, manifest.json and report.json. Files examined before are not examined again.

    `prompt` is the caption of clips that have none; `root` and `skip_missing` are those of `read_source`; `finish`
    may complete the rows (codes, captions) before they are written. Raises ManifestError where the source is wrong
    or no clip is left; no manifest is written then.
    """
    if not 0 < settings.min_s <= settings.clip_s <= longest_clip_s() or settings.hop_s <= 0:
        wanted = f"0 < --min <= --clip <= {longest_clip_s():g} and --hop > 0"
        got = f"--min {settings.min_s:g}, --clip {settings.clip_s:g}, --hop {settings.hop_s:g}"
        raise ManifestError(Problem("prepare", wanted, got))
    listed = read_source(source, out / "media", root=root, skip_missing=skip_missing)
    items = listed.items
    found = examined(items, settings, out / "examined", examine_all, progress)
    items = _completed(items, found)
    usable = [i for i in range(len(items)) if found[i].clips]
    same = clusters([found[i].print for i in usable])
    dropped: list[dict[str, Any]] = [
        {"where": item.where, "reason": f"no such file: {item.path}"} for item in listed.missing
    ]
    dropped += [
        {"where": item.where} | drop for item, one in zip(items, found, strict=True) for drop in one.dropped
    ]
    rows: list[Row] = []
    taken: dict[tuple[str, float, float], str] = {}
    names: dict[str, int] = {}
    for position, i in enumerate(usable):
        item, one = items[i], found[i]
        sound = item.sound or found[usable[same[position]]].sha256
        for clip in one.clips:
            key = (one.sha256, clip["start_s"], clip["duration_s"])
            if key in taken:
                reason = f"same bytes and time as {taken[key]}"
                dropped.append({"where": item.where, "reason": reason, "start_s": clip["start_s"]})
                continue
            row = _row(item, one, clip, sound, out, prompt, names)
            taken[key] = row.id
            rows.append(row)
    if not rows:
        reasons = [Problem(drop["where"], drop["reason"]) for drop in dropped]
        raise ManifestError([Problem(str(source), "at least one usable clip", "none"), *reasons])
    rows = finish(rows)
    equal: dict[int, list[str]] = {}
    for position, first in enumerate(same):
        equal.setdefault(first, []).append(str(items[usable[position]].path))
    warned = [
        f"{item.where}: {text}" for item, one in zip(items, found, strict=True) for text in one.warnings
    ]
    report = {
        "files": len(items),
        "clips": len(rows),
        "duration_s": round(sum(row.duration_s for row in rows), 3),
        "missing": len(listed.missing),
        "dropped": dropped,
        "warnings": [*listed.warnings, *warned],
        "same_sound": [files for files in equal.values() if len(files) > 1],
        "without_caption": sum(row.caption is None for row in rows),
    }
    header = {
        "source": str(source),
        "settings": asdict(settings),
        "prompt": prompt,
        "versions": dict(versions or {}),
    }
    write_json(out / "report.json", report)
    write_manifest(out / "manifest.jsonl", rows, header)
    return Prepared(rows, report)


def _completed(items: list[Item], found: list[Examined]) -> list[Item]:
    """Items with what is known of a copy of the same file and stretch, where they do not say it themselves."""
    known: dict[tuple[str, float, float | None], dict[str, Any]] = {}
    keys = [(one.sha256, item.start_s, item.duration_s) for item, one in zip(items, found, strict=True)]
    for item, key in zip(items, keys, strict=True):
        for name in (*TEXT_FIELDS, "split"):
            if key[0] and (value := getattr(item, name)) is not None:
                known.setdefault(key, {}).setdefault(name, value)
    return [
        replace(
            item, **{name: value for name, value in known.get(key, {}).items() if getattr(item, name) is None}
        )
        for item, key in zip(items, keys, strict=True)
    ]


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
        split=item.split,
        **clip,
    )
