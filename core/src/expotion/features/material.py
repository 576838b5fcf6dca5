"""What training and generation need of every clip: codes, control tracks, text. Made once, kept in the store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, Encoder, SmoothedTrack, TimedFeatures, TokenFeatures
from expotion.errors import FAULTS, ExpotionError, OutputError, Problem, listed
from expotion.features.encoders import CODES, EncodersFactory
from expotion.features.extract import Extraction, extract_many
from expotion.features.smooth import coverage, sampled_at, smooth_track
from expotion.features.store import Features, FeatureStore
from expotion.musicgen.codec import Codec
from expotion.musicgen.codes import CodesEncoder, codes_of
from expotion.recipe import Recipe
from expotion.video.memory import MemoryClip
from expotion.workers import n_workers

log = logging.getLogger("expotion")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Tracks:
    """By clip id: native tracks by condition, and codes int64 [K, T] of the clips that have sound."""

    tracks: dict[str, dict[str, TimedFeatures]]
    codes: dict[str, NDArray[np.int64]]


@dataclass
class Failures:
    """Clips that could not be used, with the reason; the others go on."""

    by_clip: dict[str, str] = field(default_factory=dict)

    def add(self, clip_id: str, reason: str, *, vital: bool = True) -> None:
        """Log a reason; the first vital one of a clip is kept."""
        log.warning("clip %s: %s", clip_id, reason)
        if vital:
            self.by_clip.setdefault(clip_id, reason)


def extract_all(
    recipe: Recipe,
    encoders: dict[str, Encoder],
    codec_source: str,
    clips: Sequence[Clip],
    store: FeatureStore,
    failures: Failures,
    *,
    progress: Progress,
    codec: Codec | None = None,
) -> Tracks:
    """Every condition's native track and the clip's codes, over all cores. Failed clips go to `failures`.

    With the `codec`, what the store holds already is read here, and only other clips need worker processes.
    """
    kept = {} if codec is None else _kept({**encoders, CODES: CodesEncoder(codec)}, clips, store)
    left = [clip for clip in clips if clip.id not in kept]
    progress(len(kept), len(clips))
    found = Extraction()
    if left:
        found = extract_many(
            None,
            left,
            store,
            workers=n_workers(len(left), items_per_worker=8),
            factory=EncodersFactory(recipe.to_dict(), codec_source=codec_source),
            progress=lambda done, _total, _clip: progress(len(kept) + done, len(clips)),
        )
    found.features = {clip.id: kept.get(clip.id) or found.features[clip.id] for clip in clips}
    for failure in found.failures:
        failures.add(failure.clip_id, f"{failure.encoder}: {failure.error}", vital=failure.encoder != CODES)
    for warning in found.warnings:
        log.warning("%s", warning)
    tracks: dict[str, dict[str, TimedFeatures]] = {}
    codes: dict[str, NDArray[np.int64]] = {}
    for clip_id, by_name in found.features.items():
        timed = {name: track for name, track in by_name.items() if isinstance(track, TimedFeatures)}
        if CODES in timed:
            codes[clip_id] = codes_of(timed.pop(CODES))
        if len(timed) == len(encoders):
            tracks[clip_id] = sampled_tracks(recipe, encoders, timed)
    return Tracks(tracks, codes)


def _kept(
    encoders: Mapping[str, Encoder], clips: Sequence[Clip], store: FeatureStore
) -> dict[str, dict[str, Features]]:
    """Features of the clips of which the store holds every one."""
    found: dict[str, dict[str, Features]] = {}
    for clip in clips:
        own: dict[str, Features] = {}
        for name, encoder in encoders.items():
            try:
                features = store.load(clip, encoder)
            except FAULTS:  # a clip that cannot be read: extraction says why
                features = None
            if features is None:
                break
            own[name] = features
        if len(own) == len(encoders):
            found[clip.id] = own
    return found


def sampled_tracks(
    recipe: Recipe, encoders: Mapping[str, Encoder], tracks: Mapping[str, TimedFeatures]
) -> dict[str, TimedFeatures]:
    """Native tracks at the rates that the recipe's conditions ask for (`smooth.rate_hz`)."""
    return {
        name: sampled_at(encoders[name], track, recipe.condition(name).smooth.rate_hz)
        for name, track in tracks.items()
    }


def smooth_all(
    encoders: Mapping[str, Encoder], tracks: Mapping[str, TimedFeatures], n_frames: int, rate_hz: float
) -> dict[str, SmoothedTrack]:
    """Every condition's track at the model's step rate, [n_frames + 1, D]."""
    return {name: smooth_track(encoders[name], track, n_frames, rate_hz) for name, track in tracks.items()}


def coverage_warnings(
    encoders: dict[str, Encoder], clip: Clip, tracks: dict[str, TimedFeatures], rate_hz: float
) -> list[str]:
    """A line for each control that has nothing to say in more than a tenth of the clip, or for a second."""
    lines = []
    for name, smoothed in smooth_all(encoders, tracks, n_frames_of(clip, rate_hz), rate_hz).items():
        seen = coverage(tracks[name], smoothed, rate_hz)
        if seen.is_notable:
            lines.append(f"{clip.id}: {name}: {seen}")
    return lines


# Text.


class Prompts:
    """Text features by prompt, each encoded once and kept in the store, where one is given."""

    def __init__(self, encoder: Encoder, store: FeatureStore | None = None) -> None:
        self.encoder = encoder
        self._store = store
        self._known: dict[str | None, TokenFeatures] = {}

    def __getitem__(self, prompt: str | None) -> TokenFeatures:
        if prompt not in self._known:
            clip = MemoryClip("prompt", caption=prompt)
            kept = self._store.load(clip, self.encoder) if self._store is not None else None
            features = self.encoder.extract(clip) if kept is None else kept
            if kept is None and self._store is not None and isinstance(features, TokenFeatures):
                with contextlib.suppress(OutputError):  # a cache without room costs time only
                    self._store.save(clip, self.encoder, features)
            if not isinstance(features, TokenFeatures):
                raise ExpotionError(
                    Problem(
                        where=f"text.encoder {self.encoder.spec.name}",
                        wanted="an encoder that gives token features",
                        got="a timed track",
                        fix="use it as a condition instead",
                    )
                )
            self._known[prompt] = features
        return self._known[prompt]

    def unknown_words(self, prompts: Iterable[str | None]) -> dict[str, Sequence[str]]:
        """Words of prompts that the encoder does not know, each with near ones that it knows."""
        told = [self.encoder.unknown_words(prompt) for prompt in dict.fromkeys(prompts) if prompt]
        return {word: near for unknown in told for word, near in unknown.items()}


def unknown_text(unknown: Mapping[str, Sequence[str]]) -> str:
    """A warning about words of prompts that the text encoder does not know."""
    words = [f"{word} (near: {', '.join(near) or 'none'})" for word, near in unknown.items()]
    return f"the text encoder does not know these words of the prompt: {listed(words, 12)}"


def prompt_of(recipe: Recipe, clip: Clip) -> str | None:
    """The prompt of a clip: the recipe's fixed string or the clip's caption."""
    fixed = recipe.text.fixed_prompt
    return clip.caption if fixed is None else fixed


def n_frames_of(clip: Clip, rate_hz: float) -> int:
    """Codec frames of a clip."""
    return timeline.n_steps(clip.duration_s, rate_hz)
