"""`expotion generate`: every check before anything is loaded, the work over clips, and what is said at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape

from expotion.errors import ExpotionError, MediaError, Problem
from expotion.files import write_json
from expotion.music.checks import (
    clip_problems,
    control_problems,
    find_adaptor,
    name_problems,
    read_facts,
    schedule_problems,
)
from expotion.music.files import asked_for, is_done
from expotion.music.jobs import Job, Outcome, Progress, Takes, group, run_here, run_processes, run_ray
from expotion.music.steering import Composing, Output, Work
from expotion.music.targets import Plan, plan
from expotion.plugins import Registry
from expotion.progress import stage_progress

log = logging.getLogger("expotion")
Result = TypeVar("Result")


@dataclass
class Tally:
    """What has become of the clips so far."""

    n_clips: int
    outcomes: list[Outcome] = field(default_factory=list)
    there: list[Path] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> list[Outcome]:
        """Clips with problems."""
        return [outcome for outcome in self.outcomes if outcome.problems]

    def left(self) -> str:
        """Clips done and the time that the others take at this pace."""
        done = len(self.outcomes)
        left_s = (time.monotonic() - self.started) / max(1, done) * (self.n_clips - done)
        minutes = f"{left_s / 60:.0f} min" if left_s >= 90 else f"{left_s:.0f} s"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{done}/{self.n_clips} clips{failed}, about {minutes} left"

    def write(self, folder: Path, *, stopped: bool) -> None:
        """The report of a folder's run."""
        content = {
            "made": [
                {
                    "clip": str(outcome.clip),
                    "files": [str(path) for path in outcome.files],
                    "seconds": round(outcome.seconds, 2),
                    "warnings": list(outcome.warnings),
                }
                for outcome in self.outcomes
                if not outcome.problems
            ],
            "already_there": [str(clip) for clip in self.there],
            "failed": [
                {
                    "clip": str(outcome.clip),
                    "problems": [str(problem) for problem in outcome.problems],
                    "traceback": outcome.fault,
                }
                for outcome in self.failed
            ],
            "stopped": stopped,
            "seconds": round(time.monotonic() - self.started, 2),
        }
        write_json(folder / "report.json", content)


def generate_files(
    *,
    clips: Sequence[Path],
    registry: Registry,
    composing: Composing,
    output: Output,
    formats: tuple[str, ...] | None,
    out: Path | None,
    samples: int,
    work: Work,
    console: Console,
    problems: Sequence[Problem] = (),
) -> list[Path]:
    """Write the files of every clip; returns them. `problems` are what the caller has found in the options.

    Raises ExpotionError with everything that is wrong before anything is loaded. A clip that fails does not stop
    the others; they are listed together at the end as one MediaError.
    """
    found = [*problems, *composing.problems(), *work.problems()]
    if samples < 1:
        fix = "for example --samples 3"
        found.append(Problem("--samples", "a whole number of at least 1", str(samples), fix))
    adaptor = composing.adaptor
    with _collecting(found):
        adaptor = find_adaptor(composing.adaptor, registry, composing.backbone)
        found += name_problems(composing, read_facts(adaptor))
    planned: Plan | None = None
    with _collecting(found):
        planned = plan(
            clips,
            out=out,
            adaptor=composing.adaptor,
            formats=formats,
            samples=max(1, samples),
            seed=composing.seed,
        )
        output = dataclasses.replace(output, formats=planned.formats)
    found += schedule_problems(composing)
    found += output.problems()
    found += control_problems(composing)
    bad = clip_problems([clip for clip in clips if not clip.is_dir()], output.formats)
    hopeless = bool(bad) and len(bad) == len(set(clips))
    if found or hopeless:
        raise ExpotionError([*found, *(problem for each in bad.values() for problem in each)])
    assert planned is not None and adaptor is not None
    job = Job(composing, output, adaptor)
    return _run(job, planned, bad, work, console)


