"""Checks of what is announced and of what comes out: names, widths, types, times."""

from __future__ import annotations

import re
import subprocess
import sys
import typing
from functools import cache

import numpy as np
from pydantic import BaseModel, ValidationError

from expotion import timeline
from expotion.contracts import Feed, Need, TimedFeatures, TokenFeatures, Weights
from expotion.testing.subject import Failed, NotApplicable, Subject

_RATE_TOLERANCE = 0.1
_IMPORTS_TORCH = 9


def spec_is_complete(subject: Subject) -> str:
    """Every field of the spec says something that core can use."""
    spec, options = subject.spec, subject.options
    faults = []
    if not re.fullmatch(r"[a-z][a-z0-9_]*", spec.name):
        faults.append(f"name {spec.name!r} is not small letters, digits and _")
    if not spec.description.strip():
        faults.append("description is empty")
    if not spec.licence.strip():
        faults.append("licence is empty")
    unknown = set(spec.needs) - set(typing.get_args(Need))
    if unknown or not spec.needs:
        faults.append(f"needs must be some of {', '.join(typing.get_args(Need))}")
    if spec.feeds not in typing.get_args(Feed):
        faults.append(f"feeds must be one of {', '.join(typing.get_args(Feed))}")
    if spec.smoother not in typing.get_args(timeline.Smoother):
        faults.append(f"smoother must be one of {', '.join(typing.get_args(timeline.Smoother))}")
    width, rate_hz = spec.width(options), spec.rate_hz(options)
    if not isinstance(width, int) or width < 1:
        faults.append(f"width(options) must be a whole number above 0, got {width!r}")
    if rate_hz is not None and not rate_hz > 0:
        faults.append(f"rate_hz(options) must be None or above 0, got {rate_hz!r}")
    for weights in spec.weights(options):
        if not isinstance(weights, Weights) or not weights.licence or not weights.source:
            faults.append(f"weights(options) must list Weights with source and licence, got {weights!r}")
    if faults:
        raise Failed("; ".join(faults), "complete the EncoderSpec")
    rate = f"{rate_hz:g} Hz" if rate_hz else "no fixed rate"
    return f"width {width}, {rate}, {spec.licence}"


def options_are_strict(subject: Subject) -> str:
    """Options refuse keys that they do not know, and do not change."""
    model = subject.spec.options
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise Failed(f"options is {model!r}", "derive the options model from expotion.contracts.Options")
    try:
        model(**{**subject.given, "no_such_option": 1})
    except ValidationError:
        pass
    else:
        fix = "derive the options model from expotion.contracts.Options"
        raise Failed("an unknown option is accepted", fix)
    if not model.model_config.get("frozen"):
        fix = "keep frozen=True of contracts.Options"
        raise Failed("options can be changed after they were checked", fix)
    return f"{len(model.model_fields)} options, unknown ones are refused"


def announces_without_torch(subject: Subject) -> str:
    """Importing the module that announces the encoder must not import torch: it happens at every start."""
    package = getattr(subject.spec.build, "__module__", "").split(".")[0]
    if not package or package == "__main__":
        raise NotApplicable("the encoder is not part of an importable package")
    code = _exit_code_of_import(package)
    if code == _IMPORTS_TORCH:
        raise Failed(f"importing {package} imports torch", "import torch inside build and extract")
    if code != 0:
        raise NotApplicable(f"{package} cannot be imported by its name alone")
    return f"importing {package} is light"


@cache
def _exit_code_of_import(package: str) -> int:
    code = f"import sys, {package}\nraise SystemExit({_IMPORTS_TORCH} if 'torch' in sys.modules else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=120)
    return done.returncode


def features_fit_the_contract(subject: Subject) -> str:
    """The kind of features fits the feed; types and shapes are the contract's."""
    features = subject.features
    prefix = subject.spec.feeds == "prefix"
    wanted: type[TimedFeatures] | type[TokenFeatures] = TimedFeatures if prefix else TokenFeatures
    if not isinstance(features, wanted):
        raise Failed(
            f"feeds {subject.spec.feeds!r} but extract returned {type(features).__name__}",
            f"return {wanted.__name__} or change feeds",
        )
    values = features.values
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim != 2:
        fix = "return float32 [n, D] as a numpy array"
        raise Failed(f"values are {getattr(values, 'dtype', type(values))}", fix)
    if not bool(np.isfinite(values).all()):
        raise Failed("values are not finite", "put zeros there and mark the samples invalid")
    if isinstance(features, TokenFeatures) and (
        features.mask.dtype != np.bool_ or len(features.mask) != len(values)
    ):
        fix = "return bool [n], false at padding"
        raise Failed(f"mask is {features.mask.dtype} {features.mask.shape}", fix)
    return f"{type(features).__name__} {values.shape[0]} x {values.shape[1]}"


def width_is_as_announced(subject: Subject) -> str:
    """`values` is as wide as `width(options)` says."""
    announced, found = subject.spec.width(subject.options), subject.features.values.shape[1]
    if announced != found:
        raise Failed(f"announced {announced}, extract gave {found}", "make width(options) and extract agree")
    return f"{found}"


def times_lie_in_the_clip(subject: Subject) -> str:
    """Times increase strictly and lie within the clip."""
    times_s = subject.track.times_s
    if len(times_s) == 0:
        fix = "return at least one sample, invalid if nothing was seen"
        raise Failed("no samples for an ordinary clip", fix)
    if not bool(np.all(np.diff(times_s) > 0)):
        raise Failed("times do not increase strictly", "sort the samples and drop double times")
    end_s = subject.clip.duration_s
    if times_s[0] < -timeline.EPSILON_S or times_s[-1] > end_s + timeline.EPSILON_S:
        raise Failed(
            f"times run from {times_s[0]:.3f} to {times_s[-1]:.3f} s in a clip of {end_s:.3f} s",
            "give seconds from the clip's start: the centre of what each sample saw",
        )
    return f"{times_s[0]:.3f} to {times_s[-1]:.3f} s"


def rate_is_as_announced(subject: Subject) -> str:
    """The typical distance of samples is one period of the announced rate."""
    announced_hz = subject.spec.rate_hz(subject.options)
    times_s = subject.track.times_s
    if announced_hz is None:
        raise NotApplicable("no fixed rate is announced")
    if len(times_s) < 3:
        raise NotApplicable(f"{len(times_s)} samples are too few to tell a rate")
    found_hz = 1.0 / float(np.median(np.diff(times_s)))
    if abs(found_hz / announced_hz - 1.0) > _RATE_TOLERANCE:
        raise Failed(
            f"announced {announced_hz:g} Hz, samples come at {found_hz:.3g} Hz",
            "make rate_hz(options) the rate of the returned samples, whatever the frame rate of the video",
        )
    return f"{found_hz:.4g} Hz"


def validity_is_marked(subject: Subject) -> str:
    """`valid` is a boolean per sample."""
    track = subject.track
    if track.valid.dtype != np.bool_ or track.valid.shape != (len(track.times_s),):
        raise Failed(f"valid is {track.valid.dtype} {track.valid.shape}", "return bool [n]")
    return f"{track.coverage:.0%} of the samples are valid"
