"""Discover plugins, ask each what it offers, and answer by name.

Hooks announce; a plain dictionary chooses (design 3). A plugin that fails to load, that ends the program or that
misspells a hook is kept with its cause, said and skipped. A name that two distributions offer is an error, because
it would silently change what a recipe means.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import logging
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint
from multiprocessing import parent_process
from typing import Any, Generic, TypeVar

import pluggy
from packaging.utils import canonicalize_name

from expotion import contracts, streams
from expotion.contracts import API_VERSION, ENTRY_POINT_GROUP
from expotion.errors import PluginError, Problem, in_short

log = logging.getLogger("expotion")
BUILTIN_MODULES = (
    "expotion.evaluate.registry",
    "expotion.manifest",
    "expotion.train.callbacks",
    "expotion.features.precomputed",
    "expotion.musicgen.engine",
)
"""Modules of core that announce what core itself offers, through the same hooks as any plugin."""

KINDS: dict[str, tuple[str, type[Any]]] = {
    "encoder": ("expotion_encoders", contracts.EncoderSpec),
    "backbone": ("expotion_backbones", contracts.BackboneSpec),
    "engine": ("expotion_engines", contracts.EngineSpec),
    "data source": ("expotion_data_sources", contracts.DataSourceSpec),
    "metric": ("expotion_metrics", contracts.MetricSpec),
    "captioner": ("expotion_captioners", contracts.CaptionerSpec),
    "golden check": ("expotion_golden_checks", contracts.GoldenCheckSpec),
    "training callback": ("expotion_training_callbacks", contracts.CallbackSpec),
    "report section": ("expotion_report_sections", contracts.ReportSectionSpec),
    "task": ("expotion_tasks", contracts.TaskSpec),
}
"""Kind of offer -> (hook that announces it, type of its spec)."""

Spec = TypeVar("Spec")


@dataclass(frozen=True)
class Offer(Generic[Spec]):
    """A spec and the distribution that brought it."""

    spec: Spec
    distribution: str
    version: str


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as found: healthy, or with the `error` that kept it and its offers out.

    `offers` maps kind to names, as far as they became known.
    """

    name: str
    distribution: str
    version: str
    error: str | None = None
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Registry:
    """Everything that the loaded plugins offer: kind -> name -> offer. Made by `discover`."""

    plugins: tuple[PluginInfo, ...]
    tables: Mapping[str, Mapping[str, Offer[Any]]]

    def offers(self, kind: str) -> Mapping[str, Offer[Any]]:
        """All offers of a kind (a key of `KINDS`), by name."""
        return self.tables[kind]

    def offer(self, kind: str, name: str) -> Offer[Any]:
        """The offer of that kind and name. Raises `PluginError` that says how to get it."""
        table = self.offers(kind)
        if name in table:
            return table[name]
        raise PluginError(Problem(f"{kind} {name!r}", *self.explain_missing(kind, name)))

    def default(self, kind: str) -> str:
        """Name of the encoder of text or the backbone that recipes get which name none. Raises `PluginError`."""
        names = [name for name, offer in self.offers(kind).items() if offer.spec.default]
        if len(names) == 1:
            return names[0]
        got = f"{len(names)}: {', '.join(names)}" if names else "none"
        fix = f"name the {kind} in the recipe, or with --{kind} where there is none"
        raise PluginError(Problem(f"default {kind}", "one installed plugin that offers it", got, fix))

    @property
    def broken(self) -> tuple[PluginInfo, ...]:
        """Plugins that were found but could not be used."""
        return tuple(plugin for plugin in self.plugins if plugin.error is not None)

    @property
    def distributions(self) -> dict[str, str]:
        """Version of every distribution that loaded, by its name."""
        return {plugin.distribution: plugin.version for plugin in self.plugins if plugin.error is None}

    def cause_of(self, distribution: str) -> str | None:
        """Why a distribution that is installed could not be used; None where it works or is not there."""
        return next((p.error for p in self.broken if same_distribution(p.distribution, distribution)), None)

    def explain_missing(self, kind: str, name: str) -> tuple[str, str | None, str]:
        """(wanted, got, fix) for a name that nobody offers.

        Core has no list of packages: one that is named after what it offers, as encoders' and data sources' are, is
        guessed; other kinds are named in the documentation.
        """
        table, package = self.offers(kind), canonicalize_name(f"expotion-{name}")
        for plugin in self.broken:
            if same_distribution(plugin.distribution, package) or name in plugin.offers.get(kind, ()):
                wanted = f"the plugin {plugin.distribution} that offers it is broken"
                return wanted, plugin.error, f"reinstall or update {plugin.distribution}"
        for distribution, version in self.distributions.items():
            if same_distribution(distribution, package):
                fix = f"update it: uv add --upgrade {package}"
                return f"{package} {version} does not offer this {kind}", None, fix
        if close := difflib.get_close_matches(name, table, n=1, cutoff=0.75):
            fix = f"did you mean {close[0]!r}?"
        elif kind in ("encoder", "data source"):
            fix = f"install it: uv add {package}, or the package that offers it under another name"
        else:
            fix = "install the package that offers it (docs/plugins.md lists ours)"
        if not close:
            fix += f"; known: {', '.join(sorted(table)) or 'none'}"
            fix += "".join(f"; {p.distribution} is broken and skipped: {p.error}" for p in self.broken)
        return f"no installed plugin offers this {kind}", None, fix

    @property
    def encoders(self) -> Mapping[str, Offer[contracts.EncoderSpec]]:
        """Encoders by name."""
        return self.offers("encoder")

    @property
    def backbones(self) -> Mapping[str, Offer[contracts.BackboneSpec]]:
        """Backbones by name."""
        return self.offers("backbone")

    @property
    def metrics(self) -> Mapping[str, Offer[contracts.MetricSpec]]:
        """Metrics by name."""
        return self.offers("metric")

    def encoder(self, name: str) -> contracts.EncoderSpec:
        """Spec of the encoder of that name, or `PluginError`."""
        spec: contracts.EncoderSpec = self.offer("encoder", name).spec
        return spec

    def backbone(self, name: str) -> contracts.BackboneSpec:
        """Spec of the backbone of that name, or `PluginError`."""
        spec: contracts.BackboneSpec = self.offer("backbone", name).spec
        return spec

    def data_source(self, name: str) -> contracts.DataSourceSpec:
        """Spec of the data source of that name, or `PluginError`."""
        spec: contracts.DataSourceSpec = self.offer("data source", name).spec
        return spec

    def metric(self, name: str) -> contracts.MetricSpec:
        """Spec of the metric of that name, or `PluginError`."""
        spec: contracts.MetricSpec = self.offer("metric", name).spec
        return spec

    def captioner(self, name: str) -> contracts.CaptionerSpec:
        """Spec of the captioner of that name, or `PluginError`."""
        spec: contracts.CaptionerSpec = self.offer("captioner", name).spec
        return spec


