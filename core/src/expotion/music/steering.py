"""What a user asks of `expotion generate`: how to compose and what to write, as plain values that JSON holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from expotion.errors import Problem
from expotion.models.published import is_published

SOUND_FORMATS = ("wav", "flac", "mp3", "opus")
VIDEO_FORMATS = ("mp4", "mov", "mkv", "webm")
ANY_VIDEO = "video"
"""Stands for mp4, or mkv where mp4 cannot hold the clip's picture as it is."""

DEFAULT_FORMATS = ("wav", ANY_VIDEO)
DEPTHS = ("16", "24", "float")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
MAX_SEED = 2**63 - 1
MAX_PROMPT_WORDS = 400
"""Far beyond what the text encoder was trained on; more is a file pasted by mistake."""


@dataclass(frozen=True)
class Composing:
    """Everything that decides the music of a clip. None means: as the adaptor was measured.

    `strengths` are schedules as typed (`1.0` or `0:1.0,5:0.2`); `guidance` gives single controls a scale of their
    own; `controls` name another clip to take a control from, or None to mute it; `overlap_s` is how much of a
    window continues the one before.
    """

    adaptor: Path | None = None
    backbone: str | None = None
    prompt: str | None = None
    seed: int = 0
    cfg_scale: float | None = None
    strengths: Mapping[str, str] = field(default_factory=dict)
    guidance: Mapping[str, float] = field(default_factory=dict)
    controls: Mapping[str, Path | None] = field(default_factory=dict)
    overlap_s: float | None = None
    precision: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def keywords(self) -> dict[str, Any]:
        """Arguments of `Composer.compose` and `stream`, but for the clip and the seed."""
        loaded = ("adaptor", "backbone", "seed", "strengths")
        taken = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in loaded}
        return {**taken, "strength": self.strengths}

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name; paths absolute, so that a record can be read from anywhere."""
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "adaptor": None if self.adaptor is None else _spelled(self.adaptor),
            "strengths": dict(self.strengths),
            "guidance": dict(self.guidance),
            "controls": {
                name: None if path is None else str(path.absolute()) for name, path in self.controls.items()
            },
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Composing:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        values = {each.name: given[each.name] for each in fields(cls)}
        values["adaptor"] = None if values["adaptor"] is None else Path(values["adaptor"])
        values["strengths"] = {str(k): str(v) for k, v in dict(values["strengths"]).items()}
        values["guidance"] = {str(k): float(v) for k, v in dict(values["guidance"]).items()}
        values["controls"] = {
            str(k): None if v is None else Path(v) for k, v in dict(values["controls"]).items()
        }
        return cls(**values)

    def problems(self) -> list[Problem]:
        """What is wrong with the values by themselves, named as the options of the command."""
        found = []
        if not 0 <= self.seed <= MAX_SEED:
            found.append(Problem("--seed", f"a whole number from 0 to {MAX_SEED}", str(self.seed)))
        ranges = (
            ("--cfg-scale", self.cfg_scale, "a number of at least 0", 0.0, math.inf),
            ("--overlap", self.overlap_s, "a number of seconds of at least 0", 0.0, math.inf),
            ("--temperature", self.temperature, "a number above 0", 1e-6, math.inf),
            ("--top-p", self.top_p, "a number from 0 to 1", 0.0, 1.0),
            ("--top-k", self.top_k, "a whole number of at least 0", 0, math.inf),
        )
        for where, value, wanted, low, high in ranges:
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                found.append(Problem(where, wanted, f"{value:g}"))
        if self.precision is not None and self.precision not in PRECISIONS:
            found.append(Problem("--precision", f"one of {', '.join(PRECISIONS)}", self.precision))
        if self.prompt is not None:
            n_words = len(self.prompt.split())
            if n_words == 0:
                found.append(Problem("--prompt", "some words", "none", "leave it out for the adaptor's own"))
            if n_words > MAX_PROMPT_WORDS:
                wanted = f"at most {MAX_PROMPT_WORDS} words"
                found.append(Problem("--prompt", wanted, f"{n_words} words", "a sentence or two works best"))
        return found


@dataclass(frozen=True)
class Output:
    """What is written of a piece: formats (suffixes without the dot, or ANY_VIDEO), and how."""

    formats: tuple[str, ...] = DEFAULT_FORMATS
    depth: str = "16"
    loudness_lufs: float | None = None
    keep_original_sound: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return {**{each.name: getattr(self, each.name) for each in fields(self)}, "formats": [*self.formats]}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Output:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        values = {each.name: given[each.name] for each in fields(cls)}
        return cls(**{**values, "formats": tuple(str(name) for name in values["formats"])})

    def problems(self) -> list[Problem]:
        """What is wrong with the values by themselves, named as the options of the command."""
        found = []
        known = (*SOUND_FORMATS, *VIDEO_FORMATS)
        for name in self.formats:
            if name not in (*known, ANY_VIDEO):
                found.append(Problem("--format", f"some of {', '.join(known)}", name or "an empty name"))
        if self.depth not in DEPTHS:
            found.append(Problem("--depth", f"one of {', '.join(DEPTHS)}", self.depth))
        if self.loudness_lufs is not None and not -70.0 < self.loudness_lufs <= -5.0:
            fix = "for example --loudness -16; loudness is counted down from 0"
            got = f"{self.loudness_lufs:g}"
            found.append(Problem("--loudness", "a number of LUFS above -70 and up to -5", got, fix))
        if self.keep_original_sound and not any(name in (*VIDEO_FORMATS, ANY_VIDEO) for name in self.formats):
            wanted = "a video among the formats, to hold the second track"
            found.append(Problem("--keep-original-sound", wanted, ", ".join(self.formats)))
        return found


@dataclass(frozen=True)
class Work:
    """How the work is spread.

    `jobs` processes of one thread each (0: this process with all its threads; None: 0 for files, one per core for
    folders), or the Ray cluster at an address. `overwrite` makes anew what a folder's run has done.
    """

    jobs: int | None = None
    ray: str | None = None
    overwrite: bool = False

    def problems(self) -> list[Problem]:
        """What is wrong with the values by themselves, named as the options of the command."""
        found = []
        if self.jobs is not None and self.jobs < 0:
            found.append(Problem("--jobs", "a whole number of at least 0", str(self.jobs)))
        if self.jobs is not None and self.ray is not None:
            found.append(Problem("--ray", "either --ray or --jobs", "both"))
        return found


def _spelled(adaptor: Path) -> str:
    """A folder from its root; a published adaptor as it is named."""
    return str(adaptor) if is_published(adaptor) else str(adaptor.absolute())
