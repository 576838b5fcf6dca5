"""A recipe held against what is installed: every name, option and version, all problems at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ValidationError

from expotion.contracts import EncoderSpec
from expotion.errors import Problem
from expotion.recipe.nodes import Node
from expotion.recipe.problems import Loc, did_you_mean, place, problems_of
from expotion.recipe.schema import RESERVED_NAMES, Backbone, Condition, Data, Evaluate, Recipe, Smooth, Text


class OfferLike(Protocol):
    """A spec and the distribution that brought it."""

    @property
    def spec(self) -> Any:
        """The spec."""
        ...

    @property
    def distribution(self) -> str:
        """Name of the distribution."""
        ...

    @property
    def version(self) -> str:
        """Version of the distribution."""
        ...


class Catalogue(Protocol):
    """What resolving needs of a plugin registry."""

    def offers(self, kind: str) -> Mapping[str, OfferLike]:
        """Offers of a kind ('encoder', 'backbone', 'data source', 'metric', 'captioner') by name."""
        ...

    def explain_missing(self, kind: str, name: str) -> tuple[str, str | None, str]:
        """(wanted, got, fix) for a name that nobody offers."""
        ...

    def cause_of(self, distribution: str) -> str | None:
        """Why an installed distribution could not be used, or None."""
        ...

    @property
    def distributions(self) -> dict[str, str]:
        """Versions of the loaded distributions."""
        ...


@dataclass(frozen=True)
class Draft:
    """The parts of a recipe that are valid by themselves; None stands for a part that is not."""

    plugins: list[str]
    data: Data | None
    backbone: Backbone | None
    text: Text | None
    conditions: list[Condition | None]
    by_condition: dict[Loc, list[str]]
    """Keys of the mappings whose keys name conditions, by where they stand."""
    evaluate: Evaluate | None
    callbacks: list[str]


def draft_of(recipe: Recipe) -> Draft:
    """All parts of a valid recipe."""
    return Draft(
        list(recipe.plugins),
        recipe.data,
        recipe.backbone,
        recipe.text,
        list(recipe.conditions),
        {
            ("train", "condition_dropout"): list(recipe.train.condition_dropout),
            ("generate", "scales"): list(recipe.generate.scales),
        },
        recipe.evaluate,
        list(recipe.train.callbacks),
    )


def salvage(plain: dict[str, Any]) -> Draft:
    """What can still be checked of a recipe that is not valid, so that all problems show at once."""
    plugins, conditions = plain.get("plugins"), plain.get("conditions")
    return Draft(
        [text for text in plugins if isinstance(text, str)] if isinstance(plugins, list) else [],
        _salvage(Data, plain.get("data")),
        _salvage(Backbone, plain.get("backbone", {})),
        _salvage(Text, plain.get("text", {})),
        [_salvage(Condition, item) for item in conditions] if isinstance(conditions, list) else [],
        {},
        _salvage(Evaluate, plain.get("evaluate", {})),
        [],
    )


PartT = TypeVar("PartT", bound=BaseModel)


def _salvage(model: type[PartT], values: Any) -> PartT | None:
    """The part without its faulty fields; None where what is left does not do."""
    if not isinstance(values, dict):
        return None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faulty = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
    try:
        return model.model_validate({key: value for key, value in values.items() if key not in faulty})
    except ValidationError:
        return None


class Resolver:
    """One pass over a recipe's parts: `run` collects problems, `complete` fills in options and versions."""

    def __init__(self, draft: Draft, root: Node, catalogue: Catalogue, ready: bool = False) -> None:
        self.ready = ready
        self.lacking: set[tuple[str, str | None]] = set()
        self.draft = draft
        self.root = root
        self.catalogue = catalogue
        self.problems: list[Problem] = []
        self.data_options: dict[str, Any] = {}
        self.text_options: dict[str, Any] = {}
        self.captioner_options: dict[str, Any] = {}
        self.condition_options: dict[int, dict[str, Any]] = {}
        self.used: dict[str, str] = {}
        self.declared: set[str] | None = None

    def run(self) -> list[Problem]:
        """Every problem found."""
        self._plugins()
        self._data()
        self._backbone()
        self._text()
        self._conditions()
        self._callbacks()
        self._evaluate()
        return self.problems

    def complete(self, recipe: Recipe) -> Recipe:
        """The recipe with options complete and versions filled in, after a `run` without problems."""
        values = recipe.to_dict()
        values["data"] = {"source": recipe.data.source, **self.data_options}
        values["text"] |= {"options": self.text_options, "captioner_options": self.captioner_options}
        for index, options in self.condition_options.items():
            values["conditions"][index]["options"] = options
        core = self.used.pop("expotion", None) or self.catalogue.distributions.get("expotion", "unknown")
        values["versions"] = {"expotion": core, **dict(sorted(self.used.items()))}
        return Recipe.from_dict(values)

    def fault(self, loc: Loc, wanted: str, got: str | None = None, fix: str | None = None) -> None:
        """Note a problem at a path of the recipe."""
        self.problems.append(Problem(place(self.root, loc), wanted, got, fix))

    def _plugins(self) -> None:
        installed = {
            canonicalize_name(name): (name, version) for name, version in self.catalogue.distributions.items()
        }
        declared: set[str] = set()
        for index, text in enumerate(self.draft.plugins):
            loc: Loc = ("plugins", index)
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                self.fault(
                    loc, "a distribution, with a range if you like", repr(text), "for example my-plugin>=0.1"
                )
                continue
            name = canonicalize_name(requirement.name)
            declared.add(name)
            cause = self.catalogue.cause_of(name) if name not in installed else None
            if cause is not None:
                self.fault(loc, "a plugin that works", f"{name}, broken: {cause}", f"reinstall {name}")
                continue
            if name not in installed:
                hint = did_you_mean(name, sorted(installed), "installed")
                fix = hint if hint.startswith("did") else f"install it: uv add '{text}'"
                self.fault(loc, "an installed plugin", repr(text), fix)
                continue
            version = installed[name][1]
            if not requirement.specifier.contains(version, prereleases=True):
                self.fault(loc, f"{requirement.name} {requirement.specifier}", version, f"uv add '{text}'")
            self.used[installed[name][0]] = version
        self.declared = declared or None

    def _offer(self, kind: str, name: str, loc: Loc) -> OfferLike | None:
        offer = self.catalogue.offers(kind).get(name)
        if offer is None:
            wanted, got, fix = self.catalogue.explain_missing(kind, name)
            self.fault(loc, f"{kind} {name!r}: {wanted}", got, fix)
            return None
        distribution = canonicalize_name(offer.distribution)
        if self.declared is not None and distribution not in self.declared and distribution != "expotion":
            wanted = f"{kind} {name!r} comes with {offer.distribution}, which `plugins` does not list"
            self.fault(loc, wanted, None, f"add {offer.distribution} to plugins")
        self.used[offer.distribution] = offer.version
        return offer

    def _options(self, model: type[BaseModel], values: dict[str, Any], loc: Loc) -> dict[str, Any] | None:
        try:
            return model.model_validate(values).model_dump(mode="json")
        except ValidationError as error:
            self.problems += problems_of(error, model, self.root, loc)
            return None

    def _data(self) -> None:
        data = self.draft.data
        if data is None:
            return
        offer = self._offer("data source", data.source, ("data", "source"))
        if offer is not None:
            options = self._options(offer.spec.options, data.options, ("data",))
            if options is not None:
                self.data_options = options

    def _backbone(self) -> None:
        backbone = self.draft.backbone
        if backbone is None:
            return
        loc: Loc = ("backbone", "source")
        if backbone.kind == "plugin":
            if Path(backbone.source).is_dir() and backbone.source not in self.catalogue.offers("backbone"):
                self.fault(
                    loc, "a folder written as a path", repr(backbone.source), f"write ./{backbone.source}"
                )
                return
            self._offer("backbone", backbone.source, loc)
        elif backbone.kind == "hf" and backbone.reference.count("/") != 1:
            self.fault(
                loc, "hf:ORGANISATION/NAME", repr(backbone.source), "for example hf:facebook/musicgen-small"
            )
        elif backbone.kind == "audiocraft" and not backbone.reference:
            self.fault(loc, "audiocraft:NAME or audiocraft:FOLDER", repr(backbone.source))
        elif backbone.kind == "folder" and not Path(backbone.source).expanduser().is_dir():
            self.fault(
                loc, "an existing folder", repr(backbone.source), "or a plugin's backbone, or hf:ORG/NAME"
            )

    def _text(self) -> None:
        text = self.draft.text
        if text is not None and text.captioner is not None:
            self._captioner(text.captioner, text)
        offer = self._offer("encoder", text.encoder, ("text", "encoder")) if text is not None else None
        if text is None or offer is None:
            return
        if offer.spec.feeds != "cross_attention":
            got = f"{text.encoder!r}, which feeds the prefix"
            self.fault(
                ("text", "encoder"), "an encoder that feeds cross-attention", got, "list it under conditions"
            )
        options = self._options(offer.spec.options, text.options, ("text", "options"))
        if options is not None:
            self.text_options = options

    def _captioner(self, name: str, text: Text) -> None:
        if text.fixed_prompt is not None:
            wanted = "prompt: caption, as a captioner writes captions"
            self.fault(("text", "captioner"), wanted, f"prompt: {text.fixed_prompt!r}", "remove one of them")
        offer = self._offer("captioner", name, ("text", "captioner"))
        if offer is None:
            return
        options = self._options(offer.spec.options, text.captioner_options, ("text", "captioner_options"))
        if options is not None:
            self.captioner_options = options

    def _conditions(self) -> None:
        seen: dict[str, int] = {}
        for index, condition in enumerate(self.draft.conditions):
            if condition is None:
                continue
            loc: Loc = ("conditions", index)
            if condition.name in (*RESERVED_NAMES, "all"):
                wanted = "a name that the evaluation does not use itself"
                self.fault((*loc, "name"), wanted, repr(condition.name), "choose another name")
            if condition.name in seen:
                got = f"{condition.name!r} as in conditions[{seen[condition.name]}]"
                self.fault((*loc, "name"), "a name of its own", got, "choose another name")
            seen.setdefault(condition.name, index)
            offer = self._offer("encoder", condition.encoder, (*loc, "encoder"))
            if offer is not None:
                self._condition(condition, offer.spec, index)
        for loc, keys in self.draft.by_condition.items():
            others = ["all"] if loc == ("train", "condition_dropout") else []
            for key in keys:
                if key not in (*seen, *others):
                    wanted = ", or ".join(["the name of a condition", *others])
                    fix = did_you_mean(key, [*seen, *others], "conditions")
                    self.fault((*loc, key), wanted, repr(key), fix)

    def _condition(self, condition: Condition, spec: EncoderSpec, index: int) -> None:
        loc: Loc = ("conditions", index)
        options = self._options(spec.options, condition.options, (*loc, "options"))
        if options is not None:
            self.condition_options[index] = options
            self._gap(condition.smooth, spec.rate_hz(spec.options(**options)), loc)
        if spec.feeds == "cross_attention":
            got = f"{condition.encoder!r}, whose token features have no rate"
            if "smooth" in self.root.at(loc).value:
                self.fault((*loc, "smooth"), "smoothing of a time-varying track", got, "remove `smooth`")
            fix = f"use it as text: {{encoder: {condition.encoder}}}"
            self.fault((*loc, "encoder"), "an encoder of a time-varying track", got, fix)

    def _gap(self, smooth: Smooth, rate_hz: float | None, loc: Loc) -> None:
        """A gap shorter than the distance of two samples would leave nothing valid between them."""
        rates_hz = [rate for rate in (rate_hz, smooth.rate_hz) if rate]
        if smooth.max_gap_s is None or not rates_hz or smooth.max_gap_s * min(rates_hz) >= 1.0:
            return
        self.fault(
            (*loc, "smooth", "max_gap_s"),
            f"at least the {1.0 / min(rates_hz):.3g} s between two samples",
            f"{smooth.max_gap_s:g}",
            "raise it, or remove it for the default",
        )

    def _callbacks(self) -> None:
        for index, name in enumerate(self.draft.callbacks):
            self._offer("training callback", name, ("train", "callbacks", index))

    def _ready(self, lacking: Sequence[Problem], where: str) -> None:
        """Note what a run would lack here; what several metrics share is told once."""
        for lack in lacking:
            told = (lack.wanted, lack.fix)
            if told not in self.lacking:
                self.lacking.add(told)
                self.problems.append(Problem(f"{where}: {lack.where}", lack.wanted, lack.got, lack.fix))

    def _evaluate(self) -> None:
        if self.draft.evaluate is None:
            return
        for index, name in enumerate(self.draft.evaluate.metrics):
            offer = self._offer("metric", name, ("evaluate", "metrics", index))
            if offer is not None and self.ready:
                self._ready(offer.spec.missing(), place(self.root, ("evaluate", "metrics", index)))
        if None in self.draft.conditions:
            return
        own = [condition.name for condition in self.draft.conditions if condition is not None]
        joint = ["+".join(own)] if len(own) > 1 else []
        for index, name in enumerate(self.draft.evaluate.conditions or []):
            parts = name.split("+")
            if name not in (*RESERVED_NAMES, "all") and [part for part in own if part in parts] != parts:
                wanted = "a condition, or several joined by + in recipe order"
                fix = did_you_mean(name, [*own, *joint, *RESERVED_NAMES], "known")
                self.fault(("evaluate", "conditions", index), wanted, repr(name), fix)


@dataclass(frozen=True)
class Found:
    """What a data source has, undecoded: clips by split, and the longest clip's length in seconds."""

    clips: dict[str, int]
    clip_s: float


def found_clips(recipe: Recipe, registry: Catalogue, *, train: bool) -> Found:
    """Ask the data source of a resolved recipe, decoding nothing, for clips to train on only where `train`.

    Raises what the source raises: a lost manifest, an empty split.
    """
    spec = registry.offers("data source")[recipe.data.source].spec
    source = spec.build(spec.options(**recipe.data.options))
    clips = {"train": source.clips("train") if train else (), "test": source.clips("test")}
    longest_s = max((clip.duration_s for some in clips.values() for clip in some), default=0.0)
    return Found({split: len(some) for split, some in clips.items()}, longest_s)