def discover(
    entry_points: Iterable[EntryPoint] | None = None, builtins: Sequence[str] = BUILTIN_MODULES
) -> Registry:
    """Load every plugin and return what they offer.

    `entry_points` defaults to the installed ones of the group `expotion.plugins`. Raises `PluginError` for names
    that are offered twice, naming all of them at once.
    """
    if entry_points is None and builtins == BUILTIN_MODULES:
        return _discover_installed()
    return _discover(entry_points if entry_points is not None else _installed(), builtins)


@cache
def _discover_installed() -> Registry:
    registry = _discover(_installed(), BUILTIN_MODULES)
    for plugin in registry.broken if parent_process() is None else ():  # said once, not by every worker
        log.warning("the plugin %s is broken and skipped: %s", plugin.distribution, plugin.error)
    return registry


def _installed() -> list[EntryPoint]:
    return sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)


def _discover(entry_points: Iterable[EntryPoint], builtins: Sequence[str]) -> Registry:
    tables: dict[str, dict[str, Offer[Any]]] = {kind: {} for kind in KINDS}
    plugins: list[PluginInfo] = []
    faults: list[Problem] = []
    own = [EntryPoint(name, name, ENTRY_POINT_GROUP) for name in builtins]
    for point in (*own, *entry_points):
        # An entry point that no distribution brought is one of core's own.
        distribution = point.dist.name if point.dist else "expotion"
        version = point.dist.version if point.dist else core_version()
        try:
            with streams.apart():
                module = point.load()
                announced = _announced(module, point.name)
        except (Exception, SystemExit) as error:  # a plugin may do anything
            plugins.append(PluginInfo(point.name, distribution, version, in_short(error)))
            continue
        offers = {kind: tuple(spec.name for spec in specs) for kind, specs in announced.items()}
        misspelt = _misspelt_hooks(module)
        plugins.append(PluginInfo(point.name, distribution, version, misspelt, offers))
        for kind, specs in announced.items() if misspelt is None else ():
            for spec in specs:
                offer = Offer(spec, distribution, version)
                earlier = tables[kind].setdefault(spec.name, offer)
                if earlier is not offer:
                    faults.append(_clash(kind, spec.name, earlier.distribution, distribution))
    if faults:
        raise PluginError(faults)
    return Registry(tuple(plugins), tables)


