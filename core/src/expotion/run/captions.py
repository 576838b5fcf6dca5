"""Captions by a captioner instead of the data's own: each clip's once, kept in the run folder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from expotion.contracts import Clip
from expotion.errors import ExpotionError
from expotion.files import write_json
from expotion.plugins import Registry
from expotion.recipe import Recipe

log = logging.getLogger("expotion")
KEEP_EVERY = 20
"""Captions written between two saves of the file."""


def write_captions(
    recipe: Recipe, registry: Registry, clips: Sequence[Clip], path: Path, *, progress: Callable[[int, int], None]
) -> None:
    """Set every clip's caption to what the recipe's captioner says; nothing happens without one.

    `path` holds what is known already, by captioner, options and the clip's content. A clip that the captioner
    refuses keeps its own caption, and the log says so.
    """
    if recipe.text.captioner is None:
        return
    spec = registry.captioner(recipe.text.captioner)
    options = spec.options(**recipe.text.captioner_options)
    described = f"{spec.name} {json.dumps(options.model_dump(mode='json'), sort_keys=True)}"
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    captioner: Callable[[Clip], str] | None = None
    written = 0
    for done, clip in enumerate(clips, start=1):
        key = hashlib.sha256(f"{described} {clip.content_hash}".encode()).hexdigest()
        if key not in known:
            captioner = captioner or spec.build(options)
            try:
                known[key] = captioner(clip)
            except ExpotionError as error:
                log.warning("%s keeps its own caption: %s", clip.id, error)
                continue
            written += 1
            if written % KEEP_EVERY == 0:
                write_json(path, known)
        clip.caption = known[key]
        progress(done, len(clips))
    if written:
        write_json(path, known)
