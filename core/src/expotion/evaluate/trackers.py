"""Which beat tracker hears the sounds: beat_this where its package and weights are there, else core's own.

`beat_this` (Foscarin et al. 2024) is the best published tracker and needs 80 MB of weights; `core` is
`expotion.beats`; `librosa` is there for comparison with numbers that were made with it, never taken by itself (its
defaults lean towards 120 BPM). The environment variable EXPOTION_BEAT_TRACKER (`auto`, `core`, `beat_this`,
`librosa`) decides otherwise. Every result says which one it was: values of two trackers are not comparable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.beats import TRACKER, BeatTrack, track_beats, tracked
from expotion.contracts import Weights, pulled_weights
from expotion.errors import PluginError, Problem, near

VARIABLE = "EXPOTION_BEAT_TRACKER"
CHOICES = ("auto", "core", "beat_this", "librosa")
BEAT_THIS = Weights(
    "beat_this_final0", "https://cloud.cp.jku.at/public.php/dav/files/7ik4RrBKTS273gp/final0.ckpt", "MIT"
)


def tracker_name() -> str:
    """`core`, `beat_this` or `librosa`: what the sounds will be tracked with. Imports no tracker."""
    chosen = os.environ.get(VARIABLE, "auto")
    if chosen != "auto":
        return chosen
    return "beat_this" if not _lacking("beat_this") else "core"


def measured_with() -> str:
    """The tracker with its version, in words."""
    name = tracker_name()
    if name == "core":
        return f"beats tracked by {TRACKER}"
    weights = ", final0" if name == "beat_this" else ""
    return f"beats tracked by {name} {_version(name) or '(not installed)'}{weights}"


def problems() -> Sequence[Problem]:
    """What keeps the chosen tracker from working here; empty with `auto`."""
    chosen = os.environ.get(VARIABLE, "auto")
    if chosen not in CHOICES:
        return [Problem(VARIABLE, f"one of {', '.join(CHOICES)}", repr(chosen), near(chosen, CHOICES))]
    return _lacking(chosen)


def beats_of(samples: NDArray[np.float32], sample_rate_hz: int) -> BeatTrack:
    """Beats and tempo of a mono sound float32 [n] by the chosen tracker, see `beats.tracked`.

    Raises PluginError where the tracker is not there.
    """
    name = tracker_name()
    if name == "core":
        return track_beats(samples, sample_rate_hz)
    return tracked(name, samples, sample_rate_hz, _tracker(name))


def _lacking(name: str) -> list[Problem]:
    where = f"beat tracker {name}"
    if name in ("auto", "core"):
        return []
    package = name.replace("_", "-")
    found = []
    if _version(name) is None:
        fix = f"install it: uv pip install {package}"
        found.append(Problem(where, f"the package {package}", "not installed", fix))
    if name == "beat_this" and pulled_weights(BEAT_THIS.name) is None:
        fix = f"expotion models pull {BEAT_THIS.name}"
        found.append(Problem(where, f"the weights {BEAT_THIS.name} ({BEAT_THIS.licence})", "not pulled", fix))
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _tracker(name: str) -> Callable[[NDArray[np.float32], int], tuple[Any, None]]:
    """A function from samples and their rate to beats in seconds [b], and no certainty."""
    lacking = problems()
    if lacking:
        raise PluginError(list(lacking))
    if name == "beat_this":
        from beat_this.inference import Audio2Beats  # noqa: PLC0415 - torch and its weights, only when chosen

        model = Audio2Beats(checkpoint_path=str(pulled_weights(BEAT_THIS.name)), device="cpu", dbn=False)
        return lambda samples, rate_hz: (model(samples, rate_hz)[0], None)
    import librosa  # noqa: PLC0415 - compiles at import

    return lambda samples, rate_hz: (librosa.beat.beat_track(y=samples, sr=rate_hz, units="time")[1], None)
