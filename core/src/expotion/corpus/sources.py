"""What `expotion data prepare` can read: folders, tables, VideoFolders, tars, and the authors' lists."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expotion.corpus.schema import ManifestError
from expotion.corpus.tars import unpack
from expotion.errors import Problem

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"})
TEXT_FIELDS = ("caption", "song", "performer", "recording")
_NAMES = {"file_name": "path", "file": "path", "video": "path", "text": "caption", "artist": "performer"}


@dataclass(frozen=True)
class Item:
    """One file, or a stretch of one, and what is known of it. `where` is the file and line that names it."""

    path: Path
    where: str
    start_s: float = 0.0
    duration_s: float | None = None
    caption: str | None = None
    song: str | None = None
    performer: str | None = None
    recording: str | None = None


def read_source(source: Path, unpacked: Path) -> list[Item]:
    """Items of a folder, CSV, JSONL, tar or authors' list. Samples of tars are written to `unpacked`.

    Raises ManifestError that lists every bad line and every missing file.
    """
    problems: list[Problem] = []
    if source.is_dir():
        items = _folder(source, unpacked, problems)
    elif not source.is_file():
        fix = "give a folder, .csv, .jsonl, .tar or a list file"
        raise ManifestError(Problem(str(source), "a source of videos", "nothing there", fix))
    elif source.suffix == ".tar":
        items = [_sidecars(Item(path, str(path))) for path in unpack(source, unpacked)]
    else:
        try:
            items = _table(source, problems)
        except UnicodeDecodeError as error:
            raise ManifestError(Problem(str(source), "text in UTF-8", str(error))) from error
    for item in items:
        if not item.path.is_file():
            problems.append(Problem(item.where, "a file that is there", str(item.path)))
    if not items and not problems:
        wanted = f"at least one video ({', '.join(sorted(VIDEO_SUFFIXES))})"
        problems.append(Problem(str(source), wanted, "none"))
    if problems:
        raise ManifestError(problems)
    return items


def _folder(folder: Path, unpacked: Path, problems: list[Problem]) -> list[Item]:
    for name in ("metadata.csv", "metadata.jsonl"):  # a Hugging Face VideoFolder
        if (folder / name).is_file():
            return _table(folder / name, problems)
    paths = sorted(path for path in folder.rglob("*") if not path.name.startswith(".") and path.is_file())
    found = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    for tar in (path for path in paths if path.suffix == ".tar"):
        found += unpack(tar, unpacked)
    return [_sidecars(Item(path, str(path))) for path in found]


def _sidecars(item: Item) -> Item:
    """Fields from NAME.json and the caption from NAME.txt beside the video."""
    values: dict[str, Any] = {}
    described, text = item.path.with_suffix(".json"), item.path.with_suffix(".txt")
    try:
        if described.is_file():
            content = json.loads(described.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("not an object")
            values = {_NAMES.get(str(key), str(key)): value for key, value in content.items()}
        if text.is_file():
            values["caption"] = text.read_text(encoding="utf-8").strip()
    except (ValueError, UnicodeDecodeError) as error:
        raise ManifestError(Problem(str(described), "a JSON object or text in UTF-8", str(error))) from error
    texts: dict[str, Any] = {key: _text(values.get(key)) for key in TEXT_FIELDS}
    return Item(item.path, item.where, **texts)


def _table(path: Path, problems: list[Problem]) -> list[Item]:
    items = []
    for number, values in _lines(path, problems):
        where = f"{path}:{number}"
        named = {_NAMES.get(key.strip(), key.strip()): value for key, value in values.items() if key}
        file = _text(named.get("path"))
        if file is None:
            problems.append(Problem(where, "a column `path` (or `file_name`)", ", ".join(named) or "nothing"))
            continue
        times: dict[str, float | None] = {}
        for key, least in (("start_s", 0.0), ("duration_s", 1e-3)):
            given = _text(named.get(key))
            try:
                times[key] = None if given is None else float(given)
            except ValueError:
                times[key] = float("nan")
            value = times[key]
            if value is not None and not least <= value < float("inf"):
                problems.append(Problem(f"{where}: {key}", f"seconds of at least {least}", given))
        texts: dict[str, Any] = {key: _text(named.get(key)) for key in TEXT_FIELDS}
        items.append(Item(path.parent / file, where, times["start_s"] or 0.0, times["duration_s"], **texts))
    return items


def _lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for values in reader:
                yield reader.line_num, values
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = authors_line(line) if path.suffix not in {".jsonl", ".json"} else json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("not an object")
        except (ValueError, SyntaxError) as error:
            problems.append(
                Problem(f"{path}:{number}", "a JSON object, or FEATURES|CODES|{{...}}", str(error))
            )
            continue
        yield number, values


def authors_line(line: str) -> dict[str, Any]:
    """Fields of a line of the authors' lists: features | codes | {'audio_id': ..., 'caption': ...}.

    The video stands in the folder `clips` beside that of the features; codes are named SONG_clipN.wav.npy.
    A line without `|` is a path of a video. Raises ValueError or SyntaxError for another line.
    """
    parts = line.strip().split("|", 2)
    if len(parts) == 1:
        return {"path": parts[0]}
    if len(parts) != 3:
        raise ValueError(f"{len(parts)} fields")
    about = ast.literal_eval(parts[2].strip())
    if not isinstance(about, dict):
        raise ValueError("the last field is not a dict")
    caption = re.sub(r"</?s>|[\r\n]", "", str(about.get("caption") or "")).strip()
    features, codes = Path(parts[0].strip()), Path(parts[1].strip()).name
    return {
        "path": str(features.parent.parent / "clips" / f"{features.stem}.mp4"),
        "caption": caption or None,
        "song": re.sub(r"(_clip\d+)?(\.wav)?(\.npy)?$", "", codes),
        "recording": re.sub(r"_clip\d+$", "", features.stem),
        "sound": codes,
    }


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None
