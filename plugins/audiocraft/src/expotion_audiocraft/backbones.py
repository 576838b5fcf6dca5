"""The backbones `audiocraft-small`, `-medium` and `-large`: published MusicGen models, converted by audiocraft.

Finding one never downloads or converts anything, as `expotion recipe check` asks for it; the command in the
error does, once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from expotion.contracts import BackboneSpec
from expotion.errors import Problem, WeightsError

PUBLISHED = {f"audiocraft-{size}": f"facebook/musicgen-{size}" for size in ("small", "medium", "large")}
LICENCE = "CC-BY-NC-4.0"


def cache_folder() -> Path:
    """Where converted models lie: `audiocraft` in $EXPOTION_CACHE or in Expotion's part of the user's cache."""
    asked = os.environ.get("EXPOTION_CACHE")
    if asked:
        return Path(asked).expanduser() / "audiocraft"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "expotion" / "audiocraft"


def converted_folder(model: str) -> Path:
    """Folder of a published model's conversion; it exists once the conversion has succeeded."""
    return cache_folder() / model.replace("/", "--")


def _locate(name: str, model: str) -> Callable[[], Path]:
    def locate() -> Path:
        folder = converted_folder(model)
        if not folder.is_dir():
            raise WeightsError(
                Problem(
                    f"backbone {name}",
                    f"{model} as audiocraft loads it, in {folder}",
                    "no such folder",
                    f"make it with `python -m expotion_audiocraft {model}`, or use hf:{model}",
                )
            )
        return folder

    return locate


SPECS = [
    BackboneSpec(
        name=name,
        description=f"{model}, loaded and converted by audiocraft",
        locate=_locate(name, model),
        licence=LICENCE,
        non_commercial=True,
    )
    for name, model in PUBLISHED.items()
]
