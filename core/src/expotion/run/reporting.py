"""The report stage: what the run folder holds, gathered into one page."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from packaging.requirements import Requirement

from expotion import machine, timeline
from expotion.adaptor.adaptor import Adaptor
from expotion.contracts import Clip, MetricSpec, SmoothedTrack
from expotion.errors import FAULTS, in_short
from expotion.evaluate.evaluate import Evaluation
from expotion.evaluate.tables import no_value
from expotion.evaluate.trackers import beats_of
from expotion.plugins import Registry, same_distribution
from expotion.recipe.schema import Trained
from expotion.report import (
    Control,
    Gates,
    MetricInfo,
    ReportData,
    RunInfo,
    Sample,
    Sound,
    TrainingHistory,
    write_report,
)
from expotion.report.wording import metric_label
from expotion.run.folder import RunFolder
from expotion.train.loop import Record
from expotion.video.mux import mux_video
from expotion.video.sound_files import read_wav
from expotion.video.writing import write_video

log = logging.getLogger("expotion")
FRAMES_AT_ONCE = 64
"""Frames of a clip without a file that are held while its video is written."""


def write_clip_video(clip: Clip, samples: NDArray[np.float32], sample_rate_hz: int, path: Path) -> Path | None:
    """An mp4 of the clip's picture with this sound; None for a clip without a picture."""
    video = clip.video
    if video is None:
        return None
    if clip.path is not None:
        mux_video(clip.path, samples, sample_rate_hz, path, duration_s=clip.duration_s)
        return path
    times_s = video.frame_times_s
    parts = np.split(times_s, range(FRAMES_AT_ONCE, len(times_s), FRAMES_AT_ONCE))
    frames = (frame for part in parts for frame in video.frames_at(part))
    write_video(path, frames, times_s, samples, sample_rate_hz, duration_s=clip.duration_s)
    return path


def sample_of(
    run: RunFolder,
    clip: Clip,
    conditions: Sequence[str],
    main: str,
    tracks: Mapping[str, SmoothedTrack],
    gates: Gates | None,
    sample_rate_hz: int,
    rate_hz: float,
) -> Sample:
    """One clip for the report: picture, sounds of every condition, controls, beats."""
    heard = {"original": clip.audio(sample_rate_hz)}
    for condition in conditions:
        path = run.sample(condition, clip.id)
        heard[condition] = read_wav(path) if path.exists() else None
    sounds = {
        name: Sound(samples, sample_rate_hz, beats_of(samples, sample_rate_hz).beats_s)
        for name, samples in heard.items()
        if samples is not None
    }
    video = None
    if main in sounds:
        path = run.path / "samples" / f"{clip.id}.mp4"
        video = write_clip_video(clip, sounds[main].samples, sample_rate_hz, path)
    times_s = timeline.step_times_s(timeline.n_steps(clip.duration_s, rate_hz), rate_hz)
    heard_beats = {}
    if clip.truth is None and "original" in sounds:
        own_s = sounds["original"].beats_s
        heard_beats = {"beats_true_s": own_s, "beats_true_label": "beats of the clip's own sound"}
    controls = [
        Control(name=name, times_s=times_s[: len(track.values)], values=track.values, valid=track.valid)
        for name, track in tracks.items()
    ]
    sample = Sample.of(clip, video, sounds, controls=controls, gates=gates, **heard_beats)
    clip.close()
    return sample


def training_history(records: Sequence[Record], adaptor: Adaptor | None) -> TrainingHistory | None:
    """The training curve for the report."""
    if not records:
        return None
    first = 0 if adaptor is None else adaptor.config.first_adapted_layer
    return TrainingHistory(
        steps=[{k: v for k, v in record.items() if isinstance(v, int | float)} for record in records],
        validation=[
            {"step": r["step"], "loss": r["validation_loss"], "baseline_loss": r["baseline_loss"]}
            for r in records
            if "baseline_loss" in r
        ],
        gates=[{"step": r["step"], "gates": r["gates"]} for r in records if "gates" in r],
        layers=list(range(first, first + len(records[0].get("gates", ())))),
    )


def write_run_report(
    run: RunFolder,
    recipe: Trained,
    evaluation: Evaluation,
    specs: Sequence[MetricSpec],
    history: TrainingHistory | None,
    samples: Sequence[Sample],
    main: str | None,
    extra: Sequence[tuple[str, str]],
    *,
    facts: Mapping[str, str],
    warnings: Sequence[str],
    failures: Sequence[str],
) -> None:
    """Write report.html."""
    state = run.state
    info = RunInfo(
        name=recipe.name,
        description=recipe.description,
        created=state["created"],
        command=state["command"],
        recipe_yaml=recipe.to_yaml(),
        versions=state["versions"],
        hashes=state["hashes"],
        stage_seconds=run.stage_seconds,
        facts={**facts, "machine": f"{state['machine']}, {machine.cores()} cores"},
        warnings=warnings,
        failures=failures,
    )
    infos = [MetricInfo.of(spec, evaluation.notes.get(spec.name, [])) for spec in specs]
    columns = {info.name: metric_label(info) for info in infos}
    data = ReportData(
        run=info,
        metrics=evaluation.metrics,
        comparisons=evaluation.comparisons,
        per_clip=evaluation.per_clip,
        metric_info=infos,
        no_value=no_value(evaluation.metrics, evaluation.per_clip, evaluation.notes, columns),
        training=history,
        samples=samples,
        main_condition=main,
        extra=extra,
    )
    write_report(run.path / "report.html", data, max_samples=len(samples))


def plugin_sections(registry: Registry, plugins: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """Title and HTML of the sections of those plugins that a recipe lists; one that fails is named in the log."""
    listed = [Requirement(text).name for text in plugins]
    found = []
    for name, offer in registry.offers("report section").items():
        if not any(same_distribution(offer.distribution, one) for one in listed):
            continue
        try:
            html = offer.spec.build()(folder)
        except FAULTS as error:  # a plugin may raise anything; the report is written all the same
            log.warning("report section %s is left out: %s", name, in_short(error))
            continue
        if html.strip():
            found.append((offer.spec.title, html))
    return found
