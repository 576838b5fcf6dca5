"""What a plugin announces and what core promises in return. This package is the public API.

A plugin is a module named by an entry point in the group `expotion.plugins`. It implements any of the hooks
in `hooks`; each returns a list of specs, plain descriptions that import nothing heavy. Core picks one by name and
calls its `build`. No hook is called while a model runs. Plugins import every name from here.

base.py      version, options, weights
tracks.py    what encoders give: native tracks, tokens, smoothed tracks
clips.py     clips, their video and truth; data sources and captioners
encoder.py   encoders
metrics.py   metrics, of one sound or of a set
engines.py   backbones, and engines that compute their steps
tasks.py     recipes of another kind, and what the training loop minimises
hooks.py     golden numbers, training callbacks, report sections; the hooks that announce all these
"""

from expotion.contracts.base import API_VERSION, ENTRY_POINT_GROUP, Options, Weights, pulled_weights
from expotion.contracts.clips import (
    CaptionerRehearsal,
    CaptionerSpec,
    Clip,
    DataSource,
    DataSourceSpec,
    Notes,
    Truth,
    Video,
    read_ahead,
)
from expotion.contracts.encoder import Encoder, EncoderSpec, Feed, Following, Need, Overlay
from expotion.contracts.engines import BackboneSpec, EngineSpec, Mode, Probed
from expotion.contracts.hooks import (
    CallbackSpec,
    GoldenCheckSpec,
    GoldenFile,
    ReportSectionSpec,
    TrainingCallback,
    expotion_backbones,
    expotion_captioners,
    expotion_data_sources,
    expotion_encoders,
    expotion_engines,
    expotion_golden_checks,
    expotion_metrics,
    expotion_report_sections,
    expotion_tasks,
    expotion_training_callbacks,
    hookimpl,
    hookspec,
)
from expotion.contracts.metrics import MetricNeed, MetricSpec, Rows, Score, Scored, SetStatistic
from expotion.contracts.tasks import Objective, Stage, TaskCost, TaskRun, TaskSpec, Workers
from expotion.contracts.tracks import FEATURES_VERSION, SmoothedTrack, TimedFeatures, TokenFeatures
from expotion.files import cache_folder

__all__ = [
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "FEATURES_VERSION",
    "BackboneSpec",
    "CallbackSpec",
    "CaptionerRehearsal",
    "CaptionerSpec",
    "Clip",
    "DataSource",
    "DataSourceSpec",
    "Encoder",
    "EncoderSpec",
    "EngineSpec",
    "Feed",
    "Following",
    "GoldenCheckSpec",
    "GoldenFile",
    "MetricNeed",
    "MetricSpec",
    "Mode",
    "Need",
    "Notes",
    "Objective",
    "Options",
    "Overlay",
    "Probed",
    "ReportSectionSpec",
    "Rows",
    "Score",
    "Scored",
    "SetStatistic",
    "SmoothedTrack",
    "Stage",
    "TaskCost",
    "TaskRun",
    "TaskSpec",
    "TimedFeatures",
    "TokenFeatures",
    "TrainingCallback",
    "Truth",
    "Video",
    "Weights",
    "Workers",
    "cache_folder",
    "expotion_backbones",
    "expotion_captioners",
    "expotion_data_sources",
    "expotion_encoders",
    "expotion_engines",
    "expotion_golden_checks",
    "expotion_metrics",
    "expotion_report_sections",
    "expotion_tasks",
    "expotion_training_callbacks",
    "hookimpl",
    "hookspec",
    "pulled_weights",
    "read_ahead",
]
