"""Everything that decides the music of a clip, as one value.

The command line, a file of `--steering`, the Python API, live music, a recipe's generation stage and the JSON
beside a piece all hold it. A new option of sampling takes four edits, and is then known to all of them:

1. its field, range and default in `Sampling` (`expotion.recipe.schema`);
2. its field of the same name in `Sampler` (`expotion.musicgen.generate`), and what it does there;
3. its option in `expotion.cli.steer`;
4. its keyword in `Given`, below.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, ValidationError, field_validator

from expotion import plugins
from expotion.adaptor.checkpoint import DESCRIPTION, read_description
from expotion.adaptor.published import adaptor_folder, is_published, pinned
from expotion.contracts import Clip, TimedFeatures
from expotion.errors import ExpotionError, MediaError, Problem, WeightsError
from expotion.recipe import Recipe
from expotion.recipe.names import Names, misnamed
from expotion.recipe.nodes import Node, from_plain
from expotion.recipe.problems import field_path, problems_of
from expotion.recipe.schema import NotNegative, Sampling, Seed
from expotion.timeline import CODEC_RATE_HZ, frames_duration_s
from expotion.video.scan import check, scan

DEFAULT_PROMPT = "a calm piano piece"
MAX_SEED = 2**63 - 1
MAX_PROMPT_WORDS = 400
"""Far beyond what the text encoder was trained on; more is a file pasted by mistake."""

_EXAMPLE = "for example 0.5, or 0:1.0,5:0.2 for 1.0 at the start and 0.2 from 5 s on"

ClipLike = str | Path | Clip
ControlLike = ClipLike | TimedFeatures | None
Value = TypeVar("Value")
ByControl = Annotated[dict[str, Value], Names("control")]


@dataclass(frozen=True)
class Schedule:
    """A number over time: `values` at increasing `times_s`, straight lines between, the outer ones held outside."""

    times_s: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, given: float | str | Schedule, where: str = "strength") -> Schedule:
        """A schedule from a number, or from `VALUE` or `SECONDS:VALUE,SECONDS:VALUE` as typed.

        Raises ExpotionError for anything else, for values below 0, and for times that do not go forwards.
        """
        if isinstance(given, Schedule):
            return given
        parts = [part.strip().partition(":") for part in str(given).split(",")]
        if len(parts) == 1 and not parts[0][1]:
            parts = [("0", ":", parts[0][0])]
        try:
            times_s = tuple(float(time) for time, _, _ in parts)
            values = tuple(float(value) for _, _, value in parts)
        except ValueError:
            wanted = "a number of at least 0, or SECONDS:VALUE,SECONDS:VALUE"
            raise ExpotionError(Problem(where, wanted, str(given), _EXAMPLE)) from None
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ExpotionError(Problem(where, "finite values of at least 0", str(given), _EXAMPLE))
        forwards = all(before < after for before, after in itertools.pairwise(times_s))
        if not (forwards and all(math.isfinite(time) and time >= 0 for time in times_s)):
            wanted = "times that go forwards from 0"
            raise ExpotionError(Problem(where, wanted, str(given), _EXAMPLE))
        return cls(times_s, values)

    @property
    def is_zero(self) -> bool:
        """Whether it is 0 all the time."""
        return not any(self.values)

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
        """Values float32 [n] at these times."""
        return np.interp(times_s, self.times_s, self.values).astype(np.float32)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return _short(self.values[0])
        pairs = zip(self.times_s, self.values, strict=True)
        return ",".join(f"{_short(time)}:{_short(value)}" for time, value in pairs)


def _short(number: float) -> str:
    """All digits that tell a number from its neighbours: what a record says is read back as it was."""
    return str(number).removesuffix(".0")


class Given(TypedDict, total=False):
    """Keywords of `Composer.compose` and its like; None and what is left out mean: as the adaptor was measured."""

    prompt: str | None
    strength: Mapping[str, float | str | Schedule] | None
    guidance: Mapping[str, float] | None
    controls: Mapping[str, ControlLike] | None
    seed: int
    overlap_s: float | None
    cfg_scale: float | None
    precision: str | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    melody: str | Path | None


def _as_path(given: Any) -> Any:
    if isinstance(given, bool | int | float | list | dict | bytes):
        raise ValueError("a path")
    return Path(given) if isinstance(given, str | os.PathLike) else given


class Steering(Sampling, arbitrary_types_allowed=True):
    """What is asked for. A field that was not given (see `model_fields_set`) is as the adaptor was measured.

    `strengths` are schedules; `guidance` gives single controls a scale of their own; `controls` names another clip
    (or features) to take a control from, or None to mute it; `overlap_s` is how much of a window continues the one
    before. `melody`: a file whose sound a melody model follows.
    """

    adaptor: Annotated[Path | None, BeforeValidator(_as_path)] = None
    backbone: str | None = None
    prompt: str | None = None
    seed: Seed = 0
    strengths: ByControl[Annotated[Schedule, BeforeValidator(Schedule.of)]] = Field(default_factory=dict)
    guidance: ByControl[NotNegative] = Field(default_factory=dict)
    controls: ByControl[Annotated[Any, BeforeValidator(_as_path)]] = Field(default_factory=dict)
    overlap_s: NotNegative | None = None
    melody: Annotated[Path | None, BeforeValidator(_as_path)] = None

    @field_validator("prompt")
    @classmethod
    def _some_words(cls, prompt: str | None) -> str | None:
        n_words = 1 if prompt is None else len(prompt.split())
        if n_words == 0:
            raise ValueError("some words (leave it out for the adaptor's own)")
        if n_words > MAX_PROMPT_WORDS:
            raise ValueError(f"at most {MAX_PROMPT_WORDS} words (a sentence or two works best), not {n_words}")
        return prompt

    # ----------------------------------------------------------------------------- from text and keywords

    @classmethod
    def read(cls, root: Node, problems: list[Problem]) -> Steering:
        """Steering from a tree; faults go into `problems`, with the place that the tree knows, and are left out."""
        fields = {name: node for name, node in root.value.items() if node.value is not None}
        strengths = fields.get("strengths")
        if strengths is not None and isinstance(strengths.value, dict):
            found: dict[str, Node] = {}
            for name, node in strengths.value.items():
                try:
                    schedule = Schedule.of(node.plain(), place(root, "strengths", name))
                    found[name] = Node(schedule, node.where)
                except ExpotionError as error:
                    problems += error.problems
            fields["strengths"] = Node(found, strengths.where)
        tree = Node(fields, root.where)
        plain = tree.plain()
        try:
            return cls.model_validate(plain)
        except ValidationError as error:
            for problem in problems_of(error, cls, tree):
                option, _, field = problem.where.rpartition(" ")
                where = option if field and option.startswith("--") else problem.where
                problems.append(Problem(where, problem.wanted, problem.got, problem.fix))
            faulty = {fault["loc"][0] for fault in error.errors()}
            return cls.model_validate({name: plain[name] for name in plain if name not in faulty})

    @classmethod
    def of(cls, **given: Any) -> Steering:
        """Steering from keywords (`Given`, or its own fields). Raises ExpotionError with all that is wrong."""
        if "strength" in given:
            given["strengths"] = given.pop("strength")
        values = {name: _plain(value) for name, value in given.items()}
        problems: list[Problem] = []
        steering = cls.read(from_plain(values, ""), problems)
        if problems:
            raise ExpotionError(problems)
        return steering

    def over(self, recipe: Recipe) -> Steering:
        """The same with nothing left open: what was not given is as the recipe measured it."""
        measured = {name: getattr(recipe.generate, name) for name in Sampling.model_fields}
        strengths = {c.name: Schedule.of(c.strength) for c in recipe.conditions} | self.strengths
        muted = {name: Schedule.of(0.0) for name, source in self.controls.items() if source is None}
        filled: dict[str, Any] = {
            "melody": self.melody or recipe.generate.melody,
            "prompt": self.prompt or recipe.text.fixed_prompt or DEFAULT_PROMPT,
            "strengths": strengths | muted,
            "guidance": {**recipe.generate.scales, **self.guidance},
        }
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return self.model_copy(update={**measured, **given, **filled})

    # ---------------------------------------------------------------------------------------------- JSON

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name, null where nothing was given; paths from their root, to be read anywhere."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        adaptor = self.adaptor
        names = dict.fromkeys(type(self).model_fields)
        if self.melody is None:
            del names["melody"]  # records of before have none
            values.pop("melody", None)
        else:
            values["melody"] = str(self.melody.absolute())
        return {
            **names,
            **values,
            "adaptor": None if adaptor is None else str(adaptor if is_published(adaptor) else adaptor.absolute()),
            "seed": self.seed,
            "strengths": {name: str(schedule) for name, schedule in self.strengths.items()},
            "guidance": dict(self.guidance),
            "controls": {
                name: None if path is None else str(path.absolute()) for name, path in self.controls.items()
            },
        }

    # ----------------------------------------------------------------------------------------- the adaptor

    @cached_property
    def folder(self) -> Path:
        """The folder that holds `adaptor.json`: as given, inside a run folder, `hf:ORG/NAME`, or the default."""
        return find_adaptor(self.adaptor, plugins.discover(), self.backbone)

    @property
    def window_s(self) -> float:
        """The length that the adaptor was trained on."""
        return frames_duration_s(int(described(self.folder)[1]["window_frames"]), CODEC_RATE_HZ)

    @property
    def named_adaptor(self) -> str:
        """How the same adaptor is found again: its folder, or its repository at the revision that was used."""
        if self.adaptor is not None and is_published(self.adaptor):
            return pinned(str(self.adaptor), self.folder)
        return str(self.folder.absolute())

    def unknown_controls(self, recipe: Recipe, where: Callable[[str, str], str]) -> list[Problem]:
        """A problem for each control that a recipe does not have; `where(field, name)` says where it stands."""
        known = {"control": [condition.name for condition in recipe.conditions]}
        return [
            Problem(where(str(field), str(name)), wanted, got, fix)
            for (field, name), wanted, got, fix in misnamed(self, known)
        ]

    def misfits(self, root: Node) -> list[Problem]:
        """What can be said against it before any model is loaded; `root` is the tree that it was read from.

        An adaptor that is not there, controls that it does not know, an overlap that leaves nothing new of a
        window, clips to take a control from that cannot be read.
        """
        found: list[Problem] = []
        try:
            recipe, _ = described(self.folder)
            found += self.unknown_controls(recipe, lambda *loc: place(root, *loc))
            if self.overlap_s is not None and self.overlap_s >= self.window_s:
                wanted = f"less than a window of {self.window_s:g} s"
                found.append(Problem(place(root, "overlap_s"), wanted, f"{self.overlap_s:g} s"))
        except ExpotionError as error:
            found += error.problems
        for name, source in self.controls.items():
            try:
                if source is not None:
                    check(scan(source), "any")
            except MediaError as error:
                where = place(root, "controls", name)
                found += [Problem(where, p.wanted, p.got, p.fix) for p in error.problems]
        try:
            if self.melody is not None:
                check(scan(self.melody), "audio")
        except MediaError as error:
            found += [Problem(place(root, "melody"), p.wanted, p.got, p.fix) for p in error.problems]
        return found


def place(root: Node, *loc: str) -> str:
    """Where a field stands: 'file:line field', or the option that gave it."""
    where = root.at(loc).where
    return where if where.startswith("--") else f"{where} {field_path(loc)}".strip()


def _plain(value: Any) -> Any:
    """A keyword's value as a file would hold it: numpy's numbers as Python's, any mapping as a dictionary."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def find_adaptor(folder: Path | None, registry: plugins.Registry, backbone: str | None) -> Path:
    """The folder of the adaptor that is meant; without one, the default of the backbone. Raises ExpotionError."""
    if folder is not None:
        return adaptor_folder(folder)
    name = backbone or registry.default("backbone")
    default = registry.backbone(name).default_adaptor
    if default is None:
        fix = "name one: --adaptor RUN_DIR (of `features`: --recipe or --encoder)"
        raise ExpotionError(Problem(f"backbone '{name}'", "a default adaptor", "none", fix))
    return default()


def described(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe that an adaptor was trained with, and what else training noted beside it.

    Raises WeightsError for a folder that is no adaptor, and where training has not put them there.
    """
    found = read_description(folder).get("metadata")
    metadata = found if isinstance(found, dict) else {}
    needed = {"recipe": dict, "backbone_hash": str, "encoder_hashes": dict, "window_frames": int}
    missing = [key for key, kind in needed.items() if type(metadata.get(key)) is not kind]
    where = str(folder / DESCRIPTION)
    if missing:
        wanted = f"metadata with {', '.join(needed)}"
        fix = "give the run folder of a recipe"
        raise WeightsError(Problem(where, wanted, f"no {', '.join(missing)}", fix))
    return Recipe.from_dict(metadata["recipe"], f"{where} recipe"), metadata
