"""What every spec is made of: the version of the contract, options, weights and where pulled ones lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from expotion.files import cache_folder

API_VERSION = "1.3"
"""Version of this contract: the major part changes when a plugin must change."""

ENTRY_POINT_GROUP = "expotion.plugins"


class Options(BaseModel):
    """Base of every plugin's options: unknown keys are refused, values are not changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Weights:
    """A file of weights that an encoder needs: where it comes from and under which licence.

    `source` is 'shipped' (inside the package), 'seeded' (made from a seed, nothing to download), or an
    identifier that `expotion models pull` understands. `files` are what is taken of an archive, each with its
    SHA-256: (path, digest), in the cache under the path's last part. `seeded(folder)` writes random weights
    there with the names, shapes and layout of the real file and returns the file: what `recipe rehearse` reads
    while the real one is not here.
    """

    name: str
    source: str
    licence: str
    non_commercial: bool = False
    size_bytes: int | None = None
    sha256: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    seeded: Callable[[Path], Path] | None = None


def pulled_weights(name: str) -> Path | None:
    """The file that `expotion models pull NAME` left in the cache, or None. Cheap: nothing is downloaded."""
    try:
        note = json.loads((cache_folder() / "models" / name / "model.json").read_text(encoding="utf-8"))
        path = Path(note["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.is_file() else None
