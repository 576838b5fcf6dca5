"""Run encoders over clips: cached, in one process or many, one failing clip not stopping the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from expotion.contracts import Clip, Encoder, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, OutputError, PluginError, Problem
from expotion.features.store import Features, FeatureStore

# Every encoder on one clip: kept features first, then what is missing, one failure not stopping the others.


@dataclass(frozen=True)
class Failure:
    """An encoder that could not deal with a clip, and why."""

    clip_id: str
    encoder: str
    error: str

    def __str__(self) -> str:
        return f"{self.clip_id}: {self.encoder}: {self.error}"


def extract_clip(encoder: Encoder, clip: Clip, store: FeatureStore | None = None) -> Features:
    """Features of one clip, from the store where they are there, else computed, checked and kept.

    Raises what the encoder raises (MediaError for a bad file), PluginError for features of the wrong width.
    A store that cannot be written to is reported in `store.reports`; the features are returned all the same.
    """
    if store is not None:
        kept = store.load(clip, encoder)
        if kept is not None:
            return kept
    return _compute(encoder, clip, store)


def _compute(encoder: Encoder, clip: Clip, store: FeatureStore | None) -> Features:
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
            except Exception as error:  # a sensor file that is gone, a clip that cannot be read
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
        except Exception as error:  # a plugin may raise anything; the other clips must go on
            failures.append(_failure(clip, name, error))
    features = {name: features[name] for name in encoders if name in features}
    warnings = [str(text) for text in getattr(clip, "warnings", [])]
    if store is not None:
        warnings += store.reports[reported:]
    try:
        clip.close()
    except Exception as error:
        warnings.append(f"{clip.id}: closing failed ({type(error).__name__}: {error})")
    return features, failures, warnings


def _failure(clip: Clip, name: str, error: Exception) -> Failure:
    told = str(error) if isinstance(error, ExpotionError) else f"{type(error).__name__}: {error}"
    return Failure(clip.id, name, told)


def _announce_sizes(encoders: Iterable[Encoder], clip: Clip) -> None:
    """Tell the clip's video every size that the encoders know they will ask for: each frame is decoded once."""
    try:
        video = clip.video
        request = getattr(video, "request_sizes", None)
        if video is not None and request is not None:
            request(*(side for encoder in encoders for side in encoder.frame_sizes(video)))
    except Exception:
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


# Clips over fresh processes with one compute thread each; a process that dies takes only its clip with it.

Item = TypeVar("Item")
Result = TypeVar("Result")

Factory = Callable[[], Mapping[str, Encoder]]
"""Builds encoders by name, in another process if need be."""

_worker: dict[str, Mapping[str, Encoder]] = {}

_DEATHS_IN_A_ROW = 3
"""After as many clips in a row have each killed a fresh process, the rest is given up."""


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means


def one_thread() -> None:
    """Let the libraries that are loaded in this process compute with one thread."""
    torch = sys.modules.get("torch")  # not imported for encoders that do without
    if torch is not None:
        torch.set_num_threads(1)
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setNumThreads(1)


def _work(factory: Factory, work: Callable[[Mapping[str, Encoder], Item], Result], item: Item) -> Result:
    if "encoders" not in _worker:
        _worker["encoders"] = factory()
        one_thread()
    return work(_worker["encoders"], item)


def _extract(store: FeatureStore | None, encoders: Mapping[str, Encoder], clip: Clip) -> ClipResult:
    return extract_all(encoders, clip, store)


def in_processes(
    clips: Sequence[Clip], store: FeatureStore | None, workers: int, factory: Factory
) -> Iterator[tuple[Clip, ClipResult]]:
    """Results in the order in which they come. Clips lost with a process that died are tried again alone."""
    return map_in_processes(clips, partial(_extract, store), _failed, workers, factory)


def map_in_processes(
    items: Sequence[Item],
    work: Callable[[Mapping[str, Encoder], Item], Result],
    failed: Callable[[Item, str], Result],
    workers: int,
    factory: Factory,
) -> Iterator[tuple[Item, Result]]:
    """`work(encoders, item)` of every item, in the order in which they come; all three must pickle.

    Items lost with a process that died are tried again alone; `failed(item, reason)` stands for what did not come.
    An interruption ends the processes at once: what they write appears whole or not at all.
    """
    lost: list[Item] = []
    with _pool(min(workers, max(1, len(items)))) as pool:
        waiting: dict[Future[Result], Item] = {}
        for item in items:
            try:
                waiting[pool.submit(_work, factory, work, item)] = item
            except BrokenProcessPool:
                lost.append(item)
        for future in as_completed(waiting):
            try:
                yield waiting[future], future.result()
            except BrokenProcessPool:
                lost.append(waiting[future])
            except Exception as error:  # encoders that cannot be built, a clip that does not pickle
                yield waiting[future], failed(waiting[future], f"{type(error).__name__}: {error}")
    deaths = 0
    while lost and deaths < _DEATHS_IN_A_ROW:
        with _pool(1) as pool:
            while lost:
                item = lost.pop(0)
                try:
                    result = pool.submit(_work, factory, work, item).result()
                except BrokenProcessPool:
                    deaths += 1
                    yield item, failed(item, "the process died; it may have run out of memory")
                    break
                except Exception as error:
                    result = failed(item, f"{type(error).__name__}: {error}")
                deaths = 0
                yield item, result
    for item in lost:
        yield item, failed(item, f"not tried: {_DEATHS_IN_A_ROW} processes in a row have died")


def _failed(clip: Clip, text: str) -> ClipResult:
    return {}, [Failure(clip.id, "all encoders", text)], []


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes: a forked one would inherit the locks of the arithmetic libraries' threads."""
    context = multiprocessing.get_context("spawn")
    with _one_thread():
        pool = ProcessPoolExecutor(workers, context, initializer=_ignore_interrupts)
        try:
            yield pool
        except BaseException:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


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
