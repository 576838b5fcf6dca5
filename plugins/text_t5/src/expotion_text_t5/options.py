"""Options of `text_t5`."""

from __future__ import annotations

from expotion.contracts import Options
from pydantic import Field


class TextT5Options(Options):
    """Options of `text_t5`."""

    model: str | None = Field(
        None,
        description="folder or hub id of a T5 encoder, or of a MusicGen that holds one; core fills in the backbone's",
    )
    max_words: int = Field(200, ge=1, description="longer prompts are refused")
