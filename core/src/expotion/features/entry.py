"""One entry of the store: a safetensors file whose header says what it is, how it was made, and its checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from expotion.contracts import TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, Problem
from expotion.files import replacing

Features = TimedFeatures | TokenFeatures

_HEADER_LIMIT = 1_000_000


def write_entry(path: Path, features: Features, notes: Mapping[str, str]) -> None:
    """Write one entry atomically. `notes` are kept in its header. Raises OutputError where the disk refuses it."""
    from safetensors.numpy import save  # noqa: PLC0415

    tensors = _tensors(features)
    kind = "timed" if isinstance(features, TimedFeatures) else "token"
    told = {**notes, "kind": kind}
    blob = save(tensors, metadata=told | {"sha256": _checksum(tensors, told)})
    with replacing(
        path, fix="free some space, or set EXPOTION_CACHE to a folder that can be written"
    ) as draft:
        draft.write_bytes(blob)


def read_entry(path: Path) -> Features:
    """Read and verify one entry. Raises FileNotFoundError, or ExpotionError for a damaged file."""
    return parse_entry(path.read_bytes(), str(path))[0]


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
        raise ExpotionError(
            Problem(where, "an entry that matches its checksum", "other bytes", "it is replaced")
        )
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
