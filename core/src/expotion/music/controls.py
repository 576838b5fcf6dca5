"""The controls of an adaptor: its encoders, run over clips, as smoothed tracks at the model's steps."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from expotion.contracts import Clip, Encoder, SmoothedTrack, TimedFeatures
from expotion.errors import MediaError, Problem
from expotion.features.extract import extract_many
from expotion.features.material import sampled_tracks
from expotion.features.smooth import coverage, smooth_track
from expotion.music.out_of_memory import text_problem
from expotion.music.steering import ClipLike, Steering
from expotion.recipe import Recipe
from expotion.recipe.problems import show
from expotion.video.clip import FileClip

LEAST_COVERAGE = 0.1
"""A control that has something to say in less of the clip than this is left out, with a warning."""

Warn = Callable[[str], None]


@dataclass
class Controls:
    """Encoders by control; what they saw of the last clip is kept."""

    recipe: Recipe
    encoders: Mapping[str, Encoder]
    rate_hz: float
    _heard: dict[str, tuple[Clip, TimedFeatures]] = field(default_factory=dict)

    def extract(self, names: Sequence[str], clip: Clip) -> dict[str, TimedFeatures]:
        """Native features of a clip by control; those of the last clip are kept. Raises MediaError."""
        missing = {
            name: self.encoders[name]
            for name in names
            if name not in self._heard or self._heard[name][0] is not clip
        }
        found = extract_many(missing, [clip])
        if found.failures:
            where = str(clip.path or clip.id)
            raise MediaError(
                [
                    text_problem(f"{where}: {f.encoder}", f.error)
                    or Problem(where, f"features of {f.encoder}", f.error)
                    for f in found.failures
                ]
            )
        for name, track in found.features[clip.id].items():
            if isinstance(track, TimedFeatures):
                self._heard[name] = (clip, track)
        return {name: self._heard[name][1] for name in names}

    def tracks(self, clip: Clip, steering: Steering, n_frames: int, warn: Warn) -> dict[str, SmoothedTrack]:
        """Smoothed tracks of the controls in use; one with too little to say is left out with a warning."""
        used = [name for name in self.encoders if not steering.strengths[name].is_zero]
        sources = {name: steering.controls.get(name) for name in used}
        own = [name for name, source in sources.items() if source is None]
        unseen = [name for name in own if "video" in self.encoders[name].spec.needs and clip.video is None]
        if unseen:
            warn("no picture; the music follows the prompt alone")
        native = self.extract([name for name in own if name not in unseen], clip)
        for name, source in sources.items():
            if isinstance(source, TimedFeatures):
                native[name] = source
            elif source is not None:
                with opened(source) as other:
                    native |= self.extract([name], other)
                    if other.duration_s < clip.duration_s - 1.0 / self.rate_hz:
                        warn(f"{name}: {other.id} ends at {other.duration_s:.1f} s, and its control with it")
        tracks = {}
        for name, features in sampled_tracks(self.recipe, self.encoders, native).items():
            smoothed = smooth_track(self.encoders[name], features, n_frames, self.rate_hz)
            seen = coverage(features, smoothed, self.rate_hz)
            if features.coverage < LEAST_COVERAGE:
                warn(f"{name} left out: {seen}")
                continue
            if seen.is_notable:
                warn(f"{name}: {seen}")
            tracks[name] = smoothed
        return tracks


@contextlib.contextmanager
def opened(clip: ClipLike) -> Iterator[Clip]:
    """The clip itself, or the file opened for as long as it is needed."""
    if isinstance(clip, Clip):
        yield clip
    elif isinstance(clip, str | os.PathLike):
        with contextlib.closing(FileClip(os.path.expanduser(clip))) as found:
            yield found
    else:
        raise MediaError(Problem("clip", "a path, or a Clip of expotion.contracts", show(clip)))
