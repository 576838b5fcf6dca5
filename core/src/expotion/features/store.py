"""Extracted features on disk, found by everything that made them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np

from expotion.contracts import API_VERSION, Clip, Encoder, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, Problem
from expotion.files import cache_folder, replacing

STORE_VERSION = 1
"""Raised when the meaning or the layout of entries changes: older entries are then never read."""

Features = TimedFeatures | TokenFeatures


class FeatureStore:
    """Features of clips, one file per entry: safetensors with a checksum in its header.

    The key is a hash of the clip's content, the encoder's name, distribution, version and source code, its
    options, its weights, and the versions of the contract and the store; for encoders that need them also
    the caption and the clip's sensor files. Writing is atomic, so several processes may share a store: the
    last writer of the same key wins with the same bytes. A damaged entry counts as absent and is reported.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder) if folder is not None else cache_folder() / "features"
        self.reports: list[str] = []
        """What was wrong with entries so far; each was or will be recomputed."""

    def key(self, clip: Clip, encoder: Encoder) -> str:
        """Hex SHA-256 of everything that decides the features."""
        parts = [
            f"store {STORE_VERSION}",
            f"contract {API_VERSION}",
            f"clip {clip.content_hash}",
            f"duration {clip.duration_s!r}",
            f"encoder {encoder.spec.name}",
            f"code {code_version(type(encoder).__module__)}",
            f"options {json.dumps(encoder.options.model_dump(mode='json'), sort_keys=True)}",
            f"weights {encoder.weights_hash}",
        ]
        if "text" in encoder.spec.needs:
            parts.append(f"caption {clip.caption!r}")
        if "file" in encoder.spec.needs:
            parts += [f"track {name} {_file_hash(path)}" for name, path in sorted(clip.tracks.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def path(self, key: str) -> Path:
        """File of an entry."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def load(self, clip: Clip, encoder: Encoder) -> Features | None:
        """Features of a clip, or None where they are absent or damaged (see `reports`)."""
        path = self.path(self.key(clip, encoder))
        try:
            return read_entry(path)
        except FileNotFoundError:
            return None
        except ExpotionError as error:
            self.reports.append(f"features of {clip.id} from {encoder.spec.name} are computed again: {error}")
            return None

    def save(self, clip: Clip, encoder: Encoder, features: Features) -> Path:
        """Keep the features of a clip; returns the file."""
        path = self.path(self.key(clip, encoder))
        write_entry(path, features, {"clip": clip.id, "encoder": encoder.spec.name})
        return path


def write_entry(path: Path, features: Features, notes: dict[str, str]) -> None:
    """Write one entry atomically. Raises ExpotionError where the disk refuses it."""
    from safetensors.numpy import save  # noqa: PLC0415

    tensors = _tensors(features)
    kind = "timed" if isinstance(features, TimedFeatures) else "token"
    blob = save(tensors, metadata=notes | {"kind": kind, "sha256": _checksum(tensors)})
    with replacing(
        path, fix="free some space, or set EXPOTION_CACHE to a folder that can be written"
    ) as draft:
        draft.write_bytes(blob)


def read_entry(path: Path) -> Features:
    """Read and verify one entry. Raises FileNotFoundError, or ExpotionError for a damaged file."""
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.numpy import load  # noqa: PLC0415

    blob = path.read_bytes()
    try:
        tensors = load(blob)
        length = int.from_bytes(blob[:8], "little")
        notes = json.loads(blob[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError) as error:
        raise ExpotionError(Problem(str(path), "a readable entry", f"{error}", "it is replaced")) from error
    if notes.get("sha256") != _checksum(tensors):
        raise ExpotionError(
            Problem(str(path), "an entry that matches its checksum", "other bytes", "it is replaced")
        )
    if notes.get("kind") == "timed":
        return TimedFeatures(tensors["values"], tensors["times_s"], tensors["valid"])
    return TokenFeatures(tensors["values"], tensors["mask"])


@lru_cache(maxsize=256)
def code_version(module: str) -> str:
    """Distribution, version and a digest of the sources of the top-level package that a module is in.

    The digest keeps a plugin under development from reading what an earlier state of its code wrote.
    """
    top = module.partition(".")[0]
    names = importlib.metadata.packages_distributions().get(top, [])
    versions = ",".join(f"{name}=={importlib.metadata.version(name)}" for name in sorted(set(names)))
    digest = hashlib.sha256()
    # Core's own sources change for many reasons that are no feature's; its version stands for them.
    spec = _find_spec(top) if top not in {"expotion", "__main__"} else None
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    files = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    if spec is not None and not folders and spec.origin and spec.origin.endswith(".py"):
        files = [Path(spec.origin)]
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{top} {versions} {digest.hexdigest()[:16]}"


def _find_spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _tensors(features: Features) -> dict[str, np.ndarray]:
    if isinstance(features, TimedFeatures):
        arrays = {"values": features.values, "times_s": features.times_s, "valid": features.valid}
    else:
        arrays = {"values": features.values, "mask": features.mask}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _checksum(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _hash_at(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_hash(path: Path) -> str:
    status = path.stat()
    return _hash_at(os.path.realpath(path), status.st_mtime_ns, status.st_size)
