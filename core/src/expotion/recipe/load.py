"""From a file to a recipe: read, lay profile and --set over it, check it alone and against what is installed.

Every name, option and version is checked, and all problems are told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ValidationError

from expotion.contracts import CaptionerSpec, EncoderSpec
from expotion.errors import Problem, RecipeError, near
from expotion.plugins import Offer, Registry
from expotion.recipe.lacks import Lack, missing_backbone, missing_of_metric, missing_weights
from expotion.recipe.merge import apply_profile, apply_set
from expotion.recipe.names import lost, misnamed
from expotion.recipe.nodes import Node, read_file
from expotion.recipe.problems import Loc, did_you_mean, in_file_order, place, problems_of, show
from expotion.recipe.schema import (
    RESERVED_NAMES,
    Backbone,
    Condition,
    Data,
    Evaluate,
    Generate,
    Recipe,
    Text,
    Train,
)


def load_recipe(
    path: Path | str,
    *,
    registry: Registry | None,
    profile: str | None = None,
    sets: Sequence[str] = (),
    ready: bool = False,
    lacks: list[Lack] | None = None,
) -> Recipe:
    """The recipe in a file, resolved: options checked by their plugins and complete, versions filled in.

    `registry` comes from `expotion.plugins.discover`; None checks the schema alone. `ready` also asks for what a
    run needs here and does not fetch itself: weights, packages of the metrics, files that fields name. `lacks`, a
    list, gets all of that, what a run would fetch too, and then nothing of it is raised. Raises `RecipeError` with
    every problem found, each with file, line, field, what was wanted and how to fix it. Of a recipe with a `matrix`
    it is what the cells share; `expotion.matrix.declare.load_matrix` gives the cells.
    """
    problems: list[Problem] = []
    root = read_tree(path, problems, profile=profile, sets=sets)
    return recipe_of(root.without("matrix"), registry, problems, ready=ready, lacks=lacks)


def read_tree(
    path: Path | str, problems: list[Problem], *, profile: str | None = None, sets: Sequence[str] = ()
) -> Node:
    """The tree of a file with a profile and --set laid over it; `matrix`, where there is one, still in it."""
    root, profiles = _split(read_file(Path(path), problems), problems)
    if profile is not None:
        root = apply_profile(root, profiles, profile, problems)
    for assignment in sets:
        root = apply_set(root, assignment, problems)
    return root


def recipe_of(
    root: Node,
    registry: Registry | None,
    problems: Sequence[Problem] = (),
    *,
    ready: bool = False,
    lacks: list[Lack] | None = None,
) -> Recipe:
    """The resolved recipe of a tree. Raises `RecipeError` with `problems` and everything else that is wrong."""
    found, recipe = list(problems), None
    try:
        recipe = Recipe.model_validate(root.plain())
    except ValidationError as error:
        found += problems_of(error, Recipe, root)
    resolver = None
    if registry is not None:
        resolver = _Resolver(recipe or _salvaged(root.plain()), root, registry, ready or lacks is not None)
        found += resolver.run()
        if lacks is None or found:
            found += [lack.problem for lack in resolver.lacks if not lack.fetched]
        else:
            lacks += resolver.lacks
    if found or recipe is None:
        raise RecipeError(in_file_order(found))
    return recipe if resolver is None else resolver.complete()


def read_profiles(path: Path | str) -> list[str]:
    """Names of the profiles in a recipe file, in order. Raises `RecipeError` where it cannot be read."""
    _, profiles = _split(read_file(Path(path), []), [])
    return list(profiles)


def _split(root: Node, problems: list[Problem]) -> tuple[Node, dict[str, Node]]:
    """The recipe without its profiles, and the profiles."""
    if not isinstance(root.value, dict):
        fix = "begin with `name: ...`"
        raise RecipeError(Problem(root.where, "a mapping of fields", show(root.plain()), fix))
    rest = root.without("profiles")
    profiles = root.value.get("profiles", Node(None, root.where))
    if isinstance(profiles.value, dict):
        return rest, profiles.value
    if profiles.value is not None:
        wanted = "a mapping from names to fields"
        problems.append(Problem(f"{profiles.where} profiles", wanted, "something else"))
    return rest, {}


def _salvaged(plain: dict[str, Any]) -> Recipe:
    """What can still be checked of a recipe that is not valid, so that all problems show at once.

    None stands for a part that is not valid by itself. Parts that say nothing of plugins have their defaults.
    """
    plugins, conditions = plain.get("plugins"), plain.get("conditions")
    return Recipe.model_construct(
        plugins=[text for text in plugins if isinstance(text, str)] if isinstance(plugins, list) else [],
        data=_salvage(Data, plain.get("data")),
        backbone=_salvage(Backbone, plain.get("backbone", {})),
        text=_salvage(Text, plain.get("text", {})),
        conditions=[_salvage(Condition, item) for item in conditions] if isinstance(conditions, list) else [],
        train=_salvage(Train, plain.get("train", {})) or Train(),
        generate=_salvage(Generate, plain.get("generate", {})),
        evaluate=_salvage(Evaluate, plain.get("evaluate", {})),
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


class _Resolver:
    """One pass over a recipe's parts: `run` collects problems, `complete` fills in options and versions.

    The recipe may be a salvaged one. With `ready` what a run needs here and does not find is put into `lacks`.
    """

    def __init__(self, recipe: Recipe, root: Node, registry: Registry, ready: bool = False) -> None:
        self.recipe, self.root, self.registry, self.ready = recipe, root, registry, ready
        self.problems: list[Problem] = []
        self.options: dict[Loc, dict[str, Any]] = {}
        self.used: dict[str, str] = {}
        self.declared: set[str] = set()
        self.lacks: list[Lack] = []

    def run(self) -> list[Problem]:
        """Every problem found."""
        self._plugins()
        self._data()
        self._backbone()
        self._text()
        self._conditions()
        for index, name in enumerate(self.recipe.train.callbacks):
            self._offer("training callback", name, ("train", "callbacks", index))
        if self.recipe.generate is not None:
            self._readable(self.recipe.generate, ("generate",))
        self._evaluate()
        if None not in self.recipe.conditions:
            names = {"condition": [condition.name for condition in self.recipe.conditions]}
            for fault in misnamed(self.recipe, names):
                self.fault(*fault)
        return self.problems

    def complete(self) -> Recipe:
        """The recipe with options complete and versions filled in, after a `run` without problems."""
        values = self.recipe.to_dict()
        for loc, options in self.options.items():
            part: Any = values
            for step in loc[:-1]:
                part = part[step]
            part[loc[-1]] = options
        values["data"] = {"source": self.recipe.data.source, **values["data"]}
        core = self.used.pop("expotion", None) or self.registry.distributions.get("expotion", "unknown")
        values["versions"] = {"expotion": core, **dict(sorted(self.used.items()))}
        return Recipe.from_dict(values)

    def lack(self, loc: Loc, lack: Lack) -> None:
        """Note what is not here; what several parts share is told once."""
        known = {(other.problem.wanted, other.problem.fix) for other in self.lacks}
        if (lack.problem.wanted, lack.problem.fix) not in known:
            where = (
                f"{place(self.root, loc)}: {lack.problem.where}" if lack.problem.where else place(self.root, loc)
            )
            self.lacks.append(replace(lack, problem=replace(lack.problem, where=where)))

    def fault(self, loc: Loc, wanted: str, got: str | None = None, fix: str | None = None) -> None:
        """Note a problem at a path of the recipe."""
        self.problems.append(Problem(place(self.root, loc), wanted, got, fix))

    def _plugins(self) -> None:
        installed = {
            canonicalize_name(name): (name, version) for name, version in self.registry.distributions.items()
        }
        for index, text in enumerate(self.recipe.plugins):
            loc: Loc = ("plugins", index)
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                wanted = "a distribution, with a range if you like"
                self.fault(loc, wanted, repr(text), "for example my-plugin>=0.1")
                continue
            name = canonicalize_name(requirement.name)
            self.declared.add(name)
            if name in installed:
                own_name, version = installed[name]
                if not requirement.specifier.contains(version, prereleases=True):
                    wanted = f"{requirement.name} {requirement.specifier}"
                    self.fault(loc, wanted, version, f"uv add '{text}'")
                self.used[own_name] = version
            elif cause := self.registry.cause_of(name):
                self.fault(loc, "a plugin that works", f"{name}, broken: {cause}", f"reinstall {name}")
            else:
                # Names share their beginnings: only a slip of the pen is near.
                fix = near(name, installed, cutoff=0.88) or f"install it: uv add '{text}'"
                self.fault(loc, "an installed plugin", repr(text), fix)

    def _offer(self, kind: str, name: str, loc: Loc) -> Offer[Any] | None:
        offer = self.registry.offers(kind).get(name)
        if offer is None:
            wanted, got, fix = self.registry.explain_missing(kind, name)
            self.fault(loc, f"{kind} {name!r}: {wanted}", got, fix)
            return None
        if self.declared and canonicalize_name(offer.distribution) not in {*self.declared, "expotion"}:
            wanted = f"{kind} {name!r} comes with {offer.distribution}, which `plugins` does not list"
            self.fault(loc, wanted, None, f"add {offer.distribution} to plugins")
        self.used[offer.distribution] = offer.version
        return offer

    def _options(self, model: type[BaseModel], values: dict[str, Any], loc: Loc) -> bool:
        """Check options and keep them complete; whether they are right."""
        try:
            checked = model.model_validate(values)
        except ValidationError as error:
            self.problems += problems_of(error, model, self.root, loc)
            return False
        self.options[loc] = checked.model_dump(mode="json")
        self._readable(checked, loc)
        return True

    def _readable(self, part: BaseModel, loc: Loc) -> None:
        """What a part names to be read is there, where a run comes next."""
        for path, wanted, got, fix in lost(part) if self.ready else ():
            where = place(self.root, (*loc, *path))
            self.lacks.append(Lack(Problem(where, wanted, got, fix)))

    def _data(self) -> None:
        data = self.recipe.data
        if data is not None and (offer := self._offer("data source", data.source, ("data", "source"))):
            self._options(offer.spec.options, data.options, ("data",))

    def _backbone(self) -> None:
        backbone = self.recipe.backbone
        if backbone is None:
            return
        loc: Loc = ("backbone", "source")
        source = backbone.source
        if backbone.kind == "plugin":
            if Path(source).is_dir() and source not in self.registry.offers("backbone"):
                self.fault(loc, "a folder written as a path", repr(source), f"write ./{source}")
                return
            self._offer("backbone", source, loc)
        elif backbone.kind == "hf" and backbone.reference.count("/") != 1:
            self.fault(loc, "hf:ORGANISATION/NAME", repr(source), "for example hf:facebook/musicgen-small")
        elif backbone.kind == "audiocraft" and not backbone.reference:
            self.fault(loc, "audiocraft:NAME or audiocraft:FOLDER", repr(source))
        elif backbone.kind == "folder" and not Path(source).expanduser().is_dir():
            self.fault(loc, "an existing folder", repr(source), "or a plugin's backbone, or hf:ORG/NAME")
        if self.ready and (lack := missing_backbone(backbone)):
            self.lack(loc, lack)

    def _text(self) -> None:
        text = self.recipe.text
        if text is None:
            return
        if text.captioner is not None:
            if text.fixed_prompt is not None:
                wanted, got = "prompt: caption, as a captioner writes captions", f"prompt: {text.prompt!r}"
                self.fault(("text", "captioner"), wanted, got, "remove one of them")
            if writer := self._offer("captioner", text.captioner, ("text", "captioner")):
                self._options(writer.spec.options, text.captioner_options, ("text", "captioner_options"))
                self._weights(writer.spec, ("text", "captioner_options"), ("text", "captioner"))
        if offer := self._offer("encoder", text.encoder, ("text", "encoder")):
            if offer.spec.feeds != "cross_attention":
                wanted = "an encoder that feeds cross-attention"
                got = f"{text.encoder!r}, which feeds the prefix"
                self.fault(("text", "encoder"), wanted, got, "list it under conditions")
            self._options(offer.spec.options, text.options, ("text", "options"))
            self._weights(offer.spec, ("text", "options"), ("text", "encoder"))

    def _conditions(self) -> None:
        seen: dict[str, int] = {}
        for index, condition in enumerate(self.recipe.conditions):
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

    def _weights(self, spec: EncoderSpec | CaptionerSpec, options: Loc, loc: Loc) -> None:
        """Weights that an encoder or captioner with these options needs are here, where a run comes next."""
        if self.ready and options in self.options:
            for lack in missing_weights(spec, spec.options(**self.options[options])):
                self.lack(loc, lack)

    def _condition(self, condition: Condition, spec: EncoderSpec, index: int) -> None:
        loc: Loc = ("conditions", index)
        if self._options(spec.options, condition.options, (*loc, "options")):
            self._weights(spec, (*loc, "options"), (*loc, "encoder"))
            options = spec.options(**self.options[*loc, "options"])
            rates_hz = [rate for rate in (spec.rate_hz(options), condition.smooth.rate_hz) if rate]
            gap_s = condition.smooth.max_gap_s
            # A gap shorter than the distance of two samples would leave nothing valid between them.
            if gap_s is not None and rates_hz and gap_s * min(rates_hz) < 1.0:
                wanted = f"at least the {1.0 / min(rates_hz):.3g} s between two samples"
                fix = "raise it, or remove it for the default"
                self.fault((*loc, "smooth", "max_gap_s"), wanted, f"{gap_s:g}", fix)
        if spec.feeds == "cross_attention":
            got = f"{condition.encoder!r}, whose token features have no rate"
            if "smooth" in self.root.at(loc).value:
                self.fault((*loc, "smooth"), "smoothing of a time-varying track", got, "remove `smooth`")
            fix = f"use it as text: {{encoder: {condition.encoder}}}"
            self.fault((*loc, "encoder"), "an encoder of a time-varying track", got, fix)

    def _evaluate(self) -> None:
        evaluate = self.recipe.evaluate
        if evaluate is None:
            return
        for index, name in enumerate(evaluate.metrics):
            loc: Loc = ("evaluate", "metrics", index)
            offer = self._offer("metric", name, loc)
            for lack in missing_of_metric(offer.spec) if offer and self.ready else ():
                self.lack(loc, lack)
        self._readable(evaluate, ("evaluate",))
        if None in self.recipe.conditions:
            return
        own = [condition.name for condition in self.recipe.conditions]
        joint = ["+".join(own)] if len(own) > 1 else []
        for index, name in enumerate(evaluate.conditions or []):
            parts = name.split("+")
            if name not in (*RESERVED_NAMES, "all") and [part for part in own if part in parts] != parts:
                wanted = "a condition, or several joined by + in recipe order"
                fix = did_you_mean(name, [*own, *joint, *RESERVED_NAMES], "known")
                self.fault(("evaluate", "conditions", index), wanted, repr(name), fix)
        for name in evaluate.outside:
            if name in (*own, *joint, *RESERVED_NAMES, *(evaluate.conditions or ())):
                wanted, fix = "a name that no condition has", "choose another name"
                self.fault(("evaluate", "outside", name), wanted, repr(name), fix)
