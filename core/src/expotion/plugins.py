"""Discover plugins, ask each what it offers, and answer by name.

Hooks announce; a plain dictionary chooses (design 3). A plugin that fails to load is kept with its cause and
skipped. A misspelt hook and a name that two distributions offer are errors, because either would silently
change what a recipe means.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import pluggy

from expotion import contracts
from expotion.contracts import (
    API_VERSION,
    ENTRY_POINT_GROUP,
    BackboneSpec,
    CallbackSpec,
    CaptionerSpec,
    DataSourceSpec,
    EncoderSpec,
    EngineSpec,
    GoldenCheckSpec,
    MetricSpec,
    ReportSectionSpec,
)
from expotion.errors import PluginError, Problem

BUILTIN_MODULES = (
    "expotion.evaluate.registry",
    "expotion.manifest.rows",
    "expotion.train.callbacks",
    "expotion.features.precomputed",
)
"""Modules of core that announce what core itself offers, through the same hooks as any plugin."""

KINDS: dict[str, tuple[str, type[Any]]] = {
    "encoder": ("expotion_encoders", EncoderSpec),
    "backbone": ("expotion_backbones", BackboneSpec),
    "engine": ("expotion_engines", EngineSpec),
    "data source": ("expotion_data_sources", DataSourceSpec),
    "metric": ("expotion_metrics", MetricSpec),
    "captioner": ("expotion_captioners", CaptionerSpec),
    "golden check": ("expotion_golden_checks", GoldenCheckSpec),
    "training callback": ("expotion_training_callbacks", CallbackSpec),
    "report section": ("expotion_report_sections", ReportSectionSpec),
}
"""Kind of offer -> (hook that announces it, type of its spec)."""

KNOWN_OFFERS: dict[tuple[str, str], str] = {
    ("encoder", "face_marlin"): "expotion-face-marlin",
    ("encoder", "motion_synchformer"): "expotion-motion-synchformer",
    ("encoder", "motion_raft"): "expotion-motion-raft",
    ("encoder", "text_t5"): "expotion-text-t5",
    ("data source", "conductor"): "expotion-conductor",
    ("backbone", "tiny"): "expotion-conductor",
    ("metric", "fad_vggish"): "expotion-metrics-fad",
    ("metric", "fad_vggish_infinity"): "expotion-metrics-fad",
    ("metric", "clap_text_audio"): "expotion-metrics-clap",
    ("metric", "fad_clap"): "expotion-metrics-clap",
    ("metric", "fad_clap_infinity"): "expotion-metrics-clap",
    ("metric", "kl_passt"): "expotion-metrics-passt",
    ("metric", "inception_score_passt"): "expotion-metrics-passt",
    ("metric", "video_audio_languagebind"): "expotion-metrics-video",
    ("metric", "video_audio_imagebind"): "expotion-metrics-video",
    ("metric", "aesthetics_enjoyment"): "expotion-metrics-aesthetics",
    ("metric", "aesthetics_usefulness"): "expotion-metrics-aesthetics",
    ("metric", "aesthetics_complexity"): "expotion-metrics-aesthetics",
    ("metric", "aesthetics_quality"): "expotion-metrics-aesthetics",
    ("metric", "desync"): "expotion-motion-synchformer",
    ("golden check", "marlin"): "expotion-face-marlin",
    ("golden check", "marlin_postable"): "expotion-face-marlin",
    ("golden check", "synchformer"): "expotion-motion-synchformer",
    ("golden check", "raft_small"): "expotion-motion-raft",
    ("golden check", "raft_large"): "expotion-motion-raft",
}
"""Which distribution of this project brings a name: for the message when it is not installed."""

Spec = TypeVar("Spec")


class EntryPointLike(Protocol):
    """What discovery needs of an entry point; tests bring their own."""

    @property
    def name(self) -> str:
        """Name of the plugin."""
        ...

    @property
    def dist(self) -> Any:
        """Distribution with `name` and `version`, or None."""
        ...

    def load(self) -> Any:
        """Import and return the plugin's module."""
        ...


