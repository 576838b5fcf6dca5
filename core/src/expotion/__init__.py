"""Expotion: music that follows a face and a body.

import expotion
composer = expotion.load()
music = composer.compose("clip.mp4", prompt="bright marimba, joyful")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expotion.pipeline.composer import Composer, Music, MusicChunk
    from expotion.pipeline.composer_load import load

__all__ = ["Composer", "Music", "MusicChunk", "load"]


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is: importing expotion stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'expotion' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    module = "composer_load" if name == "load" else "composer"
    return getattr(import_module(f"expotion.pipeline.{module}"), name)
