"""Extracted features on disk, found by everything that made them."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
from functools import lru_cache
from pathlib import Path

from expotion.contracts import API_VERSION, Clip, Encoder
from expotion.errors import ExpotionError, Problem
from expotion.features.code_version import code_version, distribution_of
from expotion.features.entry import Features, parse_entry, read_entry, write_entry
from expotion.files import cache_folder

__all__ = ["FeatureStore", "Features", "code_version", "imported_key", "read_entry", "write_entry"]

STORE_VERSION = 2
"""Raised when the meaning or the layout of entries changes: older entries are then never read."""


class FeatureStore:
    """Features of clips, one file per entry: safetensors with its provenance and a checksum in its header.

    The key is a hash of the clip's content, the encoder's name, distribution, version and source code, its
    options, its weights, and the versions of the contract and the store; for encoders that need them also
    the caption and the clip's sensor files. Writing is atomic, so several processes may share a store: the
    last writer of the same key wins with the same features. A damaged entry counts as absent and is reported.
    Features that were imported have keys of their own kind (`imported_key`), which no encoder's key can equal.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder) if folder is not None else cache_folder() / "features"
        self.reports: list[str] = []
        """What was wrong with entries so far; each was or will be recomputed."""

    def key(self, clip: Clip, encoder: Encoder) -> str:
        """Hex SHA-256 of everything that decides the features."""
        return _digest(identity(clip, encoder))

    def path(self, key: str) -> Path:
        """File of an entry."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def load(self, clip: Clip, encoder: Encoder) -> Features | None:
        """Features of a clip, or None where they are absent or damaged (see `reports`)."""
        if not encoder.worth_keeping:
            return None
        try:
            return self.read(self.key(clip, encoder))
        except FileNotFoundError:
            return None
        except ExpotionError as error:
            self.reports.append(f"features of {clip.id} from {encoder.spec.name} are computed again: {error}")
            return None

    def read(self, key: str) -> Features:
        """Read and verify an entry. Raises FileNotFoundError, or ExpotionError for a damaged or misplaced file."""
        path = self.path(key)
        features, notes = parse_entry(path.read_bytes(), str(path))
        if notes.get("key") != key:
            raise ExpotionError(
                Problem(str(path), "the entry of its name", notes.get("key"), "it is replaced")
            )
        return features

    def save(self, clip: Clip, encoder: Encoder, features: Features) -> Path:
        """Keep the features of a clip; returns the file."""
        told = identity(clip, encoder)
        key = _digest(told)
        path = self.path(key)
        rate_hz = encoder.spec.rate_hz(encoder.options)
        more = {
            "origin": "extracted",
            "clip": clip.id,
            "module": type(encoder).__module__,
            "distribution": distribution_of(type(encoder).__module__),
            "rate_hz": "" if rate_hz is None else repr(rate_hz),
        }
        write_entry(path, features, told | more | made(key))
        return path

    def save_imported(
        self, clip: Clip, name: str, features: Features, rate_hz: float, notes: dict[str, str]
    ) -> Path:
        """Keep features of a clip that other software computed, under the name that a recipe asks for them by."""
        key = imported_key(clip.content_hash, name)
        told = {"clip hash": clip.content_hash, "encoder": name, "origin": "imported", "clip": clip.id}
        write_entry(self.path(key), features, notes | told | {"rate_hz": repr(rate_hz)} | made(key))
        return self.path(key)


def identity(clip: Clip, encoder: Encoder) -> dict[str, str]:
    """Everything that decides the features, by name: what the key is the hash of."""
    parts = {
        "store": str(STORE_VERSION),
        "contract": API_VERSION,
        "clip hash": clip.content_hash,
        "duration_s": repr(clip.duration_s),
        "encoder": encoder.spec.name,
        "code": code_version(type(encoder).__module__),
        "options": json.dumps(encoder.options.model_dump(mode="json"), sort_keys=True),
        "weights": encoder.weights_hash,
        "computed in": encoder.computed_in,
    }
    if "text" in encoder.spec.needs:
        parts["caption"] = json.dumps(clip.caption)
    if "file" in encoder.spec.needs:
        parts["tracks"] = json.dumps({name: _file_hash(path) for name, path in sorted(clip.tracks.items())})
    return parts


def imported_key(clip_hash: str, name: str) -> str:
    """Key of imported features of a clip: it begins differently from what any encoder's key is the hash of."""
    return _digest({"imported": name, "clip hash": clip_hash, "store": str(STORE_VERSION)})


def made(key: str) -> dict[str, str]:
    """When and where an entry is made, and its key."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "key": key,
        "made at": now,
        "made on": f"{platform.node()} {platform.system()} {platform.machine()}",
    }


def _digest(parts: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()


@lru_cache(maxsize=1024)
def _hash_at(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_hash(path: Path) -> str:
    status = path.stat()
    return _hash_at(os.path.realpath(path), status.st_mtime_ns, status.st_size)
