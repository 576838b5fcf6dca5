"""Checks of the stages by name: build, smooth, project."""

from __future__ import annotations

import numpy as np

from expotion import timeline
from expotion.contracts import Encoder
from expotion.testing.results import Failed, NotApplicable
from expotion.testing.subject import Subject

_RATE_HZ = 50.0
_RANK = 3


def build(subject: Subject) -> str:
    """`build(options)` returns an encoder that knows its spec and options."""
    encoder = subject.encoder
    if not isinstance(encoder, Encoder):
        raise Failed(
            f"build returned {type(encoder).__name__}", "return a subclass of expotion.contracts.Encoder"
        )
    if getattr(encoder, "spec", None) is None or encoder.spec.name != subject.spec.name:
        raise Failed("the encoder does not carry its spec", "set self.spec to the spec that built it")
    if getattr(encoder, "options", None) != subject.options:
        raise Failed(
            "the encoder does not carry its options", "set self.options to the options it was built with"
        )
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
            got = f"{rows.values.dtype} {rows.values.shape}"
            raise Failed(
                f"smoothing {name} gave {got}", f"return float32 {list(wanted)}, a row for every time"
            )
        if rows.valid.shape != (len(at_s),) or rows.valid.dtype != np.bool_:
            raise Failed(f"smoothing {name} gave valid {rows.valid.shape}", "return bool [T+1]")
        if not bool(np.isfinite(rows.values).all()):
            raise Failed(f"smoothing {name} gave values that are not finite", "put zeros on invalid rows")
        if native is nothing and bool(rows.valid.any()):
            raise Failed(
                "rows are valid although no sample was", "mark rows without a valid neighbour invalid"
            )
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
