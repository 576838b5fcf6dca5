"""`expotion generate` from top to bottom, and `expotion again`.

Every check before anything is loaded, the work over clips, what is said at the end:

    steering and output -> the plan of targets -> jobs, here, in processes or over Ray -> files with their records
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from expotion import machine, plugins
from expotion.adaptor.checkpoint import DESCRIPTION
from expotion.errors import FAULTS, ExpotionError, MediaError, OutputError, Problem, first_line, in_short
from expotion.files import file_sha256, sha256_of, write_json
from expotion.music.best import Best, choice_text
from expotion.music.composer import Composer, open_composer
from expotion.music.controls import Warn
from expotion.music.files import is_done, read_record, write_files
from expotion.music.out_of_memory import memory_problem
from expotion.music.overlay import write_overlay
from expotion.music.piece import Music
from expotion.music.prompts import PromptFrom
from expotion.music.steering import Steering, described
from expotion.music.targets import FORMATS, Output, Plan, Takes, Target, check_formats, plan, scan_clips, unfit
from expotion.musicgen.engine import choose
from expotion.plugins import installed_versions
from expotion.progress import rough_time, stage_progress
from expotion.video.clip import FileClip
from expotion.video.container import passed_over
from expotion.workers import n_workers, spread

log = logging.getLogger("expotion")


def generate_files(
    clips: Sequence[Path],
    steering: Steering,
    output: Output,
    *,
    out: Path | None,
    samples: int,
    best: Best | None = None,
    prompt_from: PromptFrom | None = None,
    jobs: int | None,
    ray: str | None,
    overwrite: bool,
    console: Console,
    problems: Sequence[Problem] = (),
) -> list[Path]:
    """Write the files of every clip; returns them. `problems` are what the caller has found in the options.

    Works in `jobs` processes of one thread each (0: here, with all threads; None: 0 for files, one per core for
    folders), or over the Ray cluster at an address. `overwrite` makes anew what a folder's run has done.
    Raises ExpotionError with everything that is wrong before anything is loaded. A clip that fails does not stop
    the others; they are listed together at the end as one MediaError.
    """
    found = [*problems]
    if jobs is not None and jobs < 0:
        found.append(Problem("--jobs", "a whole number of at least 0", str(jobs)))
    if jobs is not None and ray is not None:
        found.append(Problem("--ray", "either --ray or --jobs", "both"))
    if best is None and samples < 1:
        fix = "for example --samples 3"
        found.append(Problem("--samples", "a whole number of at least 1", str(samples), fix))
    elif best is not None:
        recipe = None
        with contextlib.suppress(ExpotionError):  # an adaptor that is not there has been found out before
            recipe, _ = described(steering.folder)
        found += best.problems(steering, recipe)
    found += [] if prompt_from is None else prompt_from.problems(steering.prompt)
    planned = plan(
        clips,
        out=out,
        adaptor=steering.adaptor,
        formats=output.formats,
        samples=max(1, samples),
        best=best,
        seed=steering.seed,
        problems=found,
    )
    output = dataclasses.replace(output, formats=planned.formats)
    found += output.problems()
    scans, bad = scan_clips([clip for clip in clips if not clip.is_dir()], output.formats, steering, best)
    if found or (bad and len(bad) == len(set(clips))):
        raise ExpotionError([*found, *(problem for each in bad.values() for problem in each)])
    takes = [
        dataclasses.replace(each, source=scans.get(each.clip)) for each in planned.takes if each.clip not in bad
    ]
    report = Report(len(takes) + len(bad), console, planned.report_folder)
    for folder in clips:
        if folder.is_dir() and (sounds := passed_over(folder)) is not None:
            console.print(f"{folder}: {sounds} passed over", style="yellow", markup=False)
    for clip, why in bad.items():
        report.add(Outcome(clip, problems=tuple(why)))
    job = Job(steering, output, best=best, prompt_from=prompt_from)
    steering.say_adaptor(console)
    with planned.held():
        if planned.report_folder is not None and not overwrite:
            takes = report.left(job, takes)
        try:
            for outcome in _outcomes(job, takes, jobs, ray, report):
                report.add(outcome)
        except BaseException as error:
            if report.outcomes or isinstance(error, KeyboardInterrupt):
                report.close(stopped=True)
            raise
        return report.close(stopped=False)


@dataclass(frozen=True)
class Outcome:
    """What became of a clip. `fault` is the traceback of an error that is nobody's but the program's."""

    clip: Path
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    fault: str | None = None


@dataclass(frozen=True)
class Job:
    """What is the same for every clip. `threads` 0 leaves torch's own number."""

    steering: Steering
    output: Output
    threads: int = 0
    best: Best | None = None
    prompt_from: PromptFrom | None = None

    def open(self) -> Composer:
        """Load adaptor, backbone and encoders with the registry of this process."""
        if self.threads:
            torch.set_num_threads(self.threads)
        return open_composer(self.steering.folder, plugins.discover(), self.steering.backbone)

    def make(self, composer: Composer, takes: Takes, console: Console | None = None) -> Outcome:
        """Every take of one clip, progress on a console.

        Raises nothing: what goes wrong is in the outcome, and finished takes stay.
        """
        started = time.monotonic()
        files: list[Path] = []
        warnings: list[str] = []
        problems: list[Problem] = []
        fault = None
        try:
            with contextlib.closing(FileClip(takes.clip, scanned=takes.source)) as clip:
                check_formats(clip.scanned, self.output.formats)
                job = self._with_words(clip, warnings.append, console)
                for target, music in job._music(composer, clip, takes.targets, warnings.append, console):
                    asked = job.asked(target)
                    draw = functools.partial(write_overlay, clip, composer.encoders, warnings.append)
                    files += write_files(target, music, clip.scanned, self.output, asked, warnings.append, draw)
        except ExpotionError as error:
            problems = error.problems
        except FAULTS as error:  # whatever is wrong with one clip, the others are made
            short = memory_problem(str(takes.clip), error)
            problems = [short or Problem(str(takes.clip), "music", in_short(error))]
            fault = None if short is not None else traceback.format_exc()
        seconds, said = time.monotonic() - started, dict.fromkeys(warnings)
        return Outcome(takes.clip, tuple(files), tuple(said), tuple(problems), seconds, fault)

    def _with_words(self, clip: FileClip, warn: Warn, console: Console | None) -> Job:
        """The same with the words that a captioner has for the clip."""
        words = None if self.prompt_from is None else self.prompt_from.words(clip, warn)
        if words is None:
            return self
        if console is not None:
            console.print(f"prompt: {words}", soft_wrap=True, highlight=False, markup=False)
        return dataclasses.replace(self, steering=self.steering.model_copy(update={"prompt": words}))

    def _music(
        self, composer: Composer, clip: FileClip, targets: Sequence[Target], warn: Warn, console: Console | None
    ) -> Iterator[tuple[Target, Music]]:
        """The piece of each target: that of its seed, or the best of the takes from its seed on, in their order."""
        if self.best is None:
            for target in targets:
                steering = self.steering.model_copy(update={"seed": target.seed})
                with stage_progress(console, f"compose {target.base.name}") as progress:
                    music = composer.compose(clip, steering, on_progress=progress, on_warning=warn)
                yield target, music
            return
        n, metric = self.best.samples, self.best.metric
        with stage_progress(console, f"compose {n} takes of {targets[0].base.name}") as progress:
            chosen = composer.best(
                clip, metric, self.steering, samples=n, keep=self.best.keep, on_progress=progress, on_warning=warn
            )
        if console is not None:
            console.print(choice_text(chosen[0].notes), soft_wrap=True, highlight=False, markup=False)
        for target, music in zip(targets, chosen, strict=True):
            yield dataclasses.replace(target, seed=music.notes["seed"]), music

    def asked(self, target: Target) -> dict[str, Any]:
        """What a piece depends on: the same on every call that would make the same files."""
        steering = self.steering
        borrowed = {name: path for name, path in steering.controls.items() if path is not None}
        return {
            "clip": {"file": str(target.clip.absolute()), "sha256": file_sha256(target.clip)},
            "composing": {**steering.to_json(), "adaptor": steering.named_adaptor, "seed": target.seed},
            "adaptor_sha256": sha256_of(steering.folder / DESCRIPTION),
            "controls_sha256": {name: file_sha256(path) for name, path in borrowed.items()},
            **({} if steering.theme is None else {"theme_sha256": file_sha256(steering.theme)}),
            "output": dataclasses.asdict(self.output),
            "threads": torch.get_num_threads(),
            **({} if self.best is None else {"best": self.best.to_json(self.steering.seed)}),
            **({} if self.prompt_from is None else {"prompt_from": self.prompt_from.to_json()}),
        }


