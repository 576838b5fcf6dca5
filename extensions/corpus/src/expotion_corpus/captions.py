"""A captioner's words for the rows of a manifest, remembered by captioner and content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from expotion.contracts import Clip
from expotion.errors import ExpotionError
from expotion.files import write_json
from expotion.manifest.rows import Row

Captioner = Callable[[Clip], str]
KEEP_EVERY = 20
"""Captions written between two saves of the file."""


def with_captions(
    rows: Sequence[Row],
    clips: Sequence[Clip],
    build: Callable[[], Captioner],
    kept: Path,
    described: str,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Row], list[str]]:
    """Rows with the captioner's words, and who was refused, why.

    `kept` remembers them by `described` (the captioner and its options) and the clip's content. The captioner is
    built only where a caption is missing.
    """
    known: dict[str, str] = {}
    if kept.is_file():
        try:
            known = dict(json.loads(kept.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            known = {}  # a cache: what is damaged is made again
    out, refused = [], []
    captioner: Captioner | None = None
    written = 0
    try:
        for done, (row, clip) in enumerate(zip(rows, clips, strict=True), start=1):
            key = hashlib.sha256(f"{described} {clip.content_hash}".encode()).hexdigest()
            if key not in known:
                captioner = captioner or build()
                try:
                    known[key] = captioner(clip)
                except ExpotionError as error:
                    refused.append(f"{row.id} keeps its own caption: {error}")
                    out.append(row)
                    continue
                finally:
                    clip.close()
                written += 1
                if written % KEEP_EVERY == 0:
                    write_json(kept, known)
            out.append(row.model_copy(update={"caption": known[key]}))
            progress(done, len(rows))
    finally:
        if written % KEEP_EVERY:
            write_json(kept, known)
    return out, refused
