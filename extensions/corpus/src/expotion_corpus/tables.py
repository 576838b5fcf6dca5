"""Lists of videos as text: CSV, JSON lines, Parquet, and the authors' lists, each line as an `Item`."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expotion.errors import Problem
from expotion.manifest.rows import ManifestError, Split

TABLES = frozenset({".csv", ".tsv", ".jsonl", ".parquet"})
_NAMES = {
    **dict.fromkeys(("file_name", "file", "video", "video_file_name"), "path"),
    "text": "caption",
    **dict.fromkeys(("scene", "scene_caption"), "caption"),
    "artist": "performer",
    "title": "song",
    "video_id": "recording",
}
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
TEXT_FIELDS = ("caption", "song", "performer", "recording", "sound")


@dataclass(frozen=True)
class Item:
    """One file, or a stretch of one, and what is known of it. `where` is the file and line that names it.

    `sound` names a piece of sound where a list does (the authors' codes); `split` is the part that a list or
    folder puts it in.
    """

    path: Path
    where: str
    start_s: float = 0.0
    duration_s: float | None = None
    caption: str | None = None
    song: str | None = None
    performer: str | None = None
    recording: str | None = None
    sound: str | None = None
    split: Split | None = None


def split_named(text: str | None) -> Split | None:
    """The split that a word stands for (`val` is validation), or None."""
    return _SPLITS.get((text or "").strip().casefold())


def standard_names(values: dict[Any, Any]) -> dict[str, Any]:
    """Values by the names that `Item` knows: `file_name` is `path`, `text` is `caption`, and so on."""
    named: dict[str, Any] = {}
    for key, value in values.items():
        own = str(key).strip().casefold().replace(" ", "_")
        name = _NAMES.get(own, own)
        # a column's own name wins over another name of it
        if name == own or text_of(named.get(name)) is None:
            named[name] = value
    return named


def text_of(value: Any) -> str | None:
    """Words, or None for nothing (blank, null, NaN)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


def read_table(path: Path, root: Path, problems: list[Problem]) -> list[Item]:
    """Items of a list; paths in it are relative to `root`. Bad lines go to `problems`."""
    items = []
    for number, values in _lines(path, problems):
        where = f"{path}:{number}"
        named = standard_names(values)
        file = text_of(named.get("path"))
        if file is None:
            told = ", ".join(str(name) for name in named) or "nothing"
            problems.append(Problem(where, "a column `path` (or `file_name`)", told))
            continue
        given = text_of(named.get("split"))
        if given is not None and split_named(given) is None:
            problems.append(Problem(f"{where}: split", "train, validation or test", given))
        items.append(item_of(root / file, where, named, problems))
    return items


def item_of(path: Path, where: str, named: dict[str, Any], problems: list[Problem]) -> Item:
    """An item from values by `standard_names`; what is no time goes to `problems`."""
    times: list[float | None] = []
    for key, least in (("start_s", 0.0), ("duration_s", 1e-3)):
        given = text_of(named.get(key))
        try:
            value = None if given is None else float(given)
        except ValueError:
            value = float("nan")
        if value is not None and not least <= value < float("inf"):
            problems.append(Problem(f"{where}: {key}", f"seconds of at least {least:g}", given))
            value = None
        times.append(value)
    texts: dict[str, Any] = {key: text_of(named.get(key)) for key in TEXT_FIELDS}
    return Item(path, where, times[0] or 0.0, times[1], split=split_named(text_of(named.get("split"))), **texts)


def _lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        yield from enumerate(_parquet(path), start=1)
        return
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fix = "save it as UTF-8"
        raise ManifestError(Problem(str(path), "a list as text in UTF-8", str(error), fix)) from error
    if kind in {".csv", ".tsv"}:
        yield from _csv(path, text, problems)
        return
    # A line ends at \n alone: captions may hold other line ends of Unicode.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line) if kind in {".jsonl", ".json"} else authors_line(line)
            if not isinstance(values, dict):
                raise ValueError("not an object")
        except (ValueError, SyntaxError) as error:
            problems.append(Problem(f"{path}:{number}", "a JSON object, or FEATURES|CODES|{...}", str(error)[:120]))
            continue
        yield number, values


def _csv(path: Path, text: str, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table whose columns are parted by commas, tabs or semicolons, whichever its first line holds."""
    first = text.partition("\n")[0]
    separator = max(",\t;", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    before = csv.field_size_limit(max(len(text), 1 << 17))  # a caption may be long
    try:
        names = next(reader, [])
        begin = reader.line_num + 1
        for fields in reader:
            if len(fields) > len(names):
                got = f"{len(fields)} fields for {len(names)} columns"
                fix = f"put a field that holds {separator!r} in quotes"
                problems.append(Problem(f"{path}:{begin}", "a field for each column", got, fix))
            elif fields:
                yield begin, {name: value for name, value in zip(names, fields, strict=False) if name}
            begin = reader.line_num + 1
    except csv.Error as error:
        fix = "close each quote; a quote within one is written twice"
        problems.append(Problem(f"{path}:{begin}", "a line of CSV", str(error), fix))
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        fix = "install pyarrow, or save the list as CSV"
        raise ManifestError(Problem(str(path), "pyarrow to read Parquet", "not installed", fix)) from error
    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ManifestError(Problem(str(path), "a Parquet table", str(error)[:120])) from error
    return rows


def authors_line(line: str) -> dict[str, Any]:
    """Fields of a line of the authors' lists: features | ... | codes | {'audio_id': ..., 'caption': ...}.

    The video stands in the folder `clips` beside that of the features; codes are named SONG_clipN.wav.npy. A line
    without `|` is a path of a video. Raises ValueError or SyntaxError for another line.
    """
    if "|" not in line:
        return {"path": line.strip()}
    head, brace, rest = line.partition("{")
    fields = [field.strip() for field in head.rstrip().removesuffix("|").split("|")]
    if not brace or len(fields) < 2 or not all((fields[0], fields[-1])):
        raise ValueError(f"{len(fields)} fields before the description")
    about = ast.literal_eval((brace + rest).strip())
    if not isinstance(about, dict):
        raise ValueError("the last field is not a dict")
    # Reference: <s>, </s> and every line end go, no space in their place.
    caption = re.sub(r"</?s>|[\r\n]", "", str(about.get("caption") or "")).strip()
    features, codes = Path(fields[0]), Path(fields[-1]).name
    return {
        "path": str(features.parent.parent / "clips" / f"{features.stem}.mp4"),
        "caption": caption or None,
        "song": re.sub(r"(_clip\d+)?(\.wav)?(\.npy)?$", "", codes),
        "recording": re.sub(r"_clip\d+$", "", features.stem),
        "sound": codes,
    }
