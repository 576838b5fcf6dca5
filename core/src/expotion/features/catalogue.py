"""What is in a store: headers, damage, and what may go."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from expotion.assemble import build_encoder
from expotion.contracts import FEATURES_VERSION
from expotion.errors import ExpotionError
from expotion.features.store import STORE_VERSION, FeatureStore, code_version, parse_entry, read_header
from expotion.plugins import Registry


@dataclass(frozen=True)
class Entry:
    """An entry as its header tells it. `shape` of the values; `modified_s` and `n_bytes` of the file."""

    path: Path
    notes: dict[str, str]
    shape: tuple[int, ...]
    n_bytes: int
    modified_s: float

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
    n_bytes: int


def entry_files(store: FeatureStore) -> list[Path]:
    """Files of all entries, in a fixed order."""
    return sorted(store.folder.glob("??/*.safetensors"))


def scan(store: FeatureStore) -> tuple[list[Entry], list[Damaged]]:
    """All entries by their headers, and those whose header cannot be read."""
    entries, damaged = [], []
    for path in entry_files(store):
        try:
            status = path.stat()
            notes, shape = read_header(path)
        except FileNotFoundError:  # pruned by another process meanwhile
            continue
        except (ExpotionError, OSError) as error:
            damaged.append(Damaged(path, str(error), path.stat().st_size if path.exists() else 0))
            continue
        entries.append(Entry(path, notes, shape, status.st_size, status.st_mtime))
    return entries, damaged


def verify(store: FeatureStore) -> Iterator[tuple[Path, Damaged | None]]:
    """Each entry and what is wrong with it: checksum of arrays and header, key against the file's name."""
    for path in entry_files(store):
        try:
            blob = path.read_bytes()
            _, notes = parse_entry(blob, str(path))
        except FileNotFoundError:
            continue
        except (ExpotionError, OSError, KeyError) as error:
            yield path, Damaged(path, str(error), path.stat().st_size if path.exists() else 0)
            continue
        if notes.get("key") != path.stem:
            yield path, Damaged(path, f"{path}: its key is {notes.get('key')}", len(blob))
        else:
            yield path, None


def select(
    entries: Sequence[Entry],
    *,
    now: datetime.datetime,
    older_than_s: float | None = None,
    encoder: str | None = None,
    max_bytes: int | None = None,
    stale: Callable[[Entry], str | None] | None = None,
) -> dict[Path, tuple[Entry, str]]:
    """Entries that may go, with the reason. `encoder` narrows the other rules, and alone selects all of its own.

    `max_bytes` lets the oldest go until the rest of the store fits. `stale` gives a reason or None.
    """
    mine = [entry for entry in entries if encoder is None or entry.encoder == encoder]
    gone: dict[Path, tuple[Entry, str]] = {}
    if encoder is not None and older_than_s is None and max_bytes is None and stale is None:
        return {entry.path: (entry, f"of {encoder}") for entry in mine}
    for entry in mine:
        age_s = now.timestamp() - entry.modified_s
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


# Entries that nothing installed here would read again.


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
