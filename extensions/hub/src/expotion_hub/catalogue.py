"""The catalogue: MusicGen and its parts, and every weights file that an installed encoder or metric announces.

A size or hash of None is not known before the first download, which records it; later downloads must match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from expotion.contracts import EncoderSpec, MetricSpec, Weights
from expotion.errors import ExpotionError, Problem, near
from expotion.plugins import Registry

HUB = "hf:"
WHEEL = "wheel:"
DOWNLOADS = (HUB, "https://", "torchvision:", WHEEL)
MUSICGEN_LICENCE = "CC-BY-NC-4.0"


@dataclass(frozen=True)
class Entry:
    """One thing to download.

    `source` is `hf:OWNER/NAME`, an https address, `torchvision:MODEL/WEIGHTS`, or `wheel:NAME==VERSION!FOLDER`: the
    `files` below a folder of that wheel. `sha256` may be a beginning of the digest, as torchvision puts it into its
    file names. `used_by` names who reads it.
    """

    name: str
    description: str
    source: str
    licence: str
    non_commercial: bool = False
    size_bytes: int | None = None
    sha256: str | None = None
    used_by: str = ""
    files: tuple[tuple[str, str], ...] = ()


def _musicgen(size: str, n_parameters: str) -> Entry:
    return Entry(
        f"musicgen_{size}",
        f"MusicGen {size} with EnCodec and T5, {n_parameters} parameters in its language model",
        f"{HUB}facebook/musicgen-{size}",
        MUSICGEN_LICENCE,
        non_commercial=True,
        used_by=f"backbone source hf:facebook/musicgen-{size}",
    )


OWN = (
    _musicgen("small", "420 million"),
    _musicgen("medium", "1.8 billion"),
    _musicgen("large", "3.3 billion"),
    Entry(
        "encodec_32khz",
        "EnCodec of MusicGen, for audiocraft files that only name it",
        f"{HUB}facebook/encodec_32khz",
        MUSICGEN_LICENCE,
        non_commercial=True,
        used_by="audiocraft files whose codec is `pretrained`",
    ),
    Entry(
        "t5_base",
        "T5 base, MusicGen's text encoder, for audiocraft files",
        f"{HUB}google-t5/t5-base",
        "Apache-2.0",
        used_by="audiocraft files; a text encoder with model: google-t5/t5-base",
    ),
    Entry(
        "beat_this_final0",
        "Beat This!, the beat tracker, trained on everything but GTZAN",
        "https://cloud.cp.jku.at/public.php/dav/files/7ik4RrBKTS273gp/final0.ckpt",
        "MIT",
        used_by="beat and tempo metrics, where the package beat-this is installed",
    ),
)
"""What core itself can download."""


def catalogue(registry: Registry) -> dict[str, Entry]:
    """All entries by name: core's, then the encoders' and the metrics', in the order of their names."""
    entries = {entry.name: entry for entry in OWN}
    for _, offer in sorted(registry.encoders.items()):
        for weights in _announced(offer.spec):
            entries.setdefault(weights.name, _entry(weights, offer.spec))
    for _, metric in sorted(registry.metrics.items()):
        for weights in metric.spec.weights:
            if weights.source.startswith(DOWNLOADS):
                entries.setdefault(weights.name, _entry(weights, metric.spec))
    return entries


def find(registry: Registry, name: str) -> Entry:
    """The entry of that name; ExpotionError with the closest names."""
    entries = catalogue(registry)
    if name in entries:
        return entries[name]
    hint = near(name, entries) or f"known: {', '.join(entries)}"
    raise ExpotionError(Problem(f"model {name!r}", "a name from `expotion models list`", None, hint))


def _entry(weights: Weights, spec: EncoderSpec | MetricSpec) -> Entry:
    return Entry(
        weights.name,
        spec.description,
        weights.source,
        weights.licence,
        weights.non_commercial,
        weights.size_bytes,
        weights.sha256,
        used_by=f"{'metric' if isinstance(spec, MetricSpec) else 'encoder'} {spec.name}",
        files=weights.files,
    )


def _announced(spec: EncoderSpec) -> Iterator[Weights]:
    """Downloadable weights of the default options and of every choice in them, one at a time."""
    for changes in _variants(spec.options.model_fields):
        try:
            found: Iterable[Weights] = spec.weights(spec.options(**changes))
        except (ValidationError, ExpotionError):
            continue
        for weights in found:
            if weights.source.startswith(DOWNLOADS):
                yield weights


def _variants(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {}
    for name, info in fields.items():
        if get_origin(info.annotation) is Literal:
            for choice in get_args(info.annotation):
                if choice != info.default:
                    yield {name: choice}
