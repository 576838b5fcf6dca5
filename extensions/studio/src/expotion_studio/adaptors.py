"""Adaptors that a page may name: those that ship, those given at start, those trained here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException

from expotion.errors import ExpotionError
from expotion.plugins import discover
from expotion_web.limited import limited

SHIPPED = ""
WORDS_S = 180
"""Torch is loaded for them, which a machine with other work may take long for."""


class Adaptors:
    """By name. `given` are folders of the command line; runs are looked for in `runs` whenever somebody asks."""

    def __init__(self, runs: Path, given: list[Path]) -> None:
        self.runs = runs
        self._given = {folder.resolve().name: folder for folder in given}
        registry = discover()
        spec = registry.backbone(registry.default("backbone"))
        self._ships = {name: locate() for name, locate in spec.adaptors.items()}

    def all(self) -> dict[str, Path | None]:
        """Every adaptor's folder; that of '', which core chooses among those that ship, is found by core."""
        found = sorted(self.runs.glob("*/adaptor/adaptor.json"), key=lambda path: -path.stat().st_mtime)
        trained = {path.parent.parent.name: path.parent.parent for path in found}
        return {SHIPPED: None, **self._ships, **self._given, **trained}

    def named(self, name: str) -> str | None:
        """The folder of an adaptor, None of the shipped one. Raises HTTPException for a name that is none."""
        found = self.all()
        if name not in found:
            raise HTTPException(404, f"adaptor {name[:80]}: there is none of this name")
        folder = found[name]
        return None if folder is None else str(folder.absolute())

    def steering(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Plain keywords of `Steering.of` for what a page asks. Raises ExpotionError with all that is wrong."""
        from expotion.music.steering import Steering, described

        adaptor = self.named(asked.pop("adaptor"))
        given = {**asked, "adaptor": adaptor, "prompt": asked.get("prompt") or None}
        steering = Steering.of(**given)
        recipe, _ = described(steering.folder)
        problems = steering.unknown_controls(recipe, lambda field, name: f"{field} {name}")
        if problems:
            raise ExpotionError(problems)
        return given

    @functools.lru_cache(maxsize=32)  # noqa: B019 - lives as long as the studio
    def words(self, name: str, folder: str | None) -> dict[str, Any]:
        """What `words.known` says of an adaptor."""
        where = f"adaptor {name or 'that ships'}"
        return limited("expotion_studio.words:known", folder or "", where=where, time_s=WORDS_S)


def adaptor_calls(adaptors: Adaptors) -> APIRouter:
    """Calls that list adaptors and what they know."""
    calls = APIRouter(prefix="/api/adaptors", tags=["adaptors"])

    @calls.get("")
    def names() -> list[str]:
        """Names of adaptors; '' is the one that ships for this machine."""
        return list(adaptors.all())

    @calls.get("/about")
    def about(name: str = "") -> dict[str, Any]:
        """Controls of an adaptor, its prompt, and captions and words that it was trained on."""
        return adaptors.words(name, adaptors.named(name))

    return calls
