"""The suites of metrics, data sources and captioners pass what is sound and name what is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ConfigDict

from expotion.contracts import CaptionerSpec, Clip, DataSource, DataSourceSpec, MetricSpec, Options, Score, Scored
from expotion.testing import SyntheticClip, check_captioner, check_data_source, check_metric


def loudness(sound: Scored) -> Score:
    power = float(np.mean(sound.samples**2)) if len(sound.samples) else 0.0
    return Score(10 * math.log10(power)) if power > 0 else Score(None, "silence has no level")


def metric(function: Callable[[Scored], Any], **changes: Any) -> MetricSpec:
    given = {"description": "level", "higher_is_better": True, "unit": "dB"} | changes
    return MetricSpec(name="level", build=lambda: function, **given)


def test_a_sound_metric_passes() -> None:
    results = check_metric(metric(loudness))
    assert [result.name for result in results if result.passed] == [r.name for r in results]


def spoil(sound: Scored) -> Score:
    sound.samples[:] = 0
    return Score(1.0)


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda sound: Score(float("nan")), "value"),
        (lambda sound: Score(None), "no reason"),
        (lambda sound: 1.0, "float"),
        (lambda sound: Score(float(np.random.default_rng().random())), "two calls"),
        (lambda sound: Score(1.0 / len(sound.samples)), "ZeroDivisionError"),
        (spoil, "samples were changed"),
    ],
)
def test_each_fault_of_a_metric_is_named(function: Callable[[Scored], Any], named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        check_metric(metric(function))


class SourceOptions(Options):
    n: int = 2


class Source(DataSource):
    def __init__(self, options: SourceOptions) -> None:
        self.options = options

    def clips(self, split: Literal["train", "test"]) -> Sequence[Clip]:
        start = 0.5 if split == "train" else 1.0
        return [SyntheticClip(start + k / 10, id=f"{split}-{k}", caption=split) for k in range(self.options.n)]


class Leaking(Source):
    def clips(self, split: Literal["train", "test"]) -> Sequence[Clip]:
        return [SyntheticClip(0.5, id=split)]


class Nameless(Source):
    def clips(self, split: Literal["train", "test"]) -> Sequence[Clip]:
        return [SyntheticClip(1.0 if split == "test" else 0.5, id="clip")]


class Empty(Source):
    def clips(self, split: Literal["train", "test"]) -> Sequence[Clip]:
        return [] if split == "test" else super().clips(split)


def source(build: type[Source] = Source, options: type[Options] = SourceOptions) -> DataSourceSpec:
    return DataSourceSpec(name="some", description="clips", build=build, options=options)


def test_a_sound_source_passes() -> None:
    assert all(result.passed for result in check_data_source(source(), {"n": 2}))


@pytest.mark.parametrize(
    ("build", "named"), [(Leaking, "both splits"), (Nameless, "share an id"), (Empty, "at least one clip")]
)
def test_each_fault_of_a_source_is_named(build: type[Source], named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        check_data_source(source(build))


def test_options_that_take_anything_are_named() -> None:
    class Loose(SourceOptions):
        model_config = ConfigDict(extra="allow")

    with pytest.raises(AssertionError, match="unknown options"):
        check_data_source(source(options=Loose))


def captioner(function: Callable[[Clip], Any]) -> CaptionerSpec:
    return CaptionerSpec(name="some", description="captions", build=lambda options: function)


def test_a_sound_captioner_passes() -> None:
    results = check_captioner(captioner(lambda clip: f"{clip.duration_s:g} seconds"))
    assert all(result.passed for result in results)


@pytest.mark.parametrize("text", ["", "two\nlines", None, 3])
def test_what_is_not_a_caption_is_named(text: Any) -> None:
    with pytest.raises(AssertionError, match="one line of words"):
        check_captioner(captioner(lambda clip: text))
