"""From a source to a checked manifest: examine every file, join equal sounds, caption, write."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from expotion.errors import ExpotionError, Problem, in_short
from expotion.files import escaped, replacing, write_json
from expotion.lock import held
from expotion.manifest.rows import ManifestError, Row, write_manifest
from expotion.plugins import core_version
from expotion.video.container import DEFAULT_LIMITS
from expotion.workers import WorkerDiedError
from expotion_corpus.examine import VERSION, Examined, Settings
from expotion_corpus.match import Print, clusters
from expotion_corpus.sources import read_source
from expotion_corpus.tables import TEXT_FIELDS, Item

ExamineAll = Callable[[Sequence[Item]], Iterator[tuple[int, Any]]]
"""(index, `Examined` or the exception) of every item, in the order in which they finish."""
Progress = Callable[[int, int], None]
QUIET: AbstractContextManager[Progress] = nullcontext(lambda done, total: None)


def examined(
    items: Sequence[Item], settings: Settings, kept: Path, examine_all: ExamineAll, progress: Progress
) -> tuple[list[Examined], list[Problem]]:
    """What is found of every item: from the folder `kept`, or by examining it now; and whose process died.

    It is kept file by file, so that an interrupted `prepare` goes on where it stopped, and tries those again.
    """
    paths = [kept / f"{_key(item, settings)}.npz" for item in items]
    found = {i: before for i, path in enumerate(paths) if (before := _load(path)) is not None}
    left = [i for i in range(len(items)) if i not in found]
    progress(len(found), len(items))
    died: list[Problem] = []
    fix = "run again to go on, with EXPOTION_WORKERS=1 for fewer processes"
    for position, result in examine_all([items[i] for i in left]):
        i = left[position]
        if isinstance(result, Examined):
            found[i] = result
            _save(paths[i], result)
        elif isinstance(result, WorkerDiedError):
            died.append(Problem(str(items[i].path), "a file that can be examined", str(result), fix))
            found[i] = Examined(dropped=[{"reason": str(result)}])
        else:  # whatever one file made a library raise
            found[i] = Examined(dropped=[{"reason": in_short(result)}])
        progress(len(found), len(items))
    return [found[i] for i in range(len(items))], died


def _key(item: Item, settings: Settings) -> str:
    status = item.path.stat()
    file = [str(item.path.resolve()), status.st_size, status.st_mtime_ns]
    about = [VERSION, *file, item.start_s, item.duration_s, asdict(settings)]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _save(path: Path, one: Examined) -> None:
    about = {name: value for name, value in vars(one).items() if name != "print"}
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, about=json.dumps(about), **vars(one.print))


def _load(path: Path) -> Examined | None:
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
    finish: Callable[[list[Row]], list[Row]] = lambda rows: rows,
    progress: AbstractContextManager[Progress] = QUIET,
) -> Prepared:
    """Write `out`/manifest.jsonl, manifest.json and report.json. Files examined before are not examined again.

    `prompt` is the caption of clips that have none; `root` and `skip_missing` are those of `read_source`; `finish`
    may complete the rows (codes, captions) before they are written; `progress` lasts while files are examined.
    Raises ManifestError where the source is wrong or no clip is left; no manifest is written then. Files whose
    process died are left out of the manifest and named by an ExpotionError.
    """
    longest_s = DEFAULT_LIMITS.max_duration_s
    if not 0 < settings.min_s <= settings.clip_s <= longest_s or settings.hop_s <= 0:
        wanted = f"0 < --min <= --clip <= {longest_s:g} and --hop > 0"
        got = f"--min {settings.min_s:g}, --clip {settings.clip_s:g}, --hop {settings.hop_s:g}"
        raise ManifestError(Problem("prepare", wanted, got))
    with held(out):
        return _prepare(source, out, settings, examine_all, prompt, root, skip_missing, finish, progress)


def _prepare(
    source: Path,
    out: Path,
    settings: Settings,
    examine_all: ExamineAll,
    prompt: str | None,
    root: Path | None,
    skip_missing: bool,
    finish: Callable[[list[Row]], list[Row]],
    progress: AbstractContextManager[Progress],
) -> Prepared:
    listed = read_source(source, out / "media", root=root, skip_missing=skip_missing)
    with progress as told:
        found, died = examined(listed.items, settings, out / "examined", examine_all, told)
    items = _completed(listed.items, found)
    usable = [i for i in range(len(items)) if found[i].clips]
    same = [usable[first] for first in clusters([found[i].print for i in usable])]
    dropped: list[dict[str, Any]] = [
        {"where": item.where, "reason": f"no such file: {item.path}"} for item in listed.missing
    ]
    warnings = list(listed.warnings)
    for item, one in zip(items, found, strict=True):
        dropped += [{"where": item.where} | drop for drop in one.dropped]
        warnings += [f"{item.where}: {text}" for text in one.warnings]
    rows: list[Row] = []
    taken: dict[tuple[str, float, float], str] = {}
    names: Counter[str] = Counter()
    equal: dict[int, list[str]] = {}
    for i, first in zip(usable, same, strict=True):
        item, one = items[i], found[i]
        equal.setdefault(first, []).append(str(item.path))
        known = {name: getattr(item, name) for name in ("song", "performer", "recording", "split")}
        known |= {"caption": item.caption or prompt, "sound": item.sound or found[first].sha256}
        path = item.path.resolve()
        if path.is_relative_to(out.resolve()):
            path = path.relative_to(out.resolve())
        for clip in one.clips:
            key = (one.sha256, clip["start_s"], clip["duration_s"])
            if key in taken:
                reason = f"same bytes and time as {taken[key]}"
                dropped.append({"where": item.where, "reason": reason, "start_s": clip["start_s"]})
                continue
            name = escaped(item.path.stem)
            if not clip["whole"]:
                name += f"@{clip['start_s']:.3f}+{clip['duration_s']:.3f}"
            names[name] += 1
            taken[key] = name if names[name] == 1 else f"{name}#{names[name]}"
            rows.append(Row(id=taken[key], path=escaped(str(path)), file_sha256=one.sha256, **known, **clip))
    if not rows:
        reasons = [Problem(drop["where"], drop["reason"]) for drop in dropped]
        raise ManifestError([Problem(str(source), "at least one usable clip", "none"), *reasons])
    rows = finish(rows)
    report = {
        "files": len(items),
        "clips": len(rows),
        "duration_s": round(sum(row.duration_s for row in rows), 3),
        "missing": len(listed.missing),
        "dropped": dropped,
        "warnings": warnings,
        "same_sound": [files for files in equal.values() if len(files) > 1],
        "without_caption": sum(row.caption is None for row in rows),
    }
    header = {
        "source": str(source),
        "settings": asdict(settings),
        "prompt": prompt,
        "versions": {"expotion": core_version()},
    }
    write_json(out / "report.json", report)
    write_manifest(out / "manifest.jsonl", rows, header)
    if died:
        raise ExpotionError(died)
    return Prepared(rows, report)


def _completed(items: list[Item], found: list[Examined]) -> list[Item]:
    """Items with what is known of a copy of the same file and stretch, where they do not say it themselves."""
    known: dict[tuple[str, float, float | None], dict[str, Any]] = {}
    keys = [(one.sha256, item.start_s, item.duration_s) for item, one in zip(items, found, strict=True)]
    own = [{n: v for n in (*TEXT_FIELDS, "split") if (v := getattr(item, n)) is not None} for item in items]
    for key, values in zip(keys, own, strict=True):
        if key[0]:
            known[key] = values | known.get(key, {})
    return [
        replace(item, **(known.get(key, {}) | values)) for item, key, values in zip(items, keys, own, strict=True)
    ]


def where_of(drop: dict[str, Any]) -> str:
    """The file of something dropped, with the time of a clip."""
    return str(drop["where"]) + (f" at {drop['start_s']:.2f} s" if "start_s" in drop else "")
