"""One self-contained HTML page that lets a reader see and hear what a run made, and judge it by numbers."""

from expotion.report.data import (
    Control,
    Gates,
    MetricInfo,
    ReportData,
    ReportInfo,
    RunInfo,
    Sample,
    Sound,
    TrainingHistory,
)
from expotion.report.write import write_report

__all__ = [
    "Control",
    "Gates",
    "MetricInfo",
    "ReportData",
    "ReportInfo",
    "RunInfo",
    "Sample",
    "Sound",
    "TrainingHistory",
    "write_report",
]
