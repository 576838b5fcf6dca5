"""The hooks: what a plugin module may define. Each announces offers of one kind."""

from __future__ import annotations

import pluggy

from expotion.contracts.clips import CaptionerSpec, DataSourceSpec
from expotion.contracts.encoder import EncoderSpec
from expotion.contracts.engines import BackboneSpec, EngineSpec
from expotion.contracts.golden import GoldenCheckSpec
from expotion.contracts.metrics import MetricSpec
from expotion.contracts.runs import CallbackSpec, ReportSectionSpec

hookspec = pluggy.HookspecMarker("expotion")
hookimpl = pluggy.HookimplMarker("expotion")


@hookspec
def expotion_encoders() -> list[EncoderSpec]:
    """Encoders that this plugin offers."""
    return []


@hookspec
def expotion_backbones() -> list[BackboneSpec]:
    """Backbones that this plugin offers."""
    return []


@hookspec
def expotion_data_sources() -> list[DataSourceSpec]:
    """Data sources that this plugin offers."""
    return []


@hookspec
def expotion_metrics() -> list[MetricSpec]:
    """Metrics that this plugin offers."""
    return []


@hookspec
def expotion_captioners() -> list[CaptionerSpec]:
    """Captioners that this plugin offers."""
    return []


@hookspec
def expotion_golden_checks() -> list[GoldenCheckSpec]:
    """Kinds of golden files that this plugin can check (`expotion verify`)."""
    return []


@hookspec
def expotion_training_callbacks() -> list[CallbackSpec]:
    """Training callbacks that this plugin offers."""
    return []


@hookspec
def expotion_report_sections() -> list[ReportSectionSpec]:
    """Sections that this plugin adds to reports."""
    return []


@hookspec
def expotion_engines() -> list[EngineSpec]:
    """Engines that this plugin offers."""
    return []
