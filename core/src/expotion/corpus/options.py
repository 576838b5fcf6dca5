"""Options of the data source `manifest`: the keys of a recipe's `data` beside `source: manifest`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from expotion.contracts import Options


class ManifestOptions(Options):
    """A manifest that `expotion data split` wrote; relative paths are from the working directory."""

    path: Path = Field(description="the manifest (JSON lines)")
    split: Literal["test", "validation"] = Field(default="test", description="which clips to evaluate on")
    train_clips: int | None = Field(default=None, ge=1, description="at most so many; default: all")
    test_clips: int | None = Field(default=None, ge=1, description="at most so many; default: all")
