"""What the captioner and the task of scenes may be told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from expotion.contracts import Options


class SceneOptions(Options):
    """Of the captioner `musiscene`."""

    model: Path | None = Field(
        default=None, description="weights of a run of the task scenes: its scenes.safetensors; else those shipped"
    )


class SceneTaskOptions(Options):
    """Of a recipe with `task: scenes`, under `options`."""

    helpers: bool = Field(
        default=True, description="the ear also learns the other traits that the truth names, as mode or kit"
    )
    processes: int = Field(default=2, ge=1, le=64, description="processes that listen to the clips")
