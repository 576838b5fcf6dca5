"""What a run of a recipe needs and this machine does not have: weights, packages, files. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expotion.contracts import CaptionerSpec, EncoderSpec, MetricSpec, Weights, pulled_weights
from expotion.errors import Problem
from expotion.recipe.schema import Backbone

MUSICGEN_LICENCE = "CC-BY-NC-4.0"
_HERE_ANYWAY = ("shipped", "seeded")
_NOT_CACHED = "not in the hub's cache"


@dataclass(frozen=True)
class Lack:
    """Something that is not here: the problem as it is told, and the weights, where it is those.

    `fetched`: a run with a connection fetches it itself.
    """

    problem: Problem
    weights: Weights | None = None
    fetched: bool = False


def missing_weights(spec: EncoderSpec | CaptionerSpec, options: Any) -> Iterator[Lack]:
    """Weights of an encoder or captioner with these options that are not here."""
    kind = "captioner" if isinstance(spec, CaptionerSpec) else "encoder"
    for weights in spec.weights(options):
        if weights.source in _HERE_ANYWAY or Path(weights.source).expanduser().exists():
            continue
        # A name with a slash is a repository's, which who reads it looks for in the hub's cache, and fetches.
        hub = "/" in weights.name
        repository = weights.source.removeprefix("hf:")
        if in_hub_cache(repository) if hub else pulled_weights(weights.name) is not None:
            continue
        got, fix = "not pulled", f"expotion models pull {weights.name}"
        if hub:
            got, fix = _NOT_CACHED, _download(repository)
        wanted = f"the weights {weights.name} ({weights.licence})"
        yield Lack(Problem(f"{kind} {spec.name!r}", wanted, got, fix), weights, fetched=hub)


def missing_of_metric(spec: MetricSpec) -> Iterator[Lack]:
    """Packages and weights of a metric that are not here."""
    weights = {f"expotion models pull {own.name}": own for own in spec.weights}
    for problem in spec.missing():
        yield Lack(problem, weights.get(problem.fix or ""))


def missing_backbone(backbone: Backbone) -> Lack | None:
    """A backbone of the hub that is not in the hub's cache; folders and plugins' are looked at elsewhere."""
    reference = backbone.reference
    if backbone.kind not in ("hf", "audiocraft") or Path(reference).expanduser().is_dir():
        return None
    if in_hub_cache(reference, "config.json" if backbone.kind == "hf" else "state_dict.bin"):
        return None
    licence = MUSICGEN_LICENCE if reference.startswith("facebook/musicgen") else "its own"
    weights = Weights(reference, f"hf:{reference}", licence, non_commercial=licence == MUSICGEN_LICENCE)
    problem = Problem("", f"the weights {reference} ({licence})", _NOT_CACHED, _download(reference))
    return Lack(problem, weights, fetched=True)


def _download(repository: str) -> str:
    return f"hf download {repository}; a run with a connection does so itself"


def in_hub_cache(repository: str, file: str = "config.json") -> bool:
    """Whether the hub's cache has a snapshot of a repository with this file and with weights."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - only where something of the hub is named

    try:
        found = try_to_load_from_cache(repository, file)
    except ValueError:  # not a repository's name
        return False
    folder = Path(found).parent if isinstance(found, str) else None
    return folder is not None and any(any(folder.glob(kind)) for kind in ("*.safetensors", "state_dict.bin"))
