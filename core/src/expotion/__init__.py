"""Expotion: music that follows a face and a body.

import expotion
composer = expotion.load()
music = composer.compose("clip.mp4", prompt="light marimba, happy mood")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expotion.music.composer import Composer, load
    from expotion.music.piece import Music, MusicChunk

__all__ = ["Composer", "Music", "MusicChunk", "load"]


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is: importing expotion stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'expotion' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module("expotion.music.composer"), name)
