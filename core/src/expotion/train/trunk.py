"""A bounded cache on disk of what the frozen model computes below the first adapted layer.

That part depends on a clip's codes and text alone, so with fewer than all layers adapted it is the same in every
epoch. Each entry is computed for one clip by itself: what is read back is bit for bit what would be computed,
whichever clips share its batch, and a cache that vanished half-way changes nothing.

Not for runs with a context swap: there a clip's history is another one in every step.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from expotion.errors import OutputError
from expotion.files import replacing


class TrunkCache:
    """Hidden states [S, d] by (clip, with or without text), up to `budget_bytes` in a folder."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.folder = folder
        self.budget_bytes = budget_bytes
        self.used_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        self.hits = self.misses = 0

    def get(self, clip: int, with_text: bool) -> Tensor | None:
        """The entry, or None where it is missing or cannot be read."""
        try:
            found: Tensor | None = load(self._path(clip, with_text).read_bytes())["hidden"]
        except (OSError, SafetensorError, KeyError):
            found = None
        self.hits += found is not None
        self.misses += found is None
        return found

    def put(self, clip: int, with_text: bool, hidden: Tensor) -> None:
        """Keep an entry if there is room; a disk without any is no error, the entry is computed again."""
        size = hidden.numel() * hidden.element_size() + 256
        if self.used_bytes + size > self.budget_bytes:
            return
        path = self._path(clip, with_text)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                draft.write_bytes(save({"hidden": hidden.contiguous()}))
        except (OSError, OutputError):
            self.budget_bytes = self.used_bytes  # no further try
            return
        self.used_bytes += size

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.used_bytes = 0

    def _path(self, clip: int, with_text: bool) -> Path:
        return self.folder / f"{clip:06d}_{'text' if with_text else 'null'}.safetensors"