def _announced(module: Any, name: str) -> dict[str, list[Any]]:
    """Kind -> specs that one plugin announces, each checked for its type."""
    wanted, spoken = (str(getattr(module, "EXPOTION_API", API_VERSION)).split(".")[0], API_VERSION.split(".")[0])
    if wanted != spoken:
        raise PluginError(
            Problem(
                f"plugin {name}",
                f"plugin API {spoken}.x, which this expotion speaks",
                module.EXPOTION_API,
                "install a version of the plugin made for this expotion",
            )
        )
    manager = pluggy.PluginManager("expotion")
    manager.add_hookspecs(contracts)
    manager.register(module, name=name)
    answers: dict[str, list[Any]] = {}
    for kind, (hook, spec_type) in KINDS.items():
        for answer in getattr(manager.hook, hook)():
            if not isinstance(answer, (list, tuple)):
                fix = "wrap the spec in a list"
                raise PluginError(Problem(hook, "a list of specs", type(answer).__name__, fix))
            for spec in answer:
                if not isinstance(spec, spec_type):
                    wanted, got = f"a list of {spec_type.__name__}", f"an item of type {type(spec).__name__}"
                    fix = "return specs from expotion.contracts"
                    raise PluginError(Problem(f"{name}.{hook}", wanted, got, fix))
                answers.setdefault(kind, []).append(spec)
    return answers


def _misspelt_hooks(module: Any) -> str | None:
    """What is wrong with functions that are marked as hooks, or named like hooks, but answer none."""
    real = [hook for hook, _ in KINDS.values()]
    found = []
    for attribute in dir(module):
        candidate = getattr(module, attribute, None)
        marked = getattr(candidate, "expotion_impl", None) is not None
        named = attribute.startswith("expotion_") and callable(candidate) and not isinstance(candidate, type)
        if attribute not in real and (marked or named):
            close = difflib.get_close_matches(attribute, real, n=1, cutoff=0.0)
            found.append(f"{attribute!r} is no hook: did you mean {close[0]!r}?")
    return "; ".join(found) or None


def _clash(kind: str, name: str, first: str, second: str) -> Problem:
    where = f"{kind} {name!r}"
    if same_distribution(first, second):
        return Problem(where, "a name that is offered once", f"twice by {first}", "rename one of them")

    def distance(distribution: str) -> int:
        """How far a distribution is from being the one that is known for the name."""
        own = canonicalize_name(distribution)
        signs = own == "expotion", own == canonicalize_name(f"expotion-{name}"), own.startswith("expotion-"), True
        return signs.index(True)

    foreign = first if distance(first) > distance(second) else second
    either = f" (or {first})" if distance(first) == distance(second) else ""
    wanted, got = "a name that one distribution offers", f"two: {first} and {second}"
    return Problem(where, wanted, got, f"uninstall one of them: uv remove {foreign}{either}")


def core_version() -> str:
    """Version of the installed distribution `expotion`."""
    try:
        return importlib.metadata.version("expotion")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def same_distribution(first: str, second: str) -> bool:
    """Whether two distribution names are the same package (case, dashes and underscores do not count)."""
    return canonicalize_name(first) == canonicalize_name(second)


_NUMERICAL = "torch torchvision transformers numpy librosa opencv-python-headless av decord"
_version = cache(importlib.metadata.version)


def installed_versions(names: Mapping[str, str]) -> dict[str, str]:
    """Versions that matter for a result: the given distributions and the numerical libraries below them."""
    versions = {"python": platform.python_version(), **names}
    for name in _NUMERICAL.split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = _version(name)
    return versions
