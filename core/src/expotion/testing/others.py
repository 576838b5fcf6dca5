"""Suites for data sources and captioners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expotion.contracts import CaptionerSpec, Clip, DataSourceSpec
from expotion.errors import ExpotionError
from expotion.testing.clips import SyntheticClip
from expotion.testing.subject import CheckResult, Failed, raise_failed, run_all

_SAMPLE_RATE_HZ = 32_000


def check_data_source(spec: DataSourceSpec, options: Mapping[str, Any] | None = None) -> list[CheckResult]:
    """Run the suite of a data source; raises AssertionError that lists every failure."""
    return raise_failed("data source", spec.name, run_data_source_checks(spec, options))


def check_captioner(
    spec: CaptionerSpec, options: Mapping[str, Any] | None = None, clip: Clip | None = None
) -> list[CheckResult]:
    """Run the suite of a captioner; raises AssertionError that lists every failure."""
    return raise_failed("captioner", spec.name, run_captioner_checks(spec, options, clip))


def run_data_source_checks(spec: DataSourceSpec, options: Mapping[str, Any] | None = None) -> list[CheckResult]:
    """Results of all checks of a data source; of each split the first two clips are looked at."""

    def source(split: str) -> Sequence[Clip]:
        return spec.build(spec.options(**dict(options or {}))).clips(split)  # type: ignore[arg-type]

    def both() -> str:
        sizes = {split: len(source(split)) for split in ("train", "test")}
        if not all(sizes.values()):
            raise Failed(f"clips: {sizes}", "give at least one clip for training and one for testing")
        return f"{sizes['train']} train, {sizes['test']} test"

    def apart() -> str:
        train, test = ({clip.content_hash for clip in source(split)} for split in ("train", "test"))
        if train & test:
            raise Failed(f"{len(train & test)} clips are in both splits", "hold whole clips out")
        return "no clip is in both splits"

    def named() -> str:
        ids = [clip.id for split in ("train", "test") for clip in source(split)]
        if len(set(ids)) != len(ids):
            raise Failed("two clips share an id", "give every clip an id of its own")
        return f"{len(ids)} ids"

    def repeatable() -> str:
        for split in ("train", "test"):
            for first, second in zip(source(split)[:2], source(split)[:2], strict=True):
                if (first.id, first.content_hash) != (second.id, second.content_hash):
                    raise Failed(f"{first.id}: two builds differ", "fix the order, and hash what clips are made of")
        return "two builds give the same clips"

    def usable() -> str:
        return "; ".join(_usable(clip) for split in ("train", "test") for clip in source(split)[:1])

    return run_all(
        [
            ("options", lambda: _strict(spec.options)),
            ("splits", both),
            ("leak", apart),
            ("ids", named),
            ("determinism", repeatable),
            ("clips", usable),
        ]
    )


def run_captioner_checks(
    spec: CaptionerSpec, options: Mapping[str, Any] | None = None, clip: Clip | None = None
) -> list[CheckResult]:
    """Results of all checks of a captioner, on a synthetic clip and on one without sound or picture."""

    def caption(of: Clip) -> str:
        text = spec.build(spec.options(**dict(options or {})))(of)
        if not isinstance(text, str) or not text.strip() or "\n" in text:
            raise Failed(f"got {text!r}", "return one line of words")
        return text

    subject = clip or SyntheticClip()

    def repeatable() -> str:
        if caption(subject) != caption(subject):
            raise Failed("two calls on the same clip differ", "decode greedily, or seed what is random")
        return "two calls agree"

    def bare() -> str:
        try:
            return caption(SyntheticClip(with_audio=False, n_frames=0))
        except ExpotionError as error:
            return f"refused: {error.problems[0]}"

    return run_all(
        [
            ("options", lambda: _strict(spec.options)),
            ("words", lambda: caption(subject)),
            ("determinism", repeatable),
            ("nothing to hear or see", bare),
        ]
    )


def _strict(options: type[Any]) -> str:
    if options.model_config.get("extra") != "forbid":
        raise Failed("unknown options are accepted", "derive the options from expotion.contracts.Options")
    return f"{len(options.model_fields)} options"


def _usable(clip: Clip) -> str:
    if clip.duration_s <= 0:
        raise Failed(f"{clip.id} lasts {clip.duration_s} s", "give clips a length")
    parts = []
    if clip.video is not None:
        clip.video.frames_at(clip.video.frame_times_s[:1], shorter_side=32)
        parts.append("picture")
    samples = clip.audio(_SAMPLE_RATE_HZ)
    if samples is not None:
        wanted = round(clip.duration_s * _SAMPLE_RATE_HZ)
        if samples.dtype != np.float32 or samples.ndim != 1 or abs(len(samples) - wanted) > 1:
            raise Failed(f"{clip.id}: audio is {samples.dtype} {samples.shape}", f"mono float32, {wanted} samples")
        parts.append("sound")
    clip.close()
    if not parts:
        raise Failed(f"{clip.id} has neither picture nor sound", "give it at least one")
    return f"{clip.id}: {' and '.join(parts)}, {clip.duration_s:g} s"
