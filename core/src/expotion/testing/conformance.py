"""The suite: every check of an encoder, run in order, all failures reported at once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from expotion import timeline
from expotion.contracts import ENTRY_POINT_GROUP, Clip, Encoder, EncoderSpec
from expotion.errors import PluginError, Problem
from expotion.testing import behaviour, shape
from expotion.testing.clips import Scene, SyntheticClip
from expotion.testing.subject import CheckResult, Failed, NotApplicable, Subject, raise_failed, run_all

_RATE_HZ = 50.0
_RANK = 3


def build(subject: Subject) -> str:
    """`build(options)` returns an encoder that knows its spec and options."""
    encoder = subject.encoder
    if not isinstance(encoder, Encoder):
        got = f"build returned {type(encoder).__name__}"
        raise Failed(got, "return a subclass of expotion.contracts.Encoder")
    if getattr(encoder, "spec", None) is None or encoder.spec.name != subject.spec.name:
        raise Failed("the encoder does not carry its spec", "set self.spec to the spec that built it")
    if getattr(encoder, "options", None) != subject.options:
        fix = "set self.options to the options it was built with"
        raise Failed("the encoder does not carry its options", fix)
    return type(encoder).__name__


def smooth_gives_every_row(subject: Subject) -> str:
    """`smooth` gives finite values [T+1, D] and a boolean per row, even where no sample is valid."""
    track = subject.track
    at_s = timeline.step_times_s(timeline.n_steps(subject.clip.duration_s, _RATE_HZ), _RATE_HZ)
    nothing = type(track)(track.values, track.times_s, np.zeros_like(track.valid))
    for name, native in (("the track", track), ("a track without a valid sample", nothing)):
        rows = subject.encoder.smooth(native, at_s)
        wanted = (len(at_s), subject.spec.width(subject.options))
        if rows.values.shape != wanted or rows.values.dtype != np.float32:
            got = f"smoothing {name} gave {rows.values.dtype} {rows.values.shape}"
            raise Failed(got, f"return float32 {list(wanted)}, a row for every time")
        if rows.valid.shape != (len(at_s),) or rows.valid.dtype != np.bool_:
            raise Failed(f"smoothing {name} gave valid {rows.valid.shape}", "return bool [T+1]")
        if not bool(np.isfinite(rows.values).all()):
            raise Failed(f"smoothing {name} gave values that are not finite", "put zeros on invalid rows")
        if native is nothing and bool(rows.valid.any()):
            fix = "mark rows without a valid neighbour invalid"
            raise Failed("rows are valid although no sample was", fix)
    return f"{len(at_s)} rows at {_RATE_HZ:g} Hz"


def project_is_trainable(subject: Subject) -> str:
    """`project(D, r)` is a module from [.., D] to [.., r] whose parameters can be trained."""
    if subject.spec.feeds != "prefix":
        raise NotApplicable("only what feeds the prefix is projected")
    import torch  # noqa: PLC0415 - only this check needs it

    width = subject.spec.width(subject.options)
    module = subject.encoder.project(width, _RANK)
    if not isinstance(module, torch.nn.Module):
        raise Failed(f"project returned {type(module).__name__}", "return a torch.nn.Module")
    out = module(torch.randn(2, 5, width))
    if out.shape != (2, 5, _RANK):
        raise Failed(f"[2, 5, {width}] became {list(out.shape)}", f"map [.., {width}] to [.., rank]")
    out.square().sum().backward()
    parameters = list(module.parameters())
    untrained = sum(parameter.grad is None for parameter in parameters)
    if not parameters or untrained:
        raise Failed(
            f"{untrained} of {len(parameters)} parameters get no gradient", "leave the projection trainable"
        )
    return f"{sum(parameter.numel() for parameter in parameters)} trainable values for rank {_RANK}"


LEVELS = ("quick", "full")
"""quick: three frame rates, for tests; full: every frame rate of the contract."""

Check = Callable[[Subject], str]

_UNBUILT: tuple[tuple[str, Check], ...] = (
    ("spec", shape.spec_is_complete),
    ("options", shape.options_are_strict),
    ("light import", shape.announces_without_torch),
    ("build", build),
)
_BUILT: tuple[tuple[str, Check], ...] = (
    ("features", shape.features_fit_the_contract),
    ("width", shape.width_is_as_announced),
    ("times", shape.times_lie_in_the_clip),
    ("rate", shape.rate_is_as_announced),
    ("validity", shape.validity_is_marked),
    ("determinism", behaviour.two_calls_agree),
    ("frozen", behaviour.nothing_is_trained),
    ("frame rates", behaviour.frame_rate_does_not_matter),
    ("one frame", behaviour.one_frame),
    ("very short", behaviour.very_short),
    ("missing parts", behaviour.missing_parts),
    ("cost", behaviour.cost_is_bearable),
    ("smooth", smooth_gives_every_row),
    ("project", project_is_trainable),
)


def check_encoder(
    spec_or_name: EncoderSpec | str,
    options: Mapping[str, Any] | None = None,
    clip: Clip | None = None,
    *,
    scene: Scene | None = None,
    tracks: Mapping[str, Path] | None = None,
    level: str = "quick",
) -> list[CheckResult]:
    """Run the suite; raises AssertionError that lists every failure and what to do about it.

    `options` are plain; `clip` replaces the synthetic clip of the basic checks; `scene` draws the picture of
    all synthetic clips (an encoder of faces wants one with a face); `tracks` are sensor files by name that all
    synthetic clips have (an encoder of sensors wants its own).
    """
    name = spec_or_name if isinstance(spec_or_name, str) else spec_or_name.name
    results = run_checks(spec_or_name, options, clip, scene=scene, tracks=tracks, level=level)
    return raise_failed("encoder", name, results)


def run_checks(
    spec_or_name: EncoderSpec | str,
    options: Mapping[str, Any] | None = None,
    clip: Clip | None = None,
    *,
    scene: Scene | None = None,
    tracks: Mapping[str, Path] | None = None,
    level: str = "quick",
) -> list[CheckResult]:
    """The results of all checks, without raising for a failed one. Arguments as for `check_encoder`."""
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    spec = find_spec(spec_or_name) if isinstance(spec_or_name, str) else spec_or_name
    given = dict(options or {})
    try:
        validated = spec.options(**given)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return [CheckResult("options", False, faults, "give options that the encoder knows")]
    held = dict(tracks or {})
    basic = clip or SyntheticClip(scene=scene, tracks=held)
    subject = Subject(spec, validated, given, basic, scene, level == "full", held)
    results = run_all((name, partial(check, subject)) for name, check in _UNBUILT)
    if results[-1].passed:
        results += run_all((name, partial(check, subject)) for name, check in _BUILT)
    return results


def find_spec(name: str) -> EncoderSpec:
    """The spec that an installed plugin announces under a name. Raises `PluginError`."""
    known: list[str] = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            announce = getattr(point.load(), "expotion_encoders", None)
            specs: list[EncoderSpec] = announce() if announce is not None else []
        except Exception:  # a broken neighbour is reported by `expotion plugin list`
            continue
        for spec in specs:
            if spec.name == name:
                return spec
            known.append(spec.name)
    raise PluginError(
        Problem(f"encoder {name!r}", "an installed encoder", None, f"known: {', '.join(known) or 'none'}")
    )
