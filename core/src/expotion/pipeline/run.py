"""A recipe from end to end. Read `run_recipe` from top to bottom: it is the main job."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console

from expotion import timeline
from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.checkpoint import load_adaptor
from expotion.assemble import (
    backbone_folder,
    build_adaptor,
    build_encoders,
    build_text_encoder,
    compute_dtype,
    open_backbone,
)
from expotion.backbone.load import Backbone
from expotion.contracts import Clip, Encoder, MetricSpec, Scored
from expotion.data.audio import load_audio
from expotion.data.mux import write_wav
from expotion.errors import ExpotionError, Problem, RunFolderError
from expotion.evaluation.evaluate import Evaluation, evaluate
from expotion.evaluation.files import load_evaluation, write_evaluation
from expotion.evaluation.registry import choose_metrics
from expotion.evaluation.tables import table_text
from expotion.features.store import FeatureStore
from expotion.files import write_array
from expotion.generation.compose import to_sound
from expotion.generation.influence import gate_influence
from expotion.pipeline import material
from expotion.pipeline.generation_stage import (
    Job,
    Made,
    OpenComposer,
    TestClip,
    compose_settings,
    generate_all,
    make_jobs,
    requests_of,
)
from expotion.pipeline.pool import n_workers
from expotion.pipeline.progress import stage_progress
from expotion.pipeline.report_stage import run_info, sample_of, training_history, write_run_report
from expotion.pipeline.run_folder import RunFolder, installed_versions
from expotion.pipeline.training_stage import publish_adaptor, read_history, train_adaptor, write_history
from expotion.plugins import Registry
from expotion.recipe import Recipe
from expotion.report import Sample
from expotion.training.loop import Record

log = logging.getLogger("expotion")
MADE_BY_MODEL = ("text_only", "shuffled")


def run_recipe(
    *,
    recipe: Recipe,
    registry: Registry,
    out_dir: Path | None,
    resume: Path | Literal["auto"] | None,
    console: Console,
) -> Path:
    """Run every stage that is not done yet; returns the run folder.

    Raises ExpotionError for anything a user can act on, and KeyboardInterrupt(folder) when interrupted: what
    was finished stays, and the same command with `--resume` goes on from there.
    """
    folder = _folder(recipe, out_dir, resume)
    run = RunFolder.create(folder, recipe, installed_versions(registry.distributions))
    handler = run.log_to_file()
    console.print(f"[bold]{recipe.name}[/] -> {folder}", highlight=False)
    try:
        _Run(recipe, registry, run, console).all_stages()
    except KeyboardInterrupt:
        log.warning("interrupted")
        raise KeyboardInterrupt(folder) from None
    except Exception:
        log.exception("the run stopped")
        raise
    finally:
        logging.getLogger("expotion").removeHandler(handler)
        handler.close()
    return folder


def _folder(recipe: Recipe, out_dir: Path | None, resume: Path | Literal["auto"] | None) -> Path:
    """Where the run goes: as told, or the newest unfinished run of this recipe, or a new folder in runs/."""
    if isinstance(resume, Path):
        RunFolder.open(resume)
        return resume
    if out_dir is not None:
        return out_dir
    runs = Path("runs")
    if resume == "auto":
        for path in sorted(runs.glob(f"{recipe.name}-*"), reverse=True):
            try:
                RunFolder.open(path, recipe)
            except RunFolderError:
                continue
            return path
        raise RunFolderError(
            Problem(
                where=str(runs), wanted=f"a run of '{recipe.name}' with these settings to resume", got="none"
            )
        )
    return runs / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"


class _Run:
    """The stages and what they hand on."""

    def __init__(self, recipe: Recipe, registry: Registry, run: RunFolder, console: Console) -> None:
        self.recipe, self.registry, self.run, self.console = recipe, registry, run, console
        self.failures = material.Failures()
        self.warnings: list[str] = []
        self.store = FeatureStore()
        self.specs: Sequence[MetricSpec] = choose_metrics(
            recipe.evaluate.metrics, {name: offer.spec for name, offer in registry.metrics.items()}
        )
        source = registry.data_source(recipe.data.source)
        self.data = source.build(source.options(**recipe.data.options))

    def all_stages(self) -> None:
        """Backbone, material, training, generation, evaluation, report."""
        recipe = self.recipe
        source = backbone_folder(recipe.backbone.source, self.registry)
        with stage_progress(self.console, "load models"):
            backbone = open_backbone(recipe, self.registry)
            encoders = build_encoders(recipe, self.registry)
            prompts = material.Prompts(build_text_encoder(recipe, self.registry, source))
        hashes = {"backbone": backbone.weights_hash, **{n: e.weights_hash for n, e in encoders.items()}}
        self.run.state["hashes"] = {"recipe": recipe.content_hash, **hashes}
        trace = _digest(
            recipe.section_hash("data", "backbone", "text", "conditions", "adaptor", "train", "seed"), hashes
        )

        test_clips = list(self.data.clips("test"))
        adaptor: Adaptor | None = None
        if recipe.conditions:
            adaptor = self._train(backbone, source, encoders, prompts, trace)
        made = self._extract("test clips", source, encoders, test_clips)
        tracks = made.tracks
        test_clips = [clip for clip in test_clips if clip.id in tracks]
        if not test_clips:
            raise ExpotionError(Problem(where="data", wanted="at least one usable test clip", got="none"))
        ready = [self._test_clip(backbone, encoders, clip, tracks[clip.id], prompts) for clip in test_clips]
        for clip in test_clips:
            self.warnings += material.coverage_warnings(
                encoders,
                clip.id,
                tracks[clip.id],
                timeline.n_steps(clip.duration_s, backbone.frame_rate_hz),
                backbone.frame_rate_hz,
            )
        window_frames = self._window_frames(backbone)
        self._generate(source, backbone.sample_rate_hz, ready, window_frames, trace)
        self._ceiling(backbone, test_clips, made)
        evaluation = self._evaluate(backbone, test_clips, trace)
        self._report(backbone, adaptor, test_clips, ready, evaluation)
        self.console.print(table_text(evaluation.metrics, self.specs), highlight=False, markup=False)
        for clip_id, reason in self.failures.by_clip.items():
            self.console.print(f"[yellow]failed[/] {clip_id}: {reason}", highlight=False)

    # ------------------------------------------------------------------------------------------ material

    def _extract(
        self, title: str, source: str, encoders: dict[str, Encoder], clips: Sequence[Clip]
    ) -> material.Tracks:
        key = self.recipe.section_hash("data", "backbone", "conditions")
        with self.run.stage(title, key), stage_progress(self.console, title) as progress:
            return material.extract_all(
                self.recipe, encoders, source, clips, self.store, self.failures, progress=progress
            )

    def _window_frames(self, backbone: Backbone) -> int:
        """The length the adaptor was trained on: the longest training clip."""
        if not self.recipe.conditions:
            return timeline.n_steps(10.0, backbone.frame_rate_hz)
        return max(
            timeline.n_steps(clip.duration_s, backbone.frame_rate_hz) for clip in self.data.clips("train")
        )

    def _test_clip(self, backbone, encoders, clip, tracks, prompts) -> TestClip:  # type: ignore[no-untyped-def]
        n_frames = timeline.n_steps(clip.duration_s, backbone.frame_rate_hz)
        return TestClip(
            id=clip.id,
            n_frames=n_frames,
            n_samples=timeline.n_samples(clip.duration_s, backbone.sample_rate_hz),
            text=prompts[material.prompt_of(self.recipe, clip)],
            tracks=material.smooth_all(encoders, tracks, n_frames, backbone.frame_rate_hz),
        )

    # ------------------------------------------------------------------------------------------ training

    def _train(self, backbone, source, encoders, prompts, trace) -> Adaptor:  # type: ignore[no-untyped-def]
        recipe, run = self.recipe, self.run
        if run.is_done("training", trace):
            return load_adaptor(run.adaptor)[0]
        clips = list(self.data.clips("train"))
        made = self._extract("training clips", source, encoders, clips)
        rate_hz = backbone.frame_rate_hz
        examples = material.stack_examples(recipe, encoders, clips, made, prompts, rate_hz)
        n_frames = examples.codes.shape[-1]
        adaptor = build_adaptor(recipe, encoders, backbone.geometry, n_frames + 1)
        lm = backbone.cast(compute_dtype(recipe.train.precision)).lm
        with run.stage("training", trace) as record, stage_progress(self.console, "training") as progress:
            training = train_adaptor(
                lm, adaptor, examples, recipe, checkpoints=run.checkpoints, trace=trace, progress=progress
            )
            write_history(run.path / "training.jsonl", training.records)
            publish_adaptor(
                run.adaptor,
                adaptor,
                recipe,
                backbone,
                {n: e.weights_hash for n, e in encoders.items()},
                run.state["versions"],
                n_frames,
            )
            record["clips"] = len(examples)
        return adaptor

    # ---------------------------------------------------------------------------------------- generation

    def _made_conditions(self) -> list[str]:
        own = {condition.name for condition in self.recipe.conditions} | {self.recipe.joint_name}
        return [c for c in self.recipe.evaluation_conditions() if c in MADE_BY_MODEL or c in own]

    def _generate(
        self, source: str, sample_rate_hz: int, clips: Sequence[TestClip], window_frames: int, trace: str
    ) -> None:
        recipe, run = self.recipe, self.run
        key = _digest(trace, recipe.section_hash("generate", "evaluate"))
        if run.is_done("generation", key):
            return
        stale = run.state["stages"].get("generation", {}).get("key") != key
        conditions = self._made_conditions()
        jobs = make_jobs(recipe, conditions, clips, n_workers(len(clips)))
        left = [j for j in jobs if stale or not all(run.sample(j.condition, c).exists() for c in j.clip_ids)]
        opener = OpenComposer(
            source,
            run.adaptor if recipe.conditions else None,
            recipe.generate.precision,
            compose_settings(recipe, window_frames),
        )
        with run.stage("generation", key), stage_progress(self.console, "generation") as progress:
            done = sum(len(j.clip_ids) for j in jobs) - sum(len(j.clip_ids) for j in left)
            total = sum(len(j.clip_ids) for j in jobs)
            progress(done, total)

            def keep(job: Job, result: list[Made] | Exception) -> None:
                nonlocal done
                done += len(job.clip_ids)
                progress(done, total, job.condition)
                if isinstance(result, Exception):
                    for clip_id in job.clip_ids:
                        self.failures.add(clip_id, f"{job.condition}: {result}")
                    return
                for clip_id, made in zip(job.clip_ids, result, strict=True):
                    write_array(run.codes(job.condition, clip_id), made.codes)
                    write_wav(run.sample(job.condition, clip_id), made.samples, sample_rate_hz)

            generate_all(opener, left, on_batch=keep)

    def _ceiling(self, backbone: Backbone, clips: Sequence[Clip], made: material.Tracks) -> None:
        """Each test clip's own sound through the codec: the best that this codec can do."""
        if "codec_ceiling" not in self.recipe.evaluation_conditions():
            return
        assert backbone.codec is not None
        for clip in clips:
            path = self.run.sample("codec_ceiling", clip.id)
            if clip.id in made.codes and not path.exists():
                n_samples = timeline.n_samples(clip.duration_s, backbone.sample_rate_hz)
                samples = to_sound(backbone.codec, torch.from_numpy(made.codes[clip.id]), n_samples)
                write_wav(path, samples, backbone.sample_rate_hz)

    # ---------------------------------------------------------------------------------------- evaluation

    def _evaluate(self, backbone: Backbone, clips: Sequence[Clip], trace: str) -> Evaluation:
        recipe, run = self.recipe, self.run
        key = _digest(trace, recipe.section_hash("generate", "evaluate"), "scores")
        if run.is_done("evaluation", key):
            return load_evaluation(run.path)
        scored: dict[str, list[Scored]] = {}
        for condition in recipe.evaluation_conditions():
            scored[condition] = []
            for clip in clips:
                if condition == "ground_truth":
                    samples = clip.audio(backbone.sample_rate_hz)
                else:
                    path = run.sample(condition, clip.id)
                    samples = load_audio(path, backbone.sample_rate_hz) if path.exists() else None
                if samples is not None:
                    prompt = material.prompt_of(recipe, clip)
                    scored[condition].append(Scored(samples, backbone.sample_rate_hz, clip, prompt))
        with run.stage("evaluation", key), stage_progress(self.console, "evaluation") as progress:
            evaluation = evaluate(
                scored,
                self.specs,
                seed=recipe.seed,
                on_progress=lambda what, done, total: progress(done, total, what),
            )
            write_evaluation(run.path, evaluation)
        return evaluation

    # -------------------------------------------------------------------------------------------- report

    def _report(
        self,
        backbone: Backbone,
        adaptor: Adaptor | None,
        clips: Sequence[Clip],
        ready: Sequence[TestClip],
        evaluation: Evaluation,
    ) -> None:
        recipe, run = self.recipe, self.run
        main = recipe.joint_name or "text_only"
        records: list[Record] = []
        if (run.path / "training.jsonl").exists():
            records = read_history(run.path / "training.jsonl")
        with run.stage("report", recipe.content_hash), stage_progress(self.console, "report") as progress:
            samples: list[Sample] = []
            chosen = list(zip(clips, ready, strict=True))[: recipe.generate.samples]
            requests = requests_of(recipe, main, ready, recipe.generate_seed)
            for i, (clip, test_clip) in enumerate(chosen):
                progress(i, len(chosen), clip.id)
                influence = None
                path = run.codes(main, clip.id)
                if adaptor is not None and path.exists():
                    codes = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.int64))
                    influence = gate_influence(
                        backbone.lm, adaptor, requests[i], codes, backbone.frame_rate_hz
                    )
                samples.append(
                    sample_of(
                        run,
                        clip,
                        self._made_conditions(),
                        main,
                        test_clip.tracks,
                        influence,
                        backbone.sample_rate_hz,
                        backbone.frame_rate_hz,
                    )
                )
            facts: Mapping[str, str] = {
                "test clips": str(len(clips)),
                "training clips": str(run.state["stages"].get("training", {}).get("clips", 0)),
            }
            if adaptor is not None:
                facts = {**facts, "trainable parameters": f"{sum(p.numel() for p in adaptor.parameters()):,}"}
            failures = [f"{clip_id}: {reason}" for clip_id, reason in self.failures.by_clip.items()]
            info = run_info(run, recipe, facts, self.warnings, failures)
            write_run_report(
                run, info, evaluation, self.specs, training_history(records, adaptor), samples, main
            )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