@dataclass
class Report:
    """What has become of the clips so far, said on the console; of a folder, a file at the end."""

    n_clips: int
    console: Console
    folder: Path | None
    outcomes: list[Outcome] = field(default_factory=list)
    there: list[Path] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def left(self, job: Job, takes: Sequence[Takes]) -> list[Takes]:
        """Clips whose music is not there yet, or not as it is asked for now; the others are noted as there."""
        left = []
        for each in takes:
            if all(is_done(target, job.asked) for target in each.targets):
                self.there.append(each.clip)
            else:
                left.append(each)
        if self.there:
            self.console.print(f"{len(self.there)} clips are done already", highlight=False)
        self.n_clips -= len(self.there)
        return left

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, and say what a user should know of it."""
        self.outcomes.append(outcome)
        for warning in outcome.warnings:
            self.say(f"[yellow]warning[/] {escape(f'{outcome.clip.name}: {warning}')}")
        if outcome.fault is not None:
            log.debug("%s", outcome.fault)
        if outcome.problems:
            self.say(f"[red]failed[/] {escape(str(outcome.clip))}")

    def pace(self) -> str:
        """Clips done and the time that the others take at this pace."""
        done = len(self.outcomes)
        left_s = (time.monotonic() - self.started) / max(1, done) * (self.n_clips - done)
        n_failed = sum(bool(outcome.problems) for outcome in self.outcomes)
        failed = f", {n_failed} failed" if n_failed else ""
        return f"{done}/{self.n_clips} clips{failed}, about {rough_time(left_s)} left"

    def say(self, text: str) -> None:
        """A line on the console, not wrapped."""
        self.console.print(text, soft_wrap=True, highlight=False)

    def close(self, *, stopped: bool) -> list[Path]:
        """Say how it ended and return the files written: of a folder none, they are in its report.

        Raises MediaError with the problems of all clips that failed.
        """
        failed = [outcome for outcome in self.outcomes if outcome.problems]
        made = [outcome for outcome in self.outcomes if not outcome.problems]
        written = [path for outcome in self.outcomes for path in outcome.files]
        if self.folder is not None:
            written = []
            content = {
                "made": [
                    {
                        "clip": str(outcome.clip),
                        "files": [str(path) for path in outcome.files],
                        "seconds": round(outcome.seconds, 2),
                        "warnings": list(outcome.warnings),
                    }
                    for outcome in made
                ],
                "already_there": [str(clip) for clip in self.there],
                "failed": [
                    {
                        "clip": str(outcome.clip),
                        "problems": [str(problem) for problem in outcome.problems],
                        "traceback": outcome.fault,
                    }
                    for outcome in failed
                ],
                "stopped": stopped,
                "seconds": round(time.monotonic() - self.started, 2),
            }
            path = self.folder / "report.json"
            write_json(path, content)
            if stopped:
                self.say(f"{len(made)} clips are done; the same command goes on from there.")
            else:
                counts = f"{len(made)} made, {len(self.there)} already there, {len(failed)} failed"
                self.say(f"{counts}; {escape(str(path))}")
        if failed and not stopped:
            for path in written:
                self.say(escape(f"Wrote {path}"))
            raise MediaError([problem for outcome in failed for problem in outcome.problems])
        return written


def _outcomes(
    job: Job, takes: Sequence[Takes], jobs: int | None, ray: str | None, report: Report
) -> Iterator[Outcome]:
    """The work as it was asked to be spread. Raises what opening the models raises."""
    if jobs is None:
        jobs = n_workers(len(takes)) if report.folder is not None else 0
    if ray is None and jobs == 0:
        make = functools.partial(job.make, console=report.console)
        for _, outcome in spread(make, takes, build=job.open):
            assert isinstance(outcome, Outcome)  # `make` raises nothing
            yield outcome
            if len(takes) > 1 and len(report.outcomes) < report.n_clips:
                report.console.print(f"[dim]{report.pace()}[/]", highlight=False)
        return
    job = dataclasses.replace(job, threads=1)
    machine.decide()
    if job.steering.precision in (None, "auto"):
        choose(torch.device("cpu"))
    with stage_progress(report.console, "music") as progress:
        progress(0, len(takes))
        workers = 0 if ray is not None else jobs  # over Ray, as many as the cluster has processors for
        results = spread(job.make, takes, build=job.open, workers=workers, ray=ray)
        for done, (index, result) in enumerate(results, start=1):
            yield (
                result
                if isinstance(result, Outcome)
                else _lost(takes[index].clip, result, "processes over Ray" if ray else "--jobs")
            )
            progress(done, len(takes), report.pace())


def _lost(clip: Path, error: Exception, many: str) -> Outcome:
    """A clip whose process died or could not start."""
    if isinstance(error, ExpotionError):
        return Outcome(clip, problems=tuple(error.problems))
    fix = f"it may have run out of memory: use fewer {many}"
    return Outcome(clip, problems=(Problem(str(clip), "a process to make it", first_line(error), fix),))


def make_again(path: Path, *, out: Path | None, console: Console, take: int | None = None) -> list[Path]:
    """Make the files of a record again: beside it under a name with `_again`, or where `out` says.

    `take` makes another one of those that its piece was chosen from, by its place among the seeds, from 1 on, under
    a name with `_takeN`. Else it says whether the bytes are the same, and if not, which packages have changed
    since. Raises ExpotionError for a record that cannot be read, and where the clip, a control or the adaptor
    is not what it was.
    """
    record = read_record(path)
    seed, ending = record.steering.seed, "again"
    if take is not None:
        if not 1 <= take <= len(record.seeds):
            wanted = f"a take from 1 to {len(record.seeds)}" if record.seeds else "a record of --best"
            raise ExpotionError(Problem(f"--take {take}", wanted, f"{path}, which has {len(record.seeds)}"))
        seed, ending = record.seeds[take - 1], f"take{take}"
    base = path.with_name(f"{path.stem}_{ending}")
    if out is not None:
        whole = out.suffix.lower().removeprefix(".") in (*FORMATS, "json")
        base = out.with_suffix("") if whole else out / path.stem
    target = Target(record.clip, base, seed)
    problems = unfit([target])
    if problems:
        raise OutputError(problems)
    machine.adopt(record.auto, where=str(path))
    job, takes = Job(record.steering, record.output, record.threads), Takes((target,))
    report = Report(1, console, None)
    threads = torch.get_num_threads()
    try:
        with Plan((takes,), record.output.formats, None).held():
            report.add(job.make(job.open(), takes, console))
    finally:
        torch.set_num_threads(threads)
    files = report.close(stopped=False)
    if seed != record.steering.seed:
        return files
    before = {name.removeprefix(path.stem): digest for name, digest in record.files.items()}
    made = [file for file in files if file != target.record]
    others = [file.name for file in made if before.get(file.name.removeprefix(base.name)) != sha256_of(file)]
    if not others:
        console.print("The same bytes as the first time.", highlight=False)
        return files
    now = installed_versions({})
    changed = [
        f"{name} {now.get(name, 'missing')}, was {version}"
        for name, version in record.versions.items()
        if now.get(name) != version
    ]
    why = ", ".join(changed) or "no package that is recorded; perhaps the processor"
    text = f"other bytes than the first time: {', '.join(others)}. Changed since: {why}"
    report.say(f"[yellow]warning[/] {escape(text)}")
    return files
