"""What `expotion data prepare` can read: folders, tables, VideoFolders, tars, and the authors' lists."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from expotion.errors import Problem
from expotion.files import replacing
from expotion.manifest.rows import ManifestError, Split
from expotion.video.container import SOUND_NAMES, VIDEO_NAMES
from expotion_corpus.tables import TABLES, Item, item_of, read_table, split_named, standard_names

_TEXT = frozenset({".txt", ".json"})
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_tar(path: Path) -> bool:
    """Whether a name is that of a tar, packed or not."""
    return path.name.lower().endswith(_ENDINGS)


def unpack(tar: Path, folder: Path) -> list[Path]:
    """Write each sample's video, .txt and .json to a folder of this tar in `folder` (once); the videos, sorted.

    Of `KEY.front.mp4` and `KEY.back.mp4` each gets KEY's text. Member names are flattened to letters, digits, dots,
    - and _, so that nothing lands outside. Raises ManifestError for a file that is no tar or is cut off.
    """
    status = tar.stat()
    about = f"{tar.resolve()} {status.st_size} {status.st_mtime_ns}"
    target = folder / f"{tar.name.split('.')[0]}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"
    videos: list[tuple[str, Path]] = []
    texts: dict[str, list[Path]] = {}
    try:
        with tarfile.open(tar, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                suffix = name.suffix.lower()
                if not member.isfile() or name.name.startswith(".") or suffix not in VIDEO_NAMES | _TEXT:
                    continue
                key = _flat(str(name.parent / name.name.split(".")[0])) or "sample"
                ending = _flat(name.name[: -len(suffix)].partition(".")[2]) if suffix in VIDEO_NAMES else ""
                path = target / f"{key}{'.' + ending if ending else ''}{suffix}"
                content = archive.extractfile(member)
                if content is not None and not (path.is_file() and path.stat().st_size == member.size):
                    with replacing(path) as draft, draft.open("wb") as file:
                        shutil.copyfileobj(content, file)
                if suffix in VIDEO_NAMES:
                    videos.append((key, path))
                else:
                    texts.setdefault(key, []).append(path)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ManifestError(Problem(str(tar), "a tar of samples", str(error))) from error
    for key, path in videos:
        for text in texts.get(key, []):
            beside = path.with_suffix(text.suffix)
            if beside != text:
                with replacing(beside) as draft:
                    shutil.copyfile(text, draft)
    return sorted(path for _, path in videos)


def _flat(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).lstrip("._") if name else ""


METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
"""Lists of a Hugging Face VideoFolder, in any folder of it."""
SHOWN = 20
"""Missing files that an error lists one by one."""


@dataclass
class Found:
    """Items of a source, files that it names and that are not there, and what a user should know."""

    items: list[Item] = field(default_factory=list)
    missing: list[Item] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_source(source: Path, unpacked: Path, *, root: Path | None = None, skip_missing: bool = False) -> Found:
    """Items of a folder, CSV, JSONL, Parquet, tar or authors' list. Samples of tars are written to `unpacked`.

    Paths in a list are relative to `root` (default: the list's folder). Raises ManifestError that lists every bad
    line and the missing files; with `skip_missing` those are left out and returned.
    """
    problems: list[Problem] = []
    found = Found()
    if source.is_dir():
        _folder(source, unpacked, found, problems)
    elif not source.is_file():
        fix = "give a folder, .csv, .jsonl, .parquet, .tar or a list file"
        raise ManifestError(Problem(str(source), "a source of videos", "nothing there", fix))
    elif is_tar(source):
        found.items = [_sidecars(Item(path, f"{source}: {path.name}")) for path in unpack(source, unpacked)]
    elif source.suffix.lower() in VIDEO_NAMES:
        found.items = [_sidecars(Item(source, str(source)))]
    elif source.suffix.lower() in SOUND_NAMES:
        fix = "give a video: clips have a picture and a sound"
        raise ManifestError(Problem(str(source), "a source of videos", "a sound file", fix))
    else:
        found.items = read_table(source, root or source.parent, problems)
    here = [item for item in found.items if item.path.is_file()]
    found.missing = [item for item in found.items if not item.path.is_file()]
    if found.missing and not (skip_missing and here):
        problems += [Problem(item.where, "a file that is there", str(item.path)) for item in found.missing[:SHOWN]]
        fix = "`--root FOLDER` says where paths start; `--skip-missing` leaves such lines out"
        got = f"{len(found.missing)} of {len(found.items)} are missing"
        problems.append(Problem(str(source), "files that are there", got, fix))
    if not found.items and not problems:
        wanted = f"at least one video ({', '.join(sorted(VIDEO_NAMES))})"
        problems.append(Problem(str(source), wanted, "none"))
    if problems:
        raise ManifestError(problems)
    found.items = here
    return found


def list_folder(folder: Path, problems: list[Problem]) -> list[Item]:
    """Items of a folder without unpacking tars; files that its lists name need not be there."""
    found = Found()
    _folder(folder, None, found, problems)
    return found.items


def _folder(folder: Path, unpacked: Path | None, found: Found, problems: list[Problem]) -> None:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    lists = [path for path in paths if path.name.lower() in METADATA]
    videos = [path for path in paths if path.suffix.lower() in VIDEO_NAMES]
    for listed in lists:
        part = _split_of(listed, folder)
        for item in read_table(listed, listed.parent, problems):
            found.items.append(replace(item, split=item.split or part or _split_of(item.path, folder)))
    if lists:
        named = {item.path.resolve() for item in found.items}
        left = [path for path in videos if path.resolve() not in named]
        if left:
            told = ", ".join(path.name for path in left[:3])
            found.warnings.append(f"{len(left)} videos that no {lists[0].name} lists are left out: {told}")
        videos = []
    for path in videos:
        item = _sidecars(Item(path, str(path)))
        found.items.append(replace(item, split=item.split or _split_of(path, folder)))
    known = VIDEO_NAMES | _TEXT | TABLES
    passed = [path for path in paths if path.suffix.lower() not in known and not is_tar(path)]
    if passed and unpacked is not None:
        told = ", ".join(path.name for path in passed[:3]) + (", ..." if len(passed) > 3 else "")
        found.warnings.append(f"{len(passed)} files of {folder} are no videos and are passed over: {told}")
    for tar in (path for path in paths if unpacked is not None and is_tar(path)):
        assert unpacked is not None
        for path in unpack(tar, unpacked):
            item = _sidecars(Item(path, f"{tar}: {path.name}"))
            found.items.append(replace(item, split=item.split or _split_of(tar, folder)))


def _split_of(path: Path, folder: Path) -> Split | None:
    """The split that the first folder below `folder` is named after."""
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    return split_named(parts[0]) if len(parts) > 1 else None


def _sidecars(item: Item) -> Item:
    """Fields from NAME.json and the caption from NAME.txt beside the video."""
    values: dict[str, Any] = {}
    described, text = item.path.with_suffix(".json"), item.path.with_suffix(".txt")
    reading, wanted = described, "a JSON object in UTF-8"
    try:
        if described.is_file():
            content = json.loads(described.read_text(encoding="utf-8-sig"))
            if not isinstance(content, dict):
                raise ValueError("not an object")
            values = standard_names(content)
        reading, wanted = text, "text in UTF-8"
        if text.is_file():
            values["caption"] = text.read_text(encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:
        raise ManifestError(Problem(str(reading), wanted, str(error)[:120])) from error
    problems: list[Problem] = []
    found = item_of(item.path, str(described), values, problems)
    if problems:
        raise ManifestError(problems)
    caption = None if found.caption is None else " ".join(found.caption.split())
    return replace(found, where=item.where, caption=caption)
