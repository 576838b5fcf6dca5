"""Run encoders over clips: cached, in one process or many, one failing clip not stopping the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from expotion.contracts import Clip, Encoder
from expotion.errors import ExpotionError, Problem
from expotion.features.one_clip import Failure, extract_all, extract_clip
from expotion.features.processes import Factory, in_processes
from expotion.features.store import Features, FeatureStore

__all__ = ["Extraction", "Factory", "Failure", "Progress", "extract_clip", "extract_many"]

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
    `workers` > 0 uses that many fresh processes with one compute thread each; they build their encoders by
    `factory`, which must pickle, as must the clips. With `workers` 0 either `encoders` or `factory` may be given.
    """
    ids = [clip.id for clip in clips]
    if len(set(ids)) != len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise ExpotionError(Problem("clips", "each clip to have its own id", f"{', '.join(twice)} twice"))
    out = Extraction()
    if workers > 0:
        if factory is None:
            raise ExpotionError(
                Problem("extract_many", "a factory of encoders where workers are used", "none")
            )
        results = in_processes(clips, store, workers, factory)
    else:
        if encoders is None:
            if factory is None:
                raise ExpotionError(Problem("extract_many", "encoders or a factory of them", "neither"))
            encoders = factory()
        results = ((clip, extract_all(encoders, clip, store)) for clip in clips)
    for done, (clip, (features, failures, warnings)) in enumerate(results, start=1):
        out.features[clip.id] = features
        out.failures += failures
        out.warnings += warnings
        if progress is not None:
            progress(done, len(clips), clip.id)
    out.features = {name: out.features[name] for name in ids}
    return out
