"""The suite: every check of an encoder, run in order, all failures reported at once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from expotion.contracts import ENTRY_POINT_GROUP, Clip, EncoderSpec
from expotion.errors import ExpotionError, PluginError, Problem
from expotion.testing import behaviour, shape, stages
from expotion.testing.clips import Scene, SyntheticClip
from expotion.testing.results import CheckResult, Failed, NotApplicable
from expotion.testing.subject import Subject

LEVELS = ("quick", "full")
"""quick: three frame rates, for tests; full: every frame rate of the contract."""

Check = Callable[[Subject], str]

_WITHOUT_BUILDING: tuple[tuple[str, Check], ...] = (
    ("spec", shape.spec_is_complete),
    ("options", shape.options_are_strict),
    ("light import", shape.announces_without_torch),
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
    ("smooth", stages.smooth_gives_every_row),
    ("project", stages.project_is_trainable),
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
    results = run_checks(spec_or_name, options, clip, scene=scene, tracks=tracks, level=level)
    failures = [str(result) for result in results if result.passed is False]
    if failures:
        name = spec_or_name if isinstance(spec_or_name, str) else spec_or_name.name
        raise AssertionError(
            "\n".join([f"encoder {name!r} fails {len(failures)} of {len(results)} checks:", *failures])
        )
    return results


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
    results = [_run(name, check, subject) for name, check in _WITHOUT_BUILDING]
    built = _run("build", stages.build, subject)
    results.append(built)
    if built.passed:
        results += [_run(name, check, subject) for name, check in _BUILT]
    return results


def _run(name: str, check: Check, subject: Subject) -> CheckResult:
    try:
        return CheckResult(name, True, check(subject))
    except NotApplicable as reason:
        return CheckResult(name, None, str(reason))
    except Failed as failure:
        return CheckResult(name, False, failure.detail, failure.fix)
    except ExpotionError as error:
        return CheckResult(name, False, str(error))
    except Exception as error:
        fix = "raise no other exception than an ExpotionError that says what is wrong with the clip"
        return CheckResult(name, False, f"{type(error).__name__}: {error}", fix)


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
