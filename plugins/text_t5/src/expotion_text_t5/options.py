"""Options of `text_t5`."""

from __future__ import annotations

from pydantic import Field

from expotion.contracts import Options


class TextT5Options(Options):
    """Options of `text_t5`."""

    model: str | None = Field(
        None, description="folder or hub id of a T5 encoder or of a MusicGen; core fills in the backbone's"
    )
    max_words: int = Field(200, ge=1, description="longer prompts are refused")
