"""Prompts that a captioner writes, of a clip's own music or of a piece: `expotion generate --prompt-from scene`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from expotion import plugins
from expotion.contracts import CaptionerSpec, Clip
from expotion.errors import ExpotionError, Problem, first_line
from expotion.files import file_sha256
from expotion.music.steering import MAX_PROMPT_WORDS
from expotion.recipe.lacks import missing_weights
from expotion.video.clip import FileClip

OPTION = "--prompt-from"


@dataclass(frozen=True)
class PromptFrom:
    """Who writes: a captioner by name or by what it says, as `scene`. Of a piece, or (None) of the clip's music."""

    writer: str
    piece: Path | None = None

    @classmethod
    def of(cls, text: str) -> PromptFrom:
        """From `scene` or `scene:SOUND`."""
        writer, _, piece = text.partition(":")
        return cls(writer.strip(), Path(piece) if piece else None)

    @property
    def captioner(self) -> CaptionerSpec:
        """The captioner of that name, else the one that says so. Raises PluginError for none and for several."""
        registry = plugins.discover()
        offers = registry.offers("captioner")
        if self.writer not in offers:
            saying = [name for name, offer in offers.items() if offer.spec.says == self.writer]
            if len(saying) == 1:
                return registry.captioner(saying[0])
            if saying:
                fix = f"name one: {OPTION} {saying[0]}"
                raise ExpotionError(
                    Problem(OPTION, f"one captioner that says {self.writer}", ", ".join(saying), fix)
                )
        return registry.captioner(self.writer)

    def problems(self, prompt: str | None) -> list[Problem]:
        """What is wrong with it before anything is loaded; `prompt` is what `--prompt` says."""
        found = []
        if prompt is not None:
            found.append(Problem(OPTION, f"either {OPTION} or --prompt", "both"))
        try:
            spec = self.captioner
            found += [lack.problem for lack in missing_weights(spec, spec.options())]
            if self.piece is not None:
                FileClip(self.piece, require="audio").close()
        except ExpotionError as error:
            found += [Problem(f"{OPTION} {p.where}", p.wanted, p.got, p.fix) for p in error.problems]
        return found

    def words(self, clip: Clip, warn: Callable[[str], None]) -> str | None:
        """What the captioner says of the piece or clip; None, with a line of warning, where it can say nothing."""
        write = _built(self.captioner)
        try:
            if self.piece is None:
                line = write(clip)
            else:
                with contextlib.closing(FileClip(self.piece)) as heard:
                    line = write(heard)
        except ExpotionError as error:
            warn(f"{OPTION} {self.writer}: {first_line(error)}; the prompt is the adaptor's own")
            return None
        return " ".join(line.split()[:MAX_PROMPT_WORDS])

    def to_json(self) -> dict[str, Any]:
        """Plain values for the record."""
        piece = self.piece
        return {
            "captioner": self.captioner.name,
            **({} if piece is None else {"piece": str(piece.absolute()), "sha256": file_sha256(piece)}),
        }


@lru_cache(maxsize=1)
def _built(spec: CaptionerSpec) -> Callable[[Clip], str]:
    return spec.build(spec.options())
