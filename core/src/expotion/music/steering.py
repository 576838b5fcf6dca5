"""Everything that decides the music of a clip, as one value.

The command line, a file of `--steering`, the Python API, live music, a recipe's generation stage and the JSON
beside a piece all hold it. A new option of sampling takes four edits, and is then known to all of them:

1. its field, range and default in `Sampling` (`expotion.recipe.schema`);
2. its field of the same name in `Sampler` (`expotion.musicgen.generate`), and what it does there;
3. its option in `expotion.cli.steer`;
4. its keyword in `Given`, below.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator

from expotion import plugins
from expotion.adaptor.checkpoint import DESCRIPTION, read_description
from expotion.adaptor.published import adaptor_folder, is_published, pinned
from expotion.contracts import Clip, TimedFeatures
from expotion.errors import ExpotionError, MediaError, Problem, WeightsError
from expotion.music.parts import LEAST_PART_S, Part
from expotion.music.schedule import Schedule, short
from expotion.music.theme import LOOKED_AT_HZ, theme_of
from expotion.recipe import Recipe
from expotion.recipe.lacks import missing_weights
from expotion.recipe.names import Names, misnamed
from expotion.recipe.nodes import Node, from_plain
from expotion.recipe.problems import field_path, problems_of
from expotion.recipe.schema import Later, NotNegative, Positive, PromptAt, Sampling, Seed, forwards
from expotion.timeline import CODEC_RATE_HZ, frames_duration_s
from expotion.video.scan import check, scan

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_PROMPT = "a calm piano piece"
DEFAULT_THEME_S = 3.0
MAX_SEED = 2**63 - 1
MAX_PROMPT_WORDS = 400
"""Far beyond what the text encoder was trained on; more is a file pasted by mistake."""

ClipLike = str | Path | Clip
ControlLike = ClipLike | TimedFeatures | None
Outside = Literal["own", "silence"]
Value = TypeVar("Value")
ByControl = Annotated[dict[str, Value], Names("control")]


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
    prompt_at: Sequence[Mapping[str, Any] | PromptAt]
    negative: str | None
    theme: str | Path | None
    theme_s: float | None
    parts: Sequence[str | Part]
    outside: Outside


def _as_path(given: Any) -> Any:
    if isinstance(given, bool | int | float | list | dict | bytes):
        raise ValueError("a path")
    return Path(given) if isinstance(given, str | os.PathLike) else given


class Steering(Sampling, arbitrary_types_allowed=True):
    """What is asked for. A field that was not given (see `model_fields_set`) is as the adaptor was measured.

    `strengths` are schedules; `guidance` gives single controls a scale of their own; `controls` names another clip
    (or features) to take a control from, or None to mute it; `overlap_s` is how much of a window continues the one
    before. `melody`: a file whose sound a melody model follows. `prompt_at`: prompts that take over at later times;
    `negative`: one to stay away from. `theme`: a file whose last `theme_s` seconds the piece starts with (3, or
    half a window where that is less). `parts`: the stretches of the clip that get music; `outside` of them stands
    the clip's own sound, or silence.
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
    prompt_at: Later = ()
    negative: str | None = None
    theme: Annotated[Path | None, BeforeValidator(_as_path)] = None
    theme_s: Positive | None = None
    parts: Annotated[tuple[Annotated[Part, BeforeValidator(Part.of)], ...], Field(strict=False)] = ()
    outside: Outside = "own"

    @field_validator("prompt", "negative")
    @classmethod
    def _some_words(cls, prompt: str | None) -> str | None:
        n_words = 1 if prompt is None else len(prompt.split())
        if n_words == 0:
            raise ValueError("some words (leave it out for the adaptor's own)")
        if n_words > MAX_PROMPT_WORDS:
            raise ValueError(f"at most {MAX_PROMPT_WORDS} words (a sentence or two works best), not {n_words}")
        return prompt

    @field_validator("prompt_at")
    @classmethod
    def _prompts_in_order(cls, prompts: tuple[PromptAt, ...]) -> tuple[PromptAt, ...]:
        for each in prompts:
            cls._some_words(each.prompt)
        return forwards(prompts)

    @field_validator("parts")
    @classmethod
    def _parts_in_order(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        for before, after in itertools.pairwise(parts):
            if before.end_s is None or before.end_s > after.start_s:
                raise ValueError(f"parts one after the other, not {before} and then {after}")
        return parts

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
                problems.append(problem.at(where))
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
        own_words = {"prompt", "prompt_at"} & self.model_fields_set
        filled: dict[str, Any] = {
            "prompt_at": self.prompt_at if own_words else recipe.generate.prompt_at,
            "negative": self.negative or recipe.generate.negative,
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
        plain = {name: None for name in type(self).model_fields} | values
        return {
            **{name: value for name, value in plain.items() if name not in _NEWER},
            "adaptor": None if adaptor is None else str(adaptor if is_published(adaptor) else adaptor.absolute()),
            "seed": self.seed,
            "strengths": {name: str(schedule) for name, schedule in self.strengths.items()},
            "guidance": dict(self.guidance),
            "controls": {
                name: None if path is None else str(path.absolute()) for name, path in self.controls.items()
            },
            **self.newer_json(),
        }

    def newer_json(self) -> dict[str, Any]:
        """The plain values of fields that records of before do not have, where something was given."""
        given: dict[str, Any] = {name: getattr(self, name) for name in _NEWER}
        given |= {name: str(given[name].absolute()) for name in ("melody", "theme") if given[name] is not None}
        given["prompt_at"] = [each.model_dump() for each in self.prompt_at]
        given["parts"] = [str(part) for part in self.parts]
        given["outside"] = self.outside if self.parts else None
        return {name: value for name, value in given.items() if value}

    # ----------------------------------------------------------------------------------------- the adaptor

    @cached_property
    def folder(self) -> Path:
        """The folder that holds `adaptor.json`: as given, inside a run folder, `hf:ORG/NAME`, or one that ships."""
        return find_adaptor(self.adaptor, plugins.discover(), self.backbone)

    def say_adaptor(self, console: Console) -> None:
        """Print which of the adaptors that ship was chosen, where none is named."""
        if self.adaptor is not None:
            return
        registry = plugins.discover()
        _, why = shipped_adaptor(registry, self.backbone or registry.default("backbone"))
        console.print(why, soft_wrap=True, highlight=False, markup=False)

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

    @property
    def prompts(self) -> list[str | None]:
        """Every prompt that is said, the one to stay away from too."""
        negative = [] if self.negative is None else [self.negative]
        return [self.prompt, *(each.prompt for each in self.prompt_at), *negative]

    def theme_length_s(self, window_s: float) -> float:
        """How much of the theme's end a piece starts with."""
        return min(DEFAULT_THEME_S, window_s / 2) if self.theme_s is None else self.theme_s

    def pieces_s(self, duration_s: float) -> list[tuple[float, float]]:
        """(start, end) in seconds of what gets music in a clip of this length."""
        return [part.within(duration_s) for part in self.parts] or [(0.0, duration_s)]

    def unfit(self, where: str, duration_s: float, window_s: float) -> list[Problem]:
        """What does not fit a clip of this length: prompts and parts beyond its end, a theme as long as a piece."""
        clip = f"within the {duration_s:.2f} s of the clip"
        late = [each.at_s for each in self.prompt_at if each.at_s >= duration_s]
        found = [Problem(f"{where}: --prompt-at {at_s:g}", f"a time {clip}", f"{at_s:g} s") for at_s in late]
        for part in self.parts:
            begins_late = part.start_s > duration_s - LEAST_PART_S
            if begins_late or (part.end_s or 0.0) > duration_s + 1.0 / CODEC_RATE_HZ:
                fix = f"for example --part {short(part.start_s)}-" if not begins_late else None
                found.append(Problem(f"{where}: --part {part}", f"a part {clip}", str(part), fix))
        shortest_s = min(end_s - start_s for start_s, end_s in self.pieces_s(duration_s))
        if self.theme is not None and not found:
            theme_s = self.theme_length_s(window_s)
            with contextlib.suppress(MediaError):  # a theme that cannot be read is named for itself
                theme_s = min(theme_s, scan(self.theme).duration_s)
            if theme_s > shortest_s - 1.0 / CODEC_RATE_HZ:
                wanted = f"less than the {shortest_s:.2f} s of the piece, which it is a part of"
                found.append(Problem(f"{where}: --theme-s", wanted, f"{theme_s:g} s"))
        return found

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
        theme_s = DEFAULT_THEME_S
        try:
            recipe, _ = described(self.folder)
            found += self.unknown_controls(recipe, lambda *loc: place(root, *loc))
            if self.overlap_s is not None and self.overlap_s >= self.window_s:
                wanted = f"less than a window of {self.window_s:g} s"
                found.append(Problem(place(root, "overlap_s"), wanted, f"{self.overlap_s:g} s"))
            theme_s = self.theme_length_s(self.window_s)
            if self.theme is not None and theme_s > self.window_s / 2:
                wanted = f"at most half a window of {self.window_s:g} s"
                found.append(Problem(place(root, "theme_s"), wanted, f"{theme_s:g} s"))
        except ExpotionError as error:
            found += error.problems
        looks: dict[tuple[str, ...], tuple[Any, Callable[[Any], object]]] = {
            **{
                ("controls", name): (clip, lambda path: check(scan(path), "any"))
                for name, clip in self.controls.items()
            },
            ("melody",): (self.melody, lambda path: check(scan(path), "audio")),
            ("theme",): (self.theme, lambda path: theme_of(path, theme_s, LOOKED_AT_HZ)),
        }
        for loc, (source, look) in looks.items():
            try:
                if source is not None:
                    look(source)
            except MediaError as error:
                found += [problem.at(place(root, *loc)) for problem in error.problems]
        if "outside" in self.model_fields_set and not self.parts:
            fix = "name what gets music, for example --part 10-20"
            found.append(Problem(place(root, "outside"), "parts of the clip", "the whole of it", fix))
        if "theme_s" in self.model_fields_set and self.theme is None:
            fix = "name it: --continue theme.wav"
            found.append(Problem(place(root, "theme_s"), "a theme to start from", "none", fix))
        return found


_NEWER = ("melody", "prompt_at", "negative", "theme", "theme_s", "parts", "outside")


def place(root: Node, *loc: str) -> str:
    """Where a field stands: 'file:line field', or the option that gave it."""
    where = root.at(loc).where
    return where if where.startswith("--") else f"{where} {field_path(loc)}".strip()


def _plain(value: Any) -> Any:
    """A keyword's value as a file would hold it: numpy's numbers as Python's, any mapping as a dictionary."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def find_adaptor(folder: Path | None, registry: plugins.Registry, backbone: str | None) -> Path:
    """The folder of the adaptor that is meant: as given, of a name that ships, or the one for this machine.

    A folder comes before a name. Raises ExpotionError.
    """
    if folder is None:
        return shipped_adaptor(registry, backbone or registry.default("backbone"))[0]
    ships: Mapping[str, Callable[[], Path]] = {}
    if not folder.is_dir() and not is_published(folder):
        with contextlib.suppress(ExpotionError):  # no backbone that could ship one
            ships = registry.backbone(backbone or registry.default("backbone")).adaptors
    return ships[str(folder)]() if str(folder) in ships else adaptor_folder(folder)


def shipped_adaptor(registry: plugins.Registry, backbone: str) -> tuple[Path, str]:
    """The folder of the adaptor that a backbone uses where none is named, and a line that says which and why.

    That is the first of those that ship whose encoders' weights are here, or that which EXPOTION_ADAPTOR names.
    Raises ExpotionError where there is none.
    """
    spec = registry.backbone(backbone)
    lacking: list[str] = []
    named = os.environ.get("EXPOTION_ADAPTOR") if spec.adaptors else None
    if named and named not in spec.adaptors:
        raise ExpotionError(
            Problem("EXPOTION_ADAPTOR", " or ".join(spec.adaptors), named, "unset it, or give --adaptor")
        )
    for name, locate in spec.adaptors.items():
        if named and named != name:
            continue
        folder = locate()
        lacks = [] if named else list(_lacks(described(folder)[0], registry))
        if not lacks or locate is spec.default_adaptor:
            return folder, "; ".join([f"adaptor: {name}", *lacking])
        lacking.append(f"{name} after: {lacks[0]}")
    if spec.default_adaptor is None:
        fix = "name one: --adaptor RUN_DIR (of `features`: --recipe or --encoder)"
        raise ExpotionError(Problem(f"backbone '{backbone}'", "a default adaptor", "none", fix))
    return spec.default_adaptor(), "; ".join([f"adaptor: that of {backbone}", *lacking])


def _lacks(recipe: Recipe, registry: plugins.Registry) -> Iterator[str]:
    """What brings each encoder's weights that are not here."""
    for condition in recipe.conditions:
        if condition.encoder not in registry.offers("encoder"):
            yield f"the plugin of the encoder {condition.encoder}"
            continue
        spec = registry.encoder(condition.encoder)
        yield from (lack.problem.fix or "" for lack in missing_weights(spec, spec.options(**condition.options)))


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
