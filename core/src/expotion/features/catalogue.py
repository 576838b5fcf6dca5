"""What is in a store: entries by their headers, damage, what may go, and what is carried to another machine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from expotion.contracts import FEATURES_VERSION, TimedFeatures
from expotion.errors import ExpotionError, Problem, in_short
from expotion.features.encoders import build_encoder
from expotion.features.store import STORE_VERSION, FeatureStore, code_version, parse_entry, read_header
from expotion.files import replacing
from expotion.plugins import Registry

INDEX = "index.jsonl"
"""What an export tells of its entries, one line of JSON each."""
_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")


@dataclass(frozen=True)
class Entry:
    """An entry as its header tells it. `shape` of the values; `modified_s` and `n_bytes` of the file."""

    path: Path
    notes: dict[str, str]
    shape: tuple[int, ...]
    n_bytes: int
    modified_s: float

    @property
    def clip(self) -> str:
        """Id of the clip."""
        return self.notes.get("clip", "?")

    @property
    def encoder(self) -> str:
        """Name of the encoder, or of what was imported."""
        return self.notes.get("encoder", "?")

    @property
    def imported(self) -> bool:
        """Whether other software computed it."""
        return self.notes.get("origin") == "imported"

    @property
    def options_digest(self) -> str:
        """Eight hexadecimal digits that tell options apart; 'imported' for imported features."""
        if self.imported:
            return "imported"
        return hashlib.sha256(self.notes.get("options", "").encode()).hexdigest()[:8]

    @property
    def rate_hz(self) -> float | None:
        """Rows per second, where there is a fixed rate."""
        text = self.notes.get("rate_hz", "")
        return float(text) if text else None

    def index_line(self) -> str:
        """Provenance as a line of JSON."""
        about = {**self.notes, "shape": list(self.shape), "n_bytes": self.n_bytes}
        return json.dumps(about, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Damaged:
    """A file in the store that is no whole entry."""

    path: Path
    why: str


def scan(store: FeatureStore) -> tuple[list[Entry], list[Damaged]]:
    """All entries by their headers, in a fixed order, and those whose header cannot be read."""
    entries, damaged = [], []
    for path in _files(store):
        try:
            status = path.stat()
            notes, shape = read_header(path)
        except FileNotFoundError:  # pruned by another process meanwhile
            continue
        except (ExpotionError, OSError) as error:
            damaged.append(Damaged(path, str(error)))
            continue
        entries.append(Entry(path, notes, shape, status.st_size, status.st_mtime))
    return entries, damaged


def verify(store: FeatureStore) -> Iterator[tuple[Path, Damaged | None]]:
    """Each entry and what is wrong with it: checksum of arrays and header, key against the file's name."""
    for path in _files(store):
        try:
            _, notes = parse_entry(path.read_bytes(), str(path))
        except FileNotFoundError:
            continue
        except (ExpotionError, OSError, KeyError) as error:
            yield path, Damaged(path, str(error))
            continue
        whole = notes.get("key") == path.stem
        yield path, None if whole else Damaged(path, f"{path}: its key is {notes.get('key')}")


def _files(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.glob("??/*.safetensors"))


def select(
    entries: Sequence[Entry],
    *,
    older_than_s: float | None = None,
    encoder: str | None = None,
    max_bytes: int | None = None,
    stale: Callable[[Entry], str | None] | None = None,
) -> dict[Path, tuple[Entry, str]]:
    """Entries that may go, with the reason. `encoder` narrows the other rules, and alone selects all of its own.

    `max_bytes` lets the oldest go until the rest of the store fits. `stale` gives a reason or None.
    """
    now_s = time.time()
    mine = [entry for entry in entries if encoder is None or entry.encoder == encoder]
    gone: dict[Path, tuple[Entry, str]] = {}
    if encoder is not None and older_than_s is None and max_bytes is None and stale is None:
        return {entry.path: (entry, f"of {encoder}") for entry in mine}
    for entry in mine:
        age_s = now_s - entry.modified_s
        if older_than_s is not None and age_s > older_than_s:
            gone[entry.path] = (entry, f"{age_s / 86_400:.1f} days old")
        elif stale is not None and (reason := stale(entry)) is not None:
            gone[entry.path] = (entry, reason)
    if max_bytes is not None:
        total = sum(entry.n_bytes for entry in entries if entry.path not in gone)
        for entry in sorted(mine, key=lambda entry: (entry.modified_s, entry.path)):
            if total <= max_bytes:
                break
            if entry.path not in gone:
                gone[entry.path] = (entry, "the oldest of too much")
                total -= entry.n_bytes
    return gone


def remove(path: Path) -> None:
    """Delete an entry, and its folder where that is then empty."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


class Stale:
    """Says of an entry why it will not be read again, or None. Encoders are built once per set of options."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._weights: dict[tuple[str, str], str | None] = {}

    def __call__(self, entry: Entry) -> str | None:
        """The reason, or None for an entry that is still of use."""
        notes, offers = entry.notes, self.registry.offers("encoder")
        # Core's codec is no plugin's offer: its code alone tells whether its entries are current.
        is_core = notes.get("module", "").startswith("expotion.")
        reason = None
        if entry.imported:
            return None
        if notes.get("store") != str(STORE_VERSION) or notes.get("contract") != FEATURES_VERSION:
            reason = "of another version of the store"
        elif entry.encoder not in offers and not is_core:
            reason = f"{entry.encoder} is not installed"
        elif code_version(notes.get("module", "")) != notes.get("code"):
            reason = f"of other code than {entry.encoder} has now"
        elif entry.encoder in offers:
            weights = self._weights_of(entry.encoder, notes.get("options", "{}"))
            if weights is None:
                reason = f"{entry.encoder} cannot be built with its options any more"
            elif weights != notes.get("weights"):
                reason = "of other weights than are there now"
        return reason

    def _weights_of(self, encoder: str, options: str) -> str | None:
        if (encoder, options) not in self._weights:
            try:
                built = build_encoder(self.registry.encoder(encoder), json.loads(options))
                self._weights[encoder, options] = built.weights_hash
            except (ExpotionError, OSError, ValueError):
                self._weights[encoder, options] = None
        return self._weights[encoder, options]


# Entries in a folder or a tar of safetensors files with an index, or as npz for other software.


@dataclass
class Imported:
    """Entries that were brought in, those that were there already, and refused ones with the reason."""

    new: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)


def export(entries: Sequence[Entry], to: Path, kind: Literal["safetensors", "npz"] = "safetensors") -> list[str]:
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
        for number, line in enumerate(index.removesuffix("\n").split("\n"), start=1):
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


@contextlib.contextmanager
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
