"""`expotion recipe run`: the stages of a recipe. Read `Stages.all` from top to bottom: it is the main job."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape

from expotion import machine, timeline
from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.build import build_adaptor, build_projections
from expotion.adaptor.checkpoint import load_adaptor, save_adaptor
from expotion.contracts import Clip, Scored
from expotion.errors import ExpotionError, Problem, RunFolderError
from expotion.evaluate.evaluate import Evaluation, Given, evaluate, load_evaluation, write_evaluation
from expotion.evaluate.outside import outside_rows
from expotion.evaluate.tables import no_value, table_text
from expotion.features import material
from expotion.features.encoders import build_encoders, build_text_encoder
from expotion.features.store import FeatureStore
from expotion.files import write_array, write_text
from expotion.lock import held
from expotion.music.request import request_for_all
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen.engine import choose, compile_ahead
from expotion.musicgen.load import backbone_folder, compute_dtype, load_backbone
from expotion.plugins import Registry, installed_versions
from expotion.progress import stage_progress
from expotion.recipe import Recipe
from expotion.recipe.schema import CONTROLS_ALONE
from expotion.recipe.tasks import TaskRecipe
from expotion.report.data import PROBE
from expotion.run.captions import write_captions
from expotion.run.folder import STATE, RunFolder, place_of, with_its_batches
from expotion.run.generation import TestClip, generate_all, lenders_of, make_jobs, requests_of
from expotion.run.influence import N_FITTED, NATS_PER_CODE, Readout, gate_influence, joined, nats_of, play_alone
from expotion.run.reporting import plugin_sections, sample_of, training_history, write_run_report
from expotion.run.tasks import Task
from expotion.run.training import Callbacks, TrainingSamples, train_adaptor
from expotion.train.examples import stack_examples
from expotion.video.sound_files import read_wav, write_wav
from expotion.workers import n_workers

log = logging.getLogger("expotion")
MADE_BY_MODEL = ("text_only", "shuffled")
AS_LONG_S = 0.1
"""Clips that differ by less in length can be held to each other's truth."""


def run_recipe(
    *,
    recipe: Recipe | TaskRecipe,
    registry: Registry,
    out_dir: Path | None,
    resume: Path | Literal["auto"] | None,
    console: Console,
) -> Path:
    """Run every stage that is not done yet, of music or of a plugin's task; returns the run folder.

    Raises ExpotionError for anything a user can act on, and KeyboardInterrupt(folder) when interrupted: what
    was finished stays, and the same command with `--resume` goes on from there.
    """
    folder = place_of(recipe, out_dir, resume)
    recipe = with_its_batches(recipe, folder)
    with held(folder):
        run = RunFolder.create(folder, recipe, installed_versions(registry.distributions))
        with run.logged():
            console.print(f"[bold]{recipe.name}[/] -> {escape(str(folder))}", highlight=False)
            try:
                if isinstance(recipe, TaskRecipe):
                    Task(recipe, registry, run, console).all()
                else:
                    Stages(recipe, registry, run, console).all()
            except KeyboardInterrupt:
                log.warning("interrupted")
                raise KeyboardInterrupt(folder) from None
            except Exception:
                log.exception("the run stopped")
                raise
    return folder