def _run(job: Job, planned: Plan, bad: dict[Path, list[Problem]], work: Work, console: Console) -> list[Path]:
    items = group([target for target in planned.targets if target.clip not in bad])
    tally = Tally(len(items) + len(bad))
    for clip, problems in bad.items():
        _note(tally, Outcome(clip, problems=tuple(problems)), console)
    folder = planned.report_folder
    if folder is not None and not work.overwrite:
        items = _left(job, items, tally, console)
        tally.n_clips -= len(tally.there)
    try:
        if items:
            for outcome in _outcomes(job, items, folder is not None, work, console, tally):
                _note(tally, outcome, console)
    except KeyboardInterrupt:
        if folder is not None:
            tally.write(folder, stopped=True)
            done = f"{len(tally.outcomes) - len(tally.failed)} clips are done"
            console.print(f"{done}; the same command goes on from there.", highlight=False)
        raise
    if folder is not None:
        tally.write(folder, stopped=False)
        made = len(tally.outcomes) - len(tally.failed)
        counts = f"{made} made, {len(tally.there)} already there, {len(tally.failed)} failed"
        console.print(f"{counts}; {escape(str(folder / 'report.json'))}", soft_wrap=True, highlight=False)
    written = [path for outcome in tally.outcomes for path in outcome.files]
    if tally.failed:
        if folder is None:
            for path in written:
                console.print(f"Wrote {path}", soft_wrap=True, highlight=False, markup=False)
        raise MediaError([problem for outcome in tally.failed for problem in outcome.problems])
    return [] if folder is not None else written


def _outcomes(
    job: Job, items: list[Takes], whole_folder: bool, work: Work, console: Console, tally: Tally
) -> Iterator[Outcome]:
    """The work as it was asked to be spread."""
    from expotion.workers import n_workers  # noqa: PLC0415

    jobs = work.jobs if work.jobs is not None else (n_workers(len(items)) if whole_folder else 0)
    if work.ray is not None:
        outcomes = run_ray(dataclasses.replace(job, threads=1), items, work.ray)
    elif jobs > 0:
        outcomes = run_processes(dataclasses.replace(job, threads=1), items, min(jobs, len(items)))
    else:
        many = len(items) > 1

        @contextlib.contextmanager
        def watch(path: Path) -> Iterator[Progress]:
            with stage_progress(console, f"compose {path.name}") as progress:
                yield progress

        for outcome in run_here(job, items, watch):
            yield outcome
            if many and len(tally.outcomes) < tally.n_clips:
                console.print(f"[dim]{tally.left()}[/]", highlight=False)
        return
    with stage_progress(console, "music") as progress:
        progress(0, len(items))
        for done, outcome in enumerate(outcomes, start=1):
            yield outcome
            progress(done, len(items), tally.left())


def _left(job: Job, items: list[Takes], tally: Tally, console: Console) -> list[Takes]:
    """Clips whose music is not there yet, or not as it is asked for now."""
    left = []
    for takes in items:
        try:
            done = all(
                is_done(target, asked_for(job.composing, job.output, target, job.adaptor, 0))
                for target in takes
            )
        except OSError:
            done = False  # the work itself says what is wrong with the clip
        if done:
            tally.there.append(takes[0].clip)
        else:
            left.append(takes)
    if tally.there:
        console.print(f"{len(tally.there)} clips are done already", highlight=False)
    return left


def _note(tally: Tally, outcome: Outcome, console: Console) -> None:
    tally.outcomes.append(outcome)
    for warning in outcome.warnings:
        text = escape(f"{outcome.clip.name}: {warning}")
        console.print(f"[yellow]warning[/] {text}", soft_wrap=True, highlight=False)
    if outcome.fault is not None:
        log.debug("%s", outcome.fault)
    if outcome.problems:
        console.print(f"[red]failed[/] {escape(str(outcome.clip))}", soft_wrap=True, highlight=False)


@contextlib.contextmanager
def _collecting(problems: list[Problem]) -> Iterator[None]:
    """Problems of one check join the others instead of hiding them."""
    try:
        yield
    except ExpotionError as error:
        problems += error.problems
