"""Run encoders over clips: cached, in one process or many, one failing clip not stopping the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from expotion import machine
from expotion.contracts import Clip, Encoder, TimedFeatures, TokenFeatures
from expotion.errors import FAULTS, ExpotionError, OutputError, PluginError, Problem, in_short
from expotion.features.store import Features, FeatureStore
from expotion.workers import spread


@dataclass(frozen=True)
class Failure:
    """An encoder that could not deal with a clip, and why."""

    clip_id: str
    encoder: str
    error: str

    def __str__(self) -> str:
        return f"{self.clip_id}: {self.encoder}: {self.error}"


def _compute(encoder: Encoder, clip: Clip, store: FeatureStore | None) -> Features:
    """Features of one clip, checked and kept. A store that cannot be written to says so in its `reports`."""
    features = encoder.extract(clip)
    _check(encoder, features)
    if store is not None:
        try:
            store.save(clip, encoder, features)
        except OutputError as error:  # the features are good without it
            store.reports.append(f"features of {clip.id} are not kept: {error}")
    return features


ClipResult = tuple[dict[str, Features], list[Failure], list[str]]
"""Features by encoder name, failures, warnings."""


def extract_all(encoders: Mapping[str, Encoder], clip: Clip, store: FeatureStore | None) -> ClipResult:
    """Every encoder on one clip."""
    features: dict[str, Features] = {}
    failures: list[Failure] = []
    reported = len(store.reports) if store is not None else 0
    missing = dict(encoders)
    if store is not None:
        for name, encoder in encoders.items():
            try:
                kept = store.load(clip, encoder)
            except FAULTS as error:  # a sensor file that is gone, a clip that cannot be read
                failures.append(_failure(clip, name, error))
                del missing[name]
                continue
            if kept is not None:
                features[name] = kept
                del missing[name]
    if len(missing) > 1:
        _announce_sizes(missing.values(), clip)
    for name, encoder in missing.items():
        try:
            features[name] = _compute(encoder, clip, store)
        except FAULTS as error:  # a plugin may raise anything; the other clips must go on
            failures.append(_failure(clip, name, error))
    features = {name: features[name] for name in encoders if name in features}
    warnings = [str(text) for text in getattr(clip, "warnings", [])]
    if store is not None:
        warnings += store.reports[reported:]
    try:
        clip.close()
    except FAULTS as error:
        warnings.append(f"{clip.id}: closing failed ({in_short(error)})")
    return features, failures, warnings


def _failure(clip: Clip, name: str, error: BaseException) -> Failure:
    return Failure(clip.id, name, in_short(error))


def _announce_sizes(encoders: Iterable[Encoder], clip: Clip) -> None:
    """Tell the clip's video every size that the encoders know they will ask for: each frame is decoded once."""
    try:
        video = clip.video
        request = getattr(video, "request_sizes", None)
        if video is not None and request is not None:
            request(*(side for encoder in encoders for side in encoder.frame_sizes(video)))
    except FAULTS:
        return  # each encoder meets the cause itself and says which of them failed


def _check(encoder: Encoder, features: Features) -> None:
    width = encoder.spec.width(encoder.options)
    where = f"encoder {encoder.spec.name}"
    if not isinstance(features, TimedFeatures | TokenFeatures):
        raise PluginError(Problem(where, "TimedFeatures or TokenFeatures", type(features).__name__))
    if width and features.values.shape[1] != width:
        raise PluginError(Problem(where, f"features of width {width}", str(features.values.shape[1])))
    if not bool(np.isfinite(features.values).all()):
        raise PluginError(Problem(where, "finite features", "NaN or infinity"))


# Many clips, here or in processes.

Factory = Callable[[], Mapping[str, Encoder]]
"""Builds encoders by name, in another process if need be."""
Progress = Callable[[int, int, str], None]
"""Called after each clip with the number done, the number of clips, and the clip's id."""


@dataclass
class Extraction:
    """Features by clip id and encoder name; what failed; what a user should know."""

    features: dict[str, dict[str, Features]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def extract_many(
    encoders: Mapping[str, Encoder] | None,
    clips: Sequence[Clip],
    store: FeatureStore | None = None,
    *,
    workers: int = 0,
    factory: Factory | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Features of many clips. Clips that fail are listed in `failures`; the others go on.

    All encoders of a clip run one after the other on its decoded frames, which are scaled to all their sizes when
    they are decoded and freed (`clip.close()`) before the next clip: a reader holds at most
    `data.video.CACHE_BYTES` of them, so that memory grows neither with the number of clips nor with their length.
    `workers` are as many processes, which share the cores; they build their encoders by `factory`, which must
    pickle, as must the clips. With 0, which is here, either `encoders` or `factory` may be given.
    """
    ids = [clip.id for clip in clips]
    if len(set(ids)) != len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise ExpotionError(Problem("clips", "each clip to have its own id", f"{', '.join(twice)} twice"))
    if encoders is not None and workers == 0:
        factory = partial(dict, encoders)
    if factory is None:
        wanted = "a factory of encoders where workers are used" if workers else "encoders or a factory of them"
        raise ExpotionError(Problem("extract_many", wanted, "none" if workers else "neither"))
    out = Extraction({name: {} for name in ids})
    if workers:
        machine.decide()
    threads = max(1, machine.cores() // max(1, workers))
    results = spread(partial(_extract, store), clips, build=factory, workers=workers, threads=threads)
    for done, (index, result) in enumerate(results, start=1):
        clip = clips[index]
        if isinstance(result, Exception):
            out.failures.append(_failure(clip, "all encoders", result))
        else:
            out.features[clip.id], failures, warnings = result
            out.failures += failures
            out.warnings += warnings
        if progress is not None:
            progress(done, len(clips), clip.id)
    return out


def _extract(store: FeatureStore | None, encoders: Mapping[str, Encoder], clip: Clip) -> ClipResult:
    return extract_all(encoders, clip, store)
