"""Run encoders over clips: cached, in one process or many, one failing clip not stopping the others."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from expotion.contracts import Clip, Encoder, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, OutputError, PluginError, Problem
from expotion.features.store import Features, FeatureStore

Factory = Callable[[], Mapping[str, Encoder]]
Progress = Callable[[int, int, str], None]
"""Called after each clip with the number done, the number of clips, and the clip's id."""


@dataclass(frozen=True)
class Failure:
    """An encoder that could not deal with a clip, and why."""

    clip_id: str
    encoder: str
    error: str

    def __str__(self) -> str:
        return f"{self.clip_id}: {self.encoder}: {self.error}"


@dataclass
class Extraction:
    """Features by clip id and encoder name; what failed; what a user should know."""

    features: dict[str, dict[str, Features]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def extract_clip(encoder: Encoder, clip: Clip, store: FeatureStore | None = None) -> Features:
    """Features of one clip, from the store where they are there, else computed, checked and kept.

    Raises what the encoder raises (MediaError for a bad file), PluginError for features of the wrong width.
    A store that cannot be written to is reported in `store.reports`; the features are returned all the same.
    """
    if store is not None:
        kept = store.load(clip, encoder)
        if kept is not None:
            return kept
    features = encoder.extract(clip)
    _check(encoder, features)
    if store is not None:
        try:
            store.save(clip, encoder, features)
        except OutputError as error:  # the features are good without it
            store.reports.append(f"features of {clip.id} are not kept: {error}")
    return features


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

    All encoders of a clip run one after the other on its decoded frames, which are freed (`clip.close()`)
    before the next clip, so memory does not grow with the number of clips. `workers` > 0 uses that many
    fresh processes with one compute thread each; they build their encoders by `factory`, which must pickle,
    as must the clips. With `workers` 0 either `encoders` or `factory` may be given.
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
        results = _in_processes(clips, store, workers, factory)
    else:
        if encoders is None:
            if factory is None:
                raise ExpotionError(Problem("extract_many", "encoders or a factory of them", "neither"))
            encoders = factory()
        results = ((clip, _one(encoders, clip, store)) for clip in clips)
    for done, (clip, (features, failures, warnings)) in enumerate(results, start=1):
        out.features[clip.id] = features
        out.failures += failures
        out.warnings += warnings
        if progress is not None:
            progress(done, len(clips), clip.id)
    out.features = {name: out.features[name] for name in ids}
    return out


_Result = tuple[dict[str, Features], list[Failure], list[str]]


def _one(encoders: Mapping[str, Encoder], clip: Clip, store: FeatureStore | None) -> _Result:
    """Every encoder on one clip."""
    features: dict[str, Features] = {}
    failures: list[Failure] = []
    reported = len(store.reports) if store is not None else 0
    for name, encoder in encoders.items():
        try:
            features[name] = extract_clip(encoder, clip, store)
        except ExpotionError as error:
            failures.append(Failure(clip.id, name, str(error)))
        except Exception as error:  # a plugin may raise anything; the other clips must go on
            failures.append(Failure(clip.id, name, f"{type(error).__name__}: {error}"))
    warnings = [str(text) for text in getattr(clip, "warnings", [])]
    if store is not None:
        warnings += store.reports[reported:]
    try:
        clip.close()
    except Exception as error:
        warnings.append(f"{clip.id}: closing failed ({type(error).__name__}: {error})")
    return features, failures, warnings


_worker: dict[str, Mapping[str, Encoder]] = {}

_DEATHS_IN_A_ROW = 3
"""After as many clips in a row have each killed a fresh process, the rest is given up."""


def _start_worker(factory: Factory) -> None:
    _worker["encoders"] = factory()
    torch = sys.modules.get("torch")  # not imported for encoders that do without
    if torch is not None:
        torch.set_num_threads(1)
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setNumThreads(1)


def _work(factory: Factory, clip: Clip, store: FeatureStore | None) -> _Result:
    if "encoders" not in _worker:
        _start_worker(factory)
    return _one(_worker["encoders"], clip, store)


def _in_processes(
    clips: Sequence[Clip], store: FeatureStore | None, workers: int, factory: Factory
) -> Iterator[tuple[Clip, _Result]]:
    """Results in the order in which they come. Clips lost with a process that died are tried again alone."""
    lost: list[Clip] = []
    with _pool(min(workers, max(1, len(clips)))) as pool:
        waiting: dict[Future[_Result], Clip] = {}
        for clip in clips:
            try:
                waiting[pool.submit(_work, factory, clip, store)] = clip
            except BrokenProcessPool:
                lost.append(clip)
        for future in as_completed(waiting):
            try:
                yield waiting[future], future.result()
            except BrokenProcessPool:
                lost.append(waiting[future])
            except Exception as error:  # encoders that cannot be built, a clip that does not pickle
                yield waiting[future], _failed(waiting[future], f"{type(error).__name__}: {error}")
    deaths = 0
    while lost and deaths < _DEATHS_IN_A_ROW:
        with _pool(1) as pool:
            while lost:
                clip = lost.pop(0)
                try:
                    result = pool.submit(_work, factory, clip, store).result()
                except BrokenProcessPool:
                    deaths += 1
                    yield clip, _failed(clip, "the process died; it may have run out of memory")
                    break
                except Exception as error:
                    result = _failed(clip, f"{type(error).__name__}: {error}")
                deaths = 0
                yield clip, result
    for clip in lost:
        yield clip, _failed(clip, f"not tried: {_DEATHS_IN_A_ROW} processes in a row have died")


def _failed(clip: Clip, text: str) -> _Result:
    return {}, [Failure(clip.id, "all encoders", text)], []


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes: a forked one would inherit the locks of the arithmetic libraries' threads."""
    context = multiprocessing.get_context("spawn")
    with _one_thread(), ProcessPoolExecutor(workers, context) as pool:
        yield pool


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started inside use one thread each for their arithmetic."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _check(encoder: Encoder, features: Features) -> None:
    width = encoder.spec.width(encoder.options)
    where = f"encoder {encoder.spec.name}"
    if not isinstance(features, TimedFeatures | TokenFeatures):
        raise PluginError(Problem(where, "TimedFeatures or TokenFeatures", type(features).__name__))
    if width and features.values.shape[1] != width:
        raise PluginError(Problem(where, f"features of width {width}", str(features.values.shape[1])))
    if not bool(np.isfinite(features.values).all()):
        raise PluginError(Problem(where, "finite features", "NaN or infinity"))
