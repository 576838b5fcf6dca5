"""Extracted features on disk, found by everything that made them."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np

from expotion.contracts import FEATURES_VERSION, Clip, Encoder, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, Problem
from expotion.files import cache_folder, file_sha256, replacing

# One entry of the store: a safetensors file whose header says what it is, how it was made, and its checksum.

Features = TimedFeatures | TokenFeatures

_HEADER_LIMIT = 1_000_000


def write_entry(path: Path, features: Features, notes: Mapping[str, str]) -> None:
    """Write one entry atomically. `notes` are kept in its header. Raises OutputError where the disk refuses it."""
    from safetensors.numpy import save  # noqa: PLC0415

    tensors = _tensors(features)
    kind = "timed" if isinstance(features, TimedFeatures) else "token"
    told = {**notes, "kind": kind}
    blob = save(tensors, metadata=told | {"sha256": _checksum(tensors, told)})
    with replacing(path, fix="free some space, or set EXPOTION_CACHE to a folder that can be written") as draft:
        draft.write_bytes(blob)


def parse_entry(blob: bytes, where: str) -> tuple[Features, dict[str, str]]:
    """Features and notes of an entry's bytes, verified. Raises ExpotionError where they are damaged."""
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.numpy import load  # noqa: PLC0415

    try:
        tensors = load(blob)
        length = int.from_bytes(blob[:8], "little")
        notes = dict(json.loads(blob[8 : 8 + length]).get("__metadata__", {}))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ExpotionError(Problem(where, "a readable entry", f"{error}", "it is replaced")) from error
    told = {name: text for name, text in notes.items() if name != "sha256"}
    if notes.get("sha256") != _checksum(tensors, told):
        raise ExpotionError(Problem(where, "an entry that matches its checksum", "other bytes", "it is replaced"))
    if notes.get("kind") == "timed":
        return TimedFeatures(tensors["values"], tensors["times_s"], tensors["valid"]), notes
    return TokenFeatures(tensors["values"], tensors["mask"]), notes


def read_header(path: Path) -> tuple[dict[str, str], tuple[int, ...]]:
    """Notes and the shape of `values`, without reading the features. Raises ExpotionError for a damaged header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if 0 < length <= _HEADER_LIMIT else b""
    try:
        header = json.loads(text)
        return dict(header["__metadata__"]), tuple(int(n) for n in header["values"]["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExpotionError(Problem(str(path), "an entry with a readable header", f"{error}")) from error


def _tensors(features: Features) -> dict[str, np.ndarray]:
    if isinstance(features, TimedFeatures):
        arrays = {"values": features.values, "times_s": features.times_s, "valid": features.valid}
    else:
        arrays = {"values": features.values, "mask": features.mask}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _checksum(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> str:
    """SHA-256 over the arrays and everything that the header says about them."""
    digest = hashlib.sha256(json.dumps(sorted(notes.items())).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


# Which code an encoder runs: distribution, version and a digest of its sources.


@lru_cache(maxsize=256)
def code_version(module: str) -> str:
    """Distribution, version and a digest of the sources of the top-level package that a module is in.

    The digest keeps a plugin under development from reading what an earlier state of its code wrote.
    """
    top = module.partition(".")[0]
    digest = hashlib.sha256()
    # Core's own sources change for many reasons that are no feature's; its version stands for them.
    spec = _find_spec(top) if top not in {"expotion", "__main__"} else None
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    files = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    if spec is not None and not folders and spec.origin and spec.origin.endswith(".py"):
        files = [Path(spec.origin)]
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{top} {distribution_of(top)} {digest.hexdigest()[:16]}"


@lru_cache(maxsize=256)
def distribution_of(module: str) -> str:
    """`NAME==VERSION` of what brings a module, several joined by commas, '' where nothing installed does."""
    top = module.partition(".")[0]
    names = _brought_by().get(top, [])
    if not names:  # an editable install does not say which modules it brings; by custom it is named alike
        try:
            return f"{top.replace('_', '-')}=={importlib.metadata.version(top)}"
        except importlib.metadata.PackageNotFoundError:
            return ""
    return ",".join(f"{name}=={importlib.metadata.version(name)}" for name in sorted(set(names)))


@lru_cache(maxsize=1)
def _brought_by() -> Mapping[str, list[str]]:
    """Distributions by the modules that they bring. Every installed file is read for it: once in a process."""
    return importlib.metadata.packages_distributions()


def _find_spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


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
            raise ExpotionError(Problem(str(path), "the entry of its name", notes.get("key"), "it is replaced"))
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
        "contract": FEATURES_VERSION,
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
        parts["tracks"] = json.dumps({name: file_sha256(path) for name, path in sorted(clip.tracks.items())})
    return parts


def imported_key(clip_hash: str, name: str) -> str:
    """Key of imported features of a clip: it begins differently from what any encoder's key is the hash of."""
    return _digest({"imported": name, "clip hash": clip_hash, "store": str(STORE_VERSION)})


def made(key: str) -> dict[str, str]:
    """When and where an entry is made, and its key."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"key": key, "made at": now, "made on": f"{platform.node()} {platform.system()} {platform.machine()}"}


def _digest(parts: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()