@dataclass(frozen=True)
class Offer(Generic[Spec]):
    """A spec and the distribution that brought it."""

    spec: Spec
    distribution: str
    version: str


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as found: healthy, or with the `error` that kept it out. `offers` maps kind to names."""

    name: str
    distribution: str
    version: str
    error: str | None = None
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Registry:
    """Everything that the loaded plugins offer, by name. Made by `discover`."""

    encoders: Mapping[str, Offer[EncoderSpec]]
    backbones: Mapping[str, Offer[BackboneSpec]]
    data_sources: Mapping[str, Offer[DataSourceSpec]]
    metrics: Mapping[str, Offer[MetricSpec]]
    captioners: Mapping[str, Offer[CaptionerSpec]]
    plugins: tuple[PluginInfo, ...]
    golden_checks: Mapping[str, Offer[GoldenCheckSpec]] = field(default_factory=dict)
    callbacks: Mapping[str, Offer[CallbackSpec]] = field(default_factory=dict)
    report_sections: Mapping[str, Offer[ReportSectionSpec]] = field(default_factory=dict)
    engines: Mapping[str, Offer[EngineSpec]] = field(default_factory=dict)

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

    def offers(self, kind: str) -> Mapping[str, Offer[Any]]:
        """All offers of a kind (a key of `KINDS`), by name."""
        tables: dict[str, Mapping[str, Offer[Any]]] = {
            "encoder": self.encoders,
            "backbone": self.backbones,
            "engine": self.engines,
            "data source": self.data_sources,
            "metric": self.metrics,
            "captioner": self.captioners,
            "golden check": self.golden_checks,
            "training callback": self.callbacks,
            "report section": self.report_sections,
        }
        return tables[kind]

    def offer(self, kind: str, name: str) -> Offer[Any]:
        """The offer of that kind and name. Raises `PluginError` that says how to get it."""
        table = self.offers(kind)
        if name in table:
            return table[name]
        raise PluginError(Problem(f"{kind} {name!r}", *self.explain_missing(kind, name)))

    def explain_missing(self, kind: str, name: str) -> tuple[str, str | None, str]:
        """(wanted, got, fix) for a name that nobody offers."""
        table = self.offers(kind)
        package = KNOWN_OFFERS.get((kind, name))
        if package is not None:
            cause = self.cause_of(package)
            if cause is not None:
                return f"the plugin {package} that offers it is broken", cause, f"reinstall {package}"
            here = next(
                (version for dist, version in self.distributions.items() if same_distribution(dist, package)),
                None,
            )
            if here is not None:
                return (
                    f"{package} {here} does not offer this {kind}",
                    None,
                    f"update it: uv add --upgrade {package}",
                )
            return f"no installed plugin offers this {kind}", None, f"install it: uv add {package}"
        close = difflib.get_close_matches(name, table, n=1)
        known = ", ".join(sorted(table)) or "none"
        hint = (
            f"did you mean {close[0]!r}?" if close else f"install the package that offers it; known: {known}"
        )
        if self.broken and not close:
            hint += f"; broken and skipped: {', '.join(p.distribution for p in self.broken)}"
        return f"no installed plugin offers this {kind}", None, hint

    def encoder(self, name: str) -> EncoderSpec:
        """Spec of the encoder of that name, or `PluginError`."""
        spec: EncoderSpec = self.offer("encoder", name).spec
        return spec

    def backbone(self, name: str) -> BackboneSpec:
        """Spec of the backbone of that name, or `PluginError`."""
        spec: BackboneSpec = self.offer("backbone", name).spec
        return spec

    def data_source(self, name: str) -> DataSourceSpec:
        """Spec of the data source of that name, or `PluginError`."""
        spec: DataSourceSpec = self.offer("data source", name).spec
        return spec

    def metric(self, name: str) -> MetricSpec:
        """Spec of the metric of that name, or `PluginError`."""
        spec: MetricSpec = self.offer("metric", name).spec
        return spec

    def captioner(self, name: str) -> CaptionerSpec:
        """Spec of the captioner of that name, or `PluginError`."""
        spec: CaptionerSpec = self.offer("captioner", name).spec
        return spec


@dataclass(frozen=True)
class _Builtin:
    """A module of core seen as an entry point."""

    name: str
    dist: Any

    def load(self) -> ModuleType:
        return importlib.import_module(self.name)


@dataclass(frozen=True)
class _Core:
    name: str
    version: str


def discover(
    entry_points: Iterable[EntryPointLike] | None = None, builtins: Sequence[str] = BUILTIN_MODULES
) -> Registry:
    """Load every plugin and return what they offer.

    `entry_points` defaults to the installed ones of the group `expotion.plugins`. Raises `PluginError` for a
    misspelt hook or a name that is offered twice, naming all of them at once.
    """
    if entry_points is None and builtins == BUILTIN_MODULES:
        return _discover_installed()
    return _discover(entry_points if entry_points is not None else _installed(), builtins)


@cache
def _discover_installed() -> Registry:
    return _discover(_installed(), BUILTIN_MODULES)


def _installed() -> list[EntryPointLike]:
    return sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)


def _discover(entry_points: Iterable[EntryPointLike], builtins: Sequence[str]) -> Registry:
    core = _Core("expotion", core_version())
    points: list[EntryPointLike] = [_Builtin(name, core) for name in builtins if _exists(name)]
    points += entry_points
    tables: dict[str, dict[str, Offer[Any]]] = {kind: {} for kind in KINDS}
    plugins: list[PluginInfo] = []
    faults: list[Problem] = []
    for point in points:
        distribution = getattr(point.dist, "name", None) or point.name
        version = getattr(point.dist, "version", None) or "unknown"
        try:
            module = point.load()
            misspelt = _misspelt_hooks(module, point.name, distribution)
            faults += misspelt
            announced = {} if misspelt else _announced(module, point.name)
        except Exception as error:
            plugins.append(PluginInfo(point.name, distribution, version, _cause(error)))
            continue
        offers: dict[str, tuple[str, ...]] = {}
        for kind, specs in announced.items():
            offers[kind] = tuple(spec.name for spec in specs)
            for spec in specs:
                earlier = tables[kind].get(spec.name)
                if earlier is not None:
                    faults.append(_clash(kind, spec.name, earlier.distribution, distribution))
                else:
                    tables[kind][spec.name] = Offer(spec, distribution, version)
        plugins.append(PluginInfo(point.name, distribution, version, None, offers))
    if faults:
        raise PluginError(faults)
    return Registry(
        encoders=tables["encoder"],
        backbones=tables["backbone"],
        data_sources=tables["data source"],
        metrics=tables["metric"],
        captioners=tables["captioner"],
        plugins=tuple(plugins),
        golden_checks=tables["golden check"],
        callbacks=tables["training callback"],
        report_sections=tables["report section"],
        engines=tables["engine"],
    )


def _announced(module: Any, name: str) -> dict[str, list[Any]]:
    """Kind -> specs that one plugin announces, each checked for its type."""
    wanted = str(getattr(module, "EXPOTION_API", API_VERSION))
    if _major(wanted) != _major(API_VERSION):
        raise PluginError(
            Problem(
                f"plugin {name}",
                f"plugin API {_major(API_VERSION)}.x, which this expotion speaks",
                wanted,
                "install a version of the plugin made for this expotion",
            )
        )
    manager = pluggy.PluginManager("expotion")
    manager.add_hookspecs(contracts)
    manager.register(module, name=name)
    answers: dict[str, list[Any]] = {}
    for kind, (hook, spec_type) in KINDS.items():
        specs = [spec for answer in getattr(manager.hook, hook)() for spec in _as_list(answer, hook)]
        for spec in specs:
            if not isinstance(spec, spec_type):
                raise PluginError(
                    Problem(
                        f"{name}.{hook}",
                        f"a list of {spec_type.__name__}",
                        f"an item of type {type(spec).__name__}",
                        "return specs from expotion.contracts",
                    )
                )
        if specs:
            answers[kind] = specs
    return answers


def _major(version: str) -> str:
    return version.partition(".")[0]


def _as_list(answer: Any, hook: str) -> list[Any]:
    if not isinstance(answer, (list, tuple)):
        raise PluginError(Problem(hook, "a list of specs", type(answer).__name__, "wrap the spec in a list"))
    return list(answer)


def _misspelt_hooks(module: Any, plugin: str, distribution: str) -> list[Problem]:
    """Functions that are marked as hooks, or named like hooks, but answer none."""
    real = [hook for hook, _ in KINDS.values()]
    problems = []
    for attribute in dir(module):
        candidate = getattr(module, attribute, None)
        marked = getattr(candidate, "expotion_impl", None) is not None
        named = attribute.startswith("expotion_") and callable(candidate)
        if attribute in real or not (marked or (named and not isinstance(candidate, type))):
            continue
        close = difflib.get_close_matches(attribute, real, n=1, cutoff=0.0)
        problems.append(
            Problem(
                f"plugin {plugin} ({distribution})",
                "a hook that expotion knows",
                f"{attribute!r}",
                f"did you mean {close[0]!r}?",
            )
        )
    return problems


def _clash(kind: str, name: str, first: str, second: str) -> Problem:
    if same_distribution(first, second):
        return Problem(
            f"{kind} {name!r}", "a name that is offered once", f"twice by {first}", "rename one of them"
        )
    return Problem(
        f"{kind} {name!r}",
        "a name that one distribution offers",
        f"two: {first} and {second}",
        f"uninstall one of them: uv remove {second}",
    )


def _cause(error: Exception) -> str:
    if isinstance(error, PluginError):
        return str(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def core_version() -> str:
    """Version of the installed distribution `expotion`."""
    try:
        return importlib.metadata.version("expotion")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def same_distribution(first: str, second: str) -> bool:
    """Whether two distribution names are the same package (case, dashes and underscores do not count)."""
    return _normal(first) == _normal(second)


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


_NUMERICAL = "torch torchvision transformers numpy librosa opencv-python-headless av decord"


def installed_versions(names: Mapping[str, str]) -> dict[str, str]:
    """Versions that matter for a result: the given distributions and the numerical libraries below them."""
    versions = {"python": platform.python_version(), **names}
    for name in _NUMERICAL.split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