class Stages:
    """A recipe's stages. Each leaves its result in the run folder and is skipped where that is there already.

    `trace` is a hash of everything that the trained adaptor depends on; the keys of later stages build on it.
    """

    def __init__(self, recipe: Recipe, registry: Registry, run: RunFolder, console: Console) -> None:
        self.recipe, self.registry, self.run, self.console = recipe, registry, run, console
        machine.adopt(
            run.state.get("auto", {}), where=str(run.path / STATE)
        )  # what was chosen when the run began holds to its end
        machine.decide()
        self.failures = material.Failures()
        self.warnings: list[str] = []
        self.store = FeatureStore()
        self.specs = [registry.metric(name) for name in dict.fromkeys(recipe.evaluate.metrics)]
        self.specs += [NATS_PER_CODE] if recipe.evaluate.control_alone else []
        data = registry.data_source(recipe.data.source)
        self.data = data.build(data.options(**recipe.data.options))
        outside_rows(recipe.evaluate.outside, self.data.clips("test"))  # looked at before anything is made
        self.source = backbone_folder(recipe.backbone.source, registry)
        with stage_progress(console, "load models"):
            self.backbone = load_backbone(self.source)
            self.encoders = build_encoders(recipe, registry)
            self.prompts = material.Prompts(build_text_encoder(recipe, registry, self.source), self.store)
        self.same = request_for_all(recipe.generate, self.prompts, self.backbone.geometry)
        self.encoder_hashes = {name: encoder.weights_hash for name, encoder in self.encoders.items()}
        hashes = {"backbone": self.backbone.weights_hash, **self.encoder_hashes}
        run.state["hashes"] = {"recipe": recipe.content_hash, **hashes}
        run.state["auto"] = machine.choice()
        sections = ("seed", "data", "backbone", "text", "conditions", "adaptor", "train")
        self.trace = _digest(recipe.section_hash(*sections), hashes)

    def all(self) -> None:
        """Clips, training, generation, evaluation, report; at the end, whatever it is, what failed is listed."""
        try:
            self._all()
        finally:
            for clip_id, reason in self.failures.by_clip.items():
                self.console.print(f"[yellow]failed[/] {escape(f'{clip_id}: {reason}')}", highlight=False)

    def _all(self) -> None:
        if self.recipe.device not in ("auto", "cpu"):
            told = "a run computes on the processor, its encoders on the `device` of their own options"
            self._note(f"device {self.recipe.device} is not used: {told}")
        if not self.run.state["stages"].get("generation", {}).get("done"):
            compile_ahead()
        train_clips = list(self.data.clips("train")) if self.recipe.conditions else []
        if self.run.is_done("training", self.trace):
            train_clips = []
        watched = list(self.data.validation()) if train_clips else []
        train_clips += watched
        test_clips = list(self.data.clips("test"))
        probes = self._probes()
        if self.recipe.text.captioner is not None:
            every, file = [*train_clips, *test_clips, *chain(*probes.values())], self.run.path / "captions.json"
            with stage_progress(self.console, "captions") as progress:
                write_captions(self.recipe, self.registry, every, file, progress=progress)
        tracks = self._clips(train_clips, [*test_clips, *chain(*probes.values())])
        probes = {row: [clip for clip in clips if clip.id in tracks.tracks] for row, clips in probes.items()}
        test_clips = [clip for clip in test_clips if clip.id in tracks.tracks]
        if not test_clips:
            got = "; ".join(["none", *dict.fromkeys(self.failures.by_clip.values())])
            raise ExpotionError(Problem("data", "at least one usable test clip", got))
        self._words([*train_clips, *test_clips])
        adaptor, window_frames = self._training(train_clips, tracks, test_clips[0], len(watched))
        ready = [self._ready(clip, tracks) for clip in test_clips]
        self._generation(
            ready, window_frames, {row: [self._ready(c, tracks) for c in probes[row]] for row in probes}
        )
        self._codec_ceiling(test_clips, tracks)
        self._control_alone(ready)
        evaluation = self._evaluation(test_clips, probes, tracks, window_frames)
        self._report(adaptor, test_clips, ready, tracks, evaluation)
        names = {spec.name: spec.name for spec in self.specs}
        below = no_value(evaluation.metrics, evaluation.per_clip, evaluation.notes, names)
        table = table_text(evaluation.metrics, self.specs, below)
        self.console.print(table, highlight=False, markup=False, soft_wrap=True)

    def _clips(self, train_clips: Sequence[Clip], test_clips: Sequence[Clip]) -> material.Tracks:
        key = self.recipe.section_hash("data", "backbone", "conditions")
        slow = [name for name, each in self.encoders.items() if each.spec.cost_s(each.options) is None]
        if slow and not self.run.is_done("clips", key):
            told = "how long a clip takes is not known before; at official sizes it may be minutes on a processor"
            self._note(f"{', '.join(slow)}: {told}")
        with self.run.stage("clips", key), stage_progress(self.console, "clips") as progress:
            return material.extract_all(
                self.recipe,
                self.encoders,
                self.source,
                [*train_clips, *test_clips],
                self.store,
                self.failures,
                progress=progress,
                codec=self.backbone.codec,
            )

    def _probes(self) -> dict[str, list[Clip]]:
        """Clips in which the video does what it never does in training, by row."""
        recipe = self.recipe
        if not (recipe.evaluate.probes and recipe.conditions and recipe.evaluate.conditions is None):
            return {}
        return {PROBE + name: list(clips) for name, clips in self.data.probes(recipe.evaluate.probes).items()}

    def _ready(self, clip: Clip, tracks: material.Tracks) -> TestClip:
        rate_hz = self.backbone.frame_rate_hz
        n_frames = timeline.n_steps(clip.duration_s, rate_hz)
        return TestClip(
            id=clip.id,
            n_frames=n_frames,
            n_samples=timeline.n_samples(clip.duration_s, self.backbone.sample_rate_hz),
            text=self.prompts[material.prompt_of(self.recipe, clip)],
            tracks=material.smooth_all(self.encoders, tracks.tracks[clip.id], n_frames, rate_hz),
        )

    def _words(self, clips: Sequence[Clip]) -> None:
        """Say which words of the prompts the text encoder does not know."""
        unknown = self.prompts.unknown_words(material.prompt_of(self.recipe, clip) for clip in clips)
        if unknown:
            self.warnings = [material.unknown_text(unknown)]
            self._note(self.warnings[0])

    def _note(self, text: str) -> None:
        log.warning("%s", text)
        self.console.print(f"[yellow]note[/] {escape(text)}", highlight=False)

    def _training(
        self, clips: Sequence[Clip], tracks: material.Tracks, heard: Clip, n_watched: int
    ) -> tuple[Adaptor | None, int]:
        """The trained adaptor (None for a recipe without conditions) and the frames it was trained on.

        `heard`: the test clip that samples are made of while training goes on; the last `n_watched` clips are the
        data's own for validation.
        """
        recipe, run, backbone = self.recipe, self.run, self.backbone
        rate_hz = backbone.frame_rate_hz
        if not recipe.conditions:
            return None, timeline.n_steps(10.0, rate_hz)
        if run.is_done("training", self.trace):
            projections = build_projections(recipe, self.encoders)
            adaptor, metadata = load_adaptor(run.adaptor, projections=projections)
            return adaptor, int(metadata["window_frames"])
        examples = stack_examples(recipe, self.encoders, clips, tracks, self.prompts, rate_hz)
        last = clips[len(clips) - n_watched :]
        n_validation = sum(clip.id in tracks.codes and clip.id in tracks.tracks for clip in last)
        n_frames = examples.codes.shape[-1]
        adaptor = build_adaptor(recipe, self.encoders, backbone.geometry, n_frames + 1)
        lm = backbone.cast(compute_dtype(recipe.train.precision)).lm
        callbacks = Callbacks.of(recipe.train.callbacks, self.registry)
        stage = run.stage("training", self.trace)
        with stage as record, stage_progress(self.console, "training") as progress:
            training = train_adaptor(
                lm,
                adaptor,
                examples,
                recipe,
                backbone=self.source,
                checkpoints=run.checkpoints,
                trace=self.trace,
                progress=progress,
                callbacks=callbacks,
                on_weights=self._sampler(adaptor, heard, tracks, n_frames),
                n_validation=n_validation,
            )
            lines = [json.dumps(step) + "\n" for step in training.records]
            write_text(run.path / "training.jsonl", "".join(lines))
            metadata = {
                "recipe": recipe.to_dict(),
                "backbone_hash": backbone.weights_hash,
                "encoder_hashes": self.encoder_hashes,
                "versions": run.state["versions"],
                "window_frames": n_frames,
            }
            save_adaptor(run.adaptor, adaptor, metadata)
            record["clips"] = len(examples)
        return adaptor, n_frames

    def _sampler(
        self, adaptor: Adaptor, clip: Clip, tracks: material.Tracks, window_frames: int
    ) -> Callable[[int], None] | None:
        """What composes a sample of the clip while training goes on; None where the recipe asks for none."""
        recipe = self.recipe
        if not recipe.train.sample_every_steps:
            return None
        ready = self._ready(clip, tracks)
        return TrainingSamples(
            self.run.path / "training_samples",
            self.backbone,
            adaptor,
            Steering().over(recipe),
            Windows(window_frames),
            requests_of(recipe, recipe.joint_name, [ready], recipe.generate_seed, self.same)[0],
            ready.n_samples,
        ).make

    def _made_conditions(self) -> list[str]:
        own = {condition.name for condition in self.recipe.conditions} | {self.recipe.joint_name}
        return [c for c in self.recipe.evaluation_conditions() if c in MADE_BY_MODEL or c in own]

    def _generation(
        self, clips: Sequence[TestClip], window_frames: int, probes: Mapping[str, Sequence[TestClip]]
    ) -> None:
        recipe, run = self.recipe, self.run
        key = _digest(self.trace, recipe.section_hash("seed", "generate", "evaluate"))
        if run.state["stages"].get("generation", {}).get("key") != key:
            shutil.rmtree(run.path / "samples", ignore_errors=True)  # made with other weights
        jobs = make_jobs(recipe, self._made_conditions(), clips, n_workers(len(clips)), self.same)
        for row, own in probes.items():
            jobs += [
                replace(job, condition=row) for job in make_jobs(recipe, [recipe.joint_name], own, 1, self.same)
            ]
        left = [j for j in jobs if not all(run.sample(j.condition, c).exists() for c in j.clip_ids)]
        if run.is_done("generation", key) and not left:
            return
        if recipe.generate.precision == "auto":
            choose(self.backbone.lm.device)
            run.state["auto"] = machine.choice()
        made = generate_all(
            self.source,
            self.backbone,
            run.adaptor if recipe.conditions else None,
            build_projections(recipe, self.encoders),
            Steering().over(recipe),
            Windows(window_frames),
            left,
        )
        total = sum(len(job.clip_ids) for job in jobs)
        done = total - sum(len(job.clip_ids) for job in left)
        errors: list[Exception] = []
        with run.stage("generation", key), stage_progress(self.console, "generation") as progress:
            progress(done, total)
            for job, result in made:
                done += len(job.clip_ids)
                progress(done, total, job.condition)
                if isinstance(result, Exception):
                    errors.append(result)
                    for clip_id in job.clip_ids:
                        self.failures.add(clip_id, f"{job.condition}: {result}")
                    continue
                for clip_id, (codes, samples) in zip(job.clip_ids, result, strict=True):
                    write_array(run.codes(job.condition, clip_id), codes)
                    write_wav(run.sample(job.condition, clip_id), samples, self.backbone.sample_rate_hz)
            if errors and len(errors) == len(jobs):
                raise errors[0]

    def _codec_ceiling(self, clips: Sequence[Clip], tracks: material.Tracks) -> None:
        """Each test clip's own sound through the codec: the best that this codec can do."""
        if "codec_ceiling" not in self.recipe.evaluation_conditions():
            return
        backbone = self.backbone
        assert backbone.codec is not None
        for clip in clips:
            path = self.run.sample("codec_ceiling", clip.id)
            if clip.id in tracks.codes and not path.exists():
                n_samples = timeline.n_samples(clip.duration_s, backbone.sample_rate_hz)
                samples = to_sound(backbone.codec, torch.from_numpy(tracks.codes[clip.id]), n_samples)
                write_wav(path, samples, backbone.sample_rate_hz)

    def _control_alone(self, clips: Sequence[TestClip]) -> None:
        """The frozen model's music under a fader, and under clicks, that the controls of each test clip move."""
        wanted = [name for name in self.recipe.evaluation_conditions() if name in CONTROLS_ALONE]
        missing = [
            clip
            for clip in clips
            if any(not self.run.sample(name, clip.id).exists() for name in wanted)
            and self.run.sample("text_only", clip.id).exists()
        ]
        if not missing:
            return
        fitted, backbone = list(self.data.clips("train"))[:N_FITTED], self.backbone
        tracks = material.extract_all(
            self.recipe,
            self.encoders,
            self.source,
            fitted,
            self.store,
            material.Failures(),
            progress=lambda _done, _total: None,
            codec=backbone.codec,
        )
        rate_hz, sample_rate_hz = backbone.frame_rate_hz, backbone.sample_rate_hz
        used = [(clip, self._ready(clip, tracks)) for clip in fitted if clip.id in tracks.tracks]
        readout = Readout.fit([(joined(ready), clip) for clip, ready in used], rate_hz, sample_rate_hz)
        if readout is None:
            self._note("the controls alone: no training clip has sound with beats to fit a readout to")
            return
        play_alone(self.run, wanted, missing, readout, rate_hz, sample_rate_hz)

    def _evaluation(
        self,
        clips: Sequence[Clip],
        probes: Mapping[str, Sequence[Clip]],
        tracks: material.Tracks,
        window_frames: int,
    ) -> Evaluation:
        recipe, run, rate_hz = self.recipe, self.run, self.backbone.sample_rate_hz
        # What failed before may have been made since.
        made = sorted(path.relative_to(run.path).as_posix() for path in run.path.glob("samples/*/*.wav"))
        tools = [f"{spec.name}: {spec.measured_with()}" for spec in self.specs if spec.measured_with()]
        tools += [spec.name for spec in self.specs]
        outside = outside_rows(recipe.evaluate.outside, clips)
        tools += [row.content_hash for row in outside]
        tools += ["control alone"] if recipe.evaluate.control_alone else []
        key = _digest(self.trace, recipe.section_hash("seed", "generate", "evaluate"), made, *tools)
        if run.is_done("evaluation", key):
            try:
                return load_evaluation(run.path)
            except RunFolderError as error:
                self._note(f"{error}: measured again")
        scored: dict[str, list[Scored]] = {}
        for condition in recipe.evaluation_conditions():
            scored[condition] = []
            lent = condition == "lenders_truth"  # the music of `shuffled`, held to the clip that it should follow
            for clip, truth in zip(clips, lenders_of(clips) if lent else clips, strict=True):
                path = run.sample("shuffled" if lent else condition, clip.id)
                if condition == "ground_truth":
                    samples = clip.audio(rate_hz)
                else:
                    samples = read_wav(path) if path.exists() else None
                if samples is not None and (not lent or abs(clip.duration_s - truth.duration_s) < AS_LONG_S):
                    scored[condition].append(Scored(samples, rate_hz, truth, material.prompt_of(recipe, clip)))
        for name, own in probes.items():
            scored[name] = [
                Scored(read_wav(run.sample(name, clip.id)), rate_hz, clip, material.prompt_of(recipe, clip))
                for clip in own
                if run.sample(name, clip.id).exists()
            ]
        for row in outside:
            scored[row.name] = row.scored(rate_hz, lambda clip: material.prompt_of(recipe, clip))
            for note in row.notes:
                self._note(note)
        with run.stage("evaluation", key), stage_progress(self.console, "evaluation") as progress:
            given: Given = {}
            if recipe.evaluate.control_alone:
                lm = self.backbone.cast(compute_dtype(recipe.train.precision)).lm
                told = ("text_only", recipe.joint_name, "ground_truth", *probes)
                sounds_of = {name: scored.get(name, []) for name in told}
                given = {NATS_PER_CODE.name: nats_of(run, lm, sounds_of, tracks.codes, self.prompts, window_frames)}
            evaluation = evaluate(
                scored,
                self.specs,
                seed=recipe.seed,
                n_resamples=recipe.evaluate.bootstrap,
                given=given,
                on_progress=lambda what, done, total: progress(done, total, what),
            )
            write_evaluation(run.path, evaluation)
        return evaluation

    def _report(
        self,
        adaptor: Adaptor | None,
        clips: Sequence[Clip],
        ready: Sequence[TestClip],
        tracks: material.Tracks,
        evaluation: Evaluation,
    ) -> None:
        recipe, run, backbone = self.recipe, self.run, self.backbone
        main = recipe.joint_name or "text_only"
        key = _digest(recipe.content_hash, run.state["stages"]["evaluation"]["key"], self.failures.by_clip)
        if run.is_done("report", key) and (run.path / "report.html").exists():
            return
        history = run.path / "training.jsonl"
        lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
        records = [json.loads(line) for line in lines if line]
        rate_hz, sample_rate_hz = backbone.frame_rate_hz, backbone.sample_rate_hz
        with run.stage("report", key), stage_progress(self.console, "report") as progress:
            samples = []
            requests = requests_of(recipe, main, ready, recipe.generate_seed, self.same)
            chosen = min(recipe.generate.samples, len(clips))
            for i in range(chosen):
                progress(i, chosen, clips[i].id)
                gates = None
                path = run.codes(main, clips[i].id)
                if adaptor is not None and path.exists():
                    codes = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.int64))
                    gates = gate_influence(backbone.lm, adaptor, requests[i], codes, rate_hz)
                shown, controls = self._made_conditions(), ready[i].tracks
                samples.append(sample_of(run, clips[i], shown, main, controls, gates, sample_rate_hz, rate_hz))
            trainable = sum(p.numel() for p in adaptor.parameters()) if adaptor else 0
            n_trained_on = run.state["stages"].get("training", {}).get("clips", 0)
            warnings = self.warnings + [
                line
                for clip in clips
                for line in material.coverage_warnings(self.encoders, clip, tracks.tracks[clip.id], rate_hz)
            ]
            write_run_report(
                run,
                recipe,
                evaluation,
                self.specs,
                training_history(records, adaptor),
                samples,
                main,
                plugin_sections(self.registry, recipe.plugins, run.path),
                facts={
                    "test clips": str(len(clips)),
                    "training clips": str(n_trained_on),
                    "trainable parameters": f"{trainable:,}",
                },
                warnings=warnings,
                failures=[f"{clip_id}: {reason}" for clip_id, reason in self.failures.by_clip.items()],
            )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
