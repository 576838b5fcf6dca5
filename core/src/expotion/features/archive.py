"""Entries carried to another machine: a folder or a tar of safetensors files with an index, or npz for others."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from expotion.contracts import TimedFeatures
from expotion.errors import ExpotionError, Problem, in_short
from expotion.features.catalogue import Entry
from expotion.features.store import FeatureStore, parse_entry
from expotion.files import replacing

INDEX = "index.jsonl"
_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")


@dataclass
class Imported:
    """Entries that were brought in, those that were there already, and refused ones with the reason."""

    new: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)


def export(
    entries: Sequence[Entry], to: Path, kind: Literal["safetensors", "npz"] = "safetensors"
) -> list[str]:
    """Write entries and an index to a new folder, or to one file where the name ends in .tar.

    Returns what was left out because it is damaged. Raises OutputError where it cannot be written, ExpotionError
    for a folder that has something in it.
    """
    left_out: list[str] = []

    def files() -> Iterator[tuple[str, bytes]]:
        index = []
        for entry in entries:
            try:
                blob = entry.path.read_bytes()
                features, notes = parse_entry(blob, str(entry.path))
            except (ExpotionError, OSError) as error:
                left_out.append(str(error))
                continue
            name = entry.path.name
            if kind == "npz":
                arrays: dict[str, np.ndarray] = {"values": features.values}
                if isinstance(features, TimedFeatures):
                    arrays |= {"times_s": features.times_s, "valid": features.valid}
                else:
                    arrays["mask"] = features.mask
                buffer = io.BytesIO()
                np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes keywords for options
                blob, name = buffer.getvalue(), f"{entry.path.stem}.npz"
            digest = hashlib.sha256(blob).hexdigest()
            about = {"file": name, "file_sha256": digest, "shape": list(features.values.shape), **notes}
            index.append(json.dumps(about, sort_keys=True, ensure_ascii=False))
            yield name, blob
        yield INDEX, "".join(line + "\n" for line in index).encode()

    if to.suffix == ".tar":
        with replacing(to) as draft, tarfile.open(draft, "w") as tar:
            for name, blob in files():
                member = tarfile.TarInfo(name)
                member.size = len(blob)
                tar.addfile(member, io.BytesIO(blob))
        return left_out
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ExpotionError(Problem(str(to), "a new or empty folder, or a file .tar", "something else"))
    for name, blob in files():
        with replacing(to / name) as draft:
            draft.write_bytes(blob)
    return left_out


def bring_in(source: Path, store: FeatureStore) -> Imported:
    """Take the entries of an export into a store. Each is checked against the index and its own checksum."""
    out = Imported()
    with _reader(source) as (read, index):
        for number, line in enumerate(index.splitlines(), start=1):
            where = f"{source}: {INDEX}:{number}"
            try:
                about = json.loads(line)
                name, digest, key = str(about["file"]), about["file_sha256"], str(about["key"])
            except (ValueError, KeyError, TypeError) as error:
                out.refused.append(f"{where}: not a line of an index ({in_short(error)})")
                continue
            if not _NAME.fullmatch(name) or name != f"{key}.safetensors":
                out.refused.append(f"{where}: {name} is not named by its key; only safetensors are imported")
                continue
            try:
                blob = read(name)
                if hashlib.sha256(blob).hexdigest() != digest:
                    raise ExpotionError(Problem(name, "the bytes that the index tells of", "others"))
                _, notes = parse_entry(blob, name)
                if notes.get("key") != key:
                    raise ExpotionError(Problem(name, f"an entry of key {key}", notes.get("key")))
            except (ExpotionError, OSError, KeyError) as error:
                out.refused.append(f"{where}: {error}")
                continue
            if _is_whole(store, key):
                out.known += 1
                continue
            with replacing(store.path(key)) as draft:
                draft.write_bytes(blob)
            out.new += 1
    return out


def _is_whole(store: FeatureStore, key: str) -> bool:
    try:
        store.read(key)
    except (FileNotFoundError, ExpotionError):
        return False
    return True


@contextmanager
def _reader(source: Path) -> Iterator[tuple[Callable[[str], bytes], str]]:
    """How to read a file of an export by name, and its index."""
    wanted, fix = f"an export: a folder or .tar with {INDEX}", "write one with `expotion features export`"
    if source.is_dir():
        if not (source / INDEX).is_file():
            raise ExpotionError(Problem(str(source), wanted, "no index", fix))
        yield (lambda name: (source / name).read_bytes()), (source / INDEX).read_text(encoding="utf-8")
        return
    try:
        with tarfile.open(source, "r:") as tar:

            def read(name: str) -> bytes:
                file = tar.extractfile(name)
                if file is None:
                    raise OSError(f"{name} is not a file")
                return file.read()

            yield read, read(INDEX).decode()
    except (tarfile.TarError, KeyError, UnicodeDecodeError) as error:
        raise ExpotionError(Problem(str(source), wanted, str(error), fix)) from error
