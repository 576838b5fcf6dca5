"""The walk: the stages of `expotion recipe run`, listened to, with one clip and one step after one that starts it.

Where that was quick it is done once more, with as many clips and steps as it takes to tell what it takes to start a
stage from what each thing in it costs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from expotion import machine
from expotion.contracts import CaptionerRehearsal, Clip, DataSource
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.machine.gpus import Gpu
from expotion.matrix.run import prepare
from expotion.plugins import Offer, Registry
from expotion.progress import listening
from expotion.recipe import Recipe
from expotion.recipe.lacks import Lack
from expotion.recipe.plan import (
    Found,
    Geometry,
    Plan,
    clips_or_lack,
    forward_flops,
    geometry_of,
    n_decoder,
    plan_of,
)
from expotion.recipe.schema import Backbone, Data
from expotion.rehearse import seeded
from expotion.rehearse.estimate import GpuMemory, Heard, Rates, gpu_memory, on_gpu, rates_of, whole_run
from expotion.run.stages import run_recipe

QUICK_S = 150.0
"""A walk that takes no more of the processors' time is followed by a second one."""
FIRST_STEPS = 2
"""The first of a process starts it, compiles and takes memory; what a step costs is told by the next."""
SECOND_CLIPS, SECOND_TEST, SECOND_STEPS = 16, 8, 6
MEMORY_PER_BYTE = 3.5
"""Memory that a walk takes for each byte of the model's float32 weights: read, packed for steps, trained."""
RUN_BYTES = 100_000_000
"""What the walk's run folder and features take, at most."""


@dataclass(frozen=True)
class Task:
    """What is rehearsed: the recipes (those of a matrix, or one), what they lack here, and whose clips are taken.

    `data` is the recipe's own data where they are here, else those that it names without its profile.
    """

    name: str
    recipes: tuple[Recipe, ...]
    table: bool
    lacks: tuple[Lack, ...]
    data: Data
    geometry: Geometry | None
    truncated: bool

    @property
    def walked(self) -> Recipe:
        """The recipe that is walked for all of them: the one with most conditions."""
        return max(self.recipes, key=lambda recipe: len(recipe.conditions))

    @property
    def disk_bytes(self) -> int:
        """What the walk writes: weights of a seed, features, a run folder."""
        total = RUN_BYTES
        if self.backbone_is_seeded and self.geometry is not None:
            total += seeded.musicgen_bytes(self.real)
        known = {weights.name: weights for lack in self.lacks if (weights := lack.weights) and weights.seeded}
        return total + sum(weights.size_bytes or 500_000_000 for weights in known.values())

    @property
    def backbone_is_seeded(self) -> bool:
        """Whether a MusicGen of a seed stands in for the recipe's."""
        return self.truncated or any("backbone.source" in lack.problem.where for lack in self.lacks)

    @property
    def real(self) -> Geometry:
        """Sizes of the MusicGen that is written: all layers, or one where all do not fit into memory."""
        assert self.geometry is not None
        return replace(self.geometry, n_layers=1) if self.truncated else self.geometry


@dataclass
class Rehearsal:
    """What a rehearsal found; `to_dict` is what `--json` prints. Times in seconds, sizes in bytes."""

    task: Task
    plans: tuple[Plan, ...]
    rates: Rates
    walked_s: float
    peak_bytes: int
    worker_peak_bytes: int
    disk_bytes: int
    made: Mapping[str, int]
    left_out: tuple[str, ...]
    layout_fault: str | None
    here: Mapping[str, float] | None
    gpus: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    memory: GpuMemory | None = None
    table: tuple[Gpu, ...] = ()
    captioners: Mapping[str, CaptionerRehearsal] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        task, memory = self.task, self.memory
        batch = task.walked.train.batch_size
        return {
            "recipe": task.name,
            "walked": task.walked.name,
            "missing": [_missing(lack, task, self.made) for lack in task.lacks],
            "seeded": dict(self.made),
            "left_out": list(self.left_out),
            "captioners": {name: dict(vars(one)) for name, one in self.captioners.items()},
            "one_real_layer": task.truncated,
            "layout_fault": self.layout_fault,
            "walked_s": round(self.walked_s, 1),
            "disk_bytes": self.disk_bytes,
            "peak_bytes": self.peak_bytes,
            "worker_peak_bytes": self.worker_peak_bytes,
            "rates": {name: _rounded(value) for name, value in vars(self.rates).items()},
            "here": None if self.here is None else {name: round(value, 1) for name, value in self.here.items()},
            "here_s": None if self.here is None else round(sum(self.here.values()), 1),
            "gpu_memory": None
            if memory is None
            else {
                "batch": batch,
                "batch_bytes": memory.of_batch(batch),
                "largest_batch": {gpu.name: memory.largest_batch(gpu) for gpu in self.table},
            },
            "gpus_computed": {name: {k: round(v, 1) for k, v in own.items()} for name, own in self.gpus.items()},
        }


def _rounded(value: float | bool) -> float | bool:
    return value if isinstance(value, bool) else round(value, 4)


def missing_bytes(lack: Lack, task: Task) -> int | None:
    """Bytes to download for what is missing, computed where nobody says; None where that is not known."""
    if lack.weights is None:
        return None
    if "backbone.source" in lack.problem.where and task.geometry is not None:
        return seeded.musicgen_bytes(task.geometry)
    return lack.weights.size_bytes


def _missing(lack: Lack, task: Task, made: Mapping[str, int]) -> dict[str, Any]:
    weights = lack.weights
    about = {"where": lack.problem.where, "what": lack.problem.wanted, "fix": lack.problem.fix}
    if weights is None:
        return about
    about |= {"name": weights.name, "source": weights.source, "licence": weights.licence}
    return about | {"bytes": missing_bytes(lack, task) or made.get(weights.name)}


def task_of(
    name: str, recipes: Sequence[Recipe], registry: Registry, lacks: Sequence[Lack], base: Data, *, table: bool
) -> Task:
    """What is to be rehearsed, and how much of the model fits into the memory that is free."""
    walked = max(recipes, key=lambda recipe: len(recipe.conditions))
    geometry = geometry_of(walked, registry)
    free = machine.free_bytes()
    needed = MEMORY_PER_BYTE * 4 * n_decoder(geometry) if geometry is not None else 0
    truncated = walked.backbone.kind != "plugin" and free is not None and needed > free
    here = clips_or_lack(walked, registry, lacks, train=bool(walked.conditions)) is not None
    data = walked.data if here else base
    return Task(name, tuple(recipes), table, tuple(lacks), data, geometry, truncated)


class _Few(DataSource):
    """The first clips of another source."""

    def __init__(self, source: DataSource, n_train: int, n_test: int) -> None:
        self.source, self.n = source, {"train": n_train, "test": n_test}

    def clips(self, split: Literal["train", "test"]) -> Sequence[Clip]:
        """As many as are wanted."""
        return self.source.clips(split)[: self.n[split]]


def _with_few(registry: Registry, data: Data, n_train: int, n_test: int) -> Registry:
    """The registry with the first clips of a data source only."""
    offer = registry.offer("data source", data.source)
    source = offer.spec.build(offer.spec.options(**data.options))
    few = replace(offer.spec, build=lambda options: _Few(source, n_train, n_test))
    offers = {**registry.offers("data source"), data.source: Offer(few, offer.distribution, offer.version)}
    return replace(registry, tables={**registry.tables, "data source": offers})


def _shortened(task: Task, recipe: Recipe, source: str | None, left_out: set[str], *, first: bool) -> Recipe:
    """A recipe as it is walked: few steps, what cannot be walked left out, a MusicGen of a seed in its place."""
    train: dict[str, Any] = {
        "epochs": None,
        "warmup_epochs": None,
        "warmup_steps": 0,
        "callbacks": [],
        "early_stopping": None,
    }
    train |= {"workers": 0, "sample_every_steps": 0, "steps": FIRST_STEPS if first else SECOND_STEPS}
    if first:
        train |= {"batch_size": 1, "accumulate": 1, "validation_clips": 0}
    evaluate: dict[str, Any] = {"outside": {}}
    evaluate["metrics"] = [name for name in recipe.evaluate.metrics if name not in left_out]
    if first:
        evaluate |= {"conditions": [recipe.joint_name or "text_only", "ground_truth"], "bootstrap": 100}
    changed: dict[str, Any] = {
        "data": task.data,
        "train": recipe.train.model_copy(update=train),
        "evaluate": recipe.evaluate.model_copy(update=evaluate),
    }
    if first:
        changed["generate"] = recipe.generate.model_copy(update={"samples": 1})
    if recipe.text.captioner in left_out:
        changed["text"] = recipe.text.model_copy(update={"captioner": None, "captioner_options": {}})
    if source is not None:
        changed["backbone"] = Backbone(source=source)
    return recipe.model_copy(update=changed)


def _left_out(task: Task, registry: Registry) -> set[str]:
    """Metrics and captioners whose weights are not here and cannot be made."""
    lost = {weights.name for weights in seeded.unseeded(task.lacks)}
    names = set()
    for recipe in task.recipes:
        for name in recipe.evaluate.metrics:
            spec = registry.metric(name)
            made = {weights.name for weights in spec.weights if weights.seeded}
            if any(not any(f" {own} " in f" {problem.wanted} " for own in made) for problem in spec.missing()):
                names.add(name)
        text = recipe.text
        if text.captioner is not None:
            captioner = registry.captioner(text.captioner)
            if any(w.name in lost for w in captioner.weights(captioner.options(**text.captioner_options))):
                names.add(text.captioner)
    return names


def _captioners(
    task: Task, registry: Registry, left_out: set[str], console: Console
) -> dict[str, tuple[CaptionerRehearsal, bool]]:
    """Captioners that are left out, as they rehearse themselves; and whether each describes training clips."""
    groups: dict[str, list[Recipe]] = {}
    for recipe in task.recipes:
        if (name := recipe.text.captioner) is not None and name in left_out:
            set_ = (f"{key} {value}" for key, value in recipe.text.captioner_options.items())
            groups.setdefault(", ".join([name, *set_]), []).append(recipe)
    spec = registry.data_source(task.data.source)
    clip = spec.build(spec.options(**task.data.options)).clips("test")[0]
    found: dict[str, tuple[CaptionerRehearsal, bool]] = {}
    for told, recipes in groups.items():
        console.print(f"rehearsing {escape(told)}", highlight=False)
        captioner = registry.captioner(told.partition(",")[0])
        options = captioner.options(**recipes[0].text.captioner_options)
        with contextlib.suppress(MediaError):  # a clip that it does not describe
            if (one := captioner.rehearse(options, clip)) is not None:
                found[told] = (one, any(recipe.conditions for recipe in recipes))
    clip.close()
    return found


@contextlib.contextmanager
def temporary(parent: Path | None) -> Iterator[Path]:
    """A folder that is gone at the end, however it comes."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="expotion-rehearsal-", dir=parent))
    except OSError as error:
        where = str(parent or tempfile.gettempdir())
        raise ExpotionError(Problem(where, "a folder to write to", str(error), "name one: --dir DIR")) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rehearse(
    task: Task, registry: Registry, console: Console, gpus: Sequence[Gpu], *, parent: Path | None = None
) -> Rehearsal:
    """Walk the stages in a temporary folder below `parent`, and tell what the whole run takes.

    Raises what a stage raises: that is what the rehearsal is for.
    """
    left_out = _left_out(task, registry)
    captioners = _captioners(task, registry, left_out, console)
    with temporary(parent) as folder, seeded.own_cache(folder) as cache:
        if shutil.disk_usage(folder).free < task.disk_bytes:
            wanted = f"{task.disk_bytes / 1e9:.1f} GB for the weights of a seed"
            raise ExpotionError(Problem(str(folder), wanted, "less", "name a folder with room: --dir DIR"))
        made = seeded.put_weights(task.lacks, cache)
        source = None
        if task.backbone_is_seeded:
            assert task.geometry is not None
            console.print("writing a MusicGen of a seed", highlight=False)
            name = task.walked.backbone.reference
            snapshot = seeded.write_musicgen(folder / "hub", name, task.real)
            made[name] = sum(path.stat().st_size for path in snapshot.iterdir())
            source = str(snapshot)
        heard, wall_s, walked, counts = _walk(
            task, registry, console, folder / "first", source, left_out, first=True
        )
        rates = rates_of(heard, wall_s, walked=walked, recipe=task.walked, **counts, whole=False)
        total_s = wall_s
        if sum(os.times()[:4]) <= QUICK_S:
            heard, wall_s, walked, counts = _walk(
                task, registry, console, folder / "second", source, left_out, first=False
            )
            rates = rates_of(heard, wall_s, walked=walked, recipe=task.walked, **counts, whole=True)
            total_s += wall_s
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    found = clips_or_lack(task.walked, registry, task.lacks, train=bool(task.walked.conditions))
    plans = tuple(plan_of(recipe, registry, found and _of(found, recipe)) for recipe in task.recipes)
    rates = _scaled(rates, task, plans[0])
    cells = list(zip(task.recipes, plans, strict=True))
    known = any(plan.clips["test"] for plan in plans)
    peaks = machine.peak_bytes()
    walked_plan = plans[task.recipes.index(task.walked)]
    return Rehearsal(
        task=task,
        plans=plans,
        rates=rates,
        walked_s=total_s,
        peak_bytes=peaks[0],
        worker_peak_bytes=peaks[1],
        disk_bytes=written,
        made=made,
        left_out=tuple(sorted(left_out - {name.partition(",")[0] for name in captioners})),
        layout_fault=seeded.checked_layout(task.geometry) if task.truncated and task.geometry else None,
        here=whole_run(
            rates,
            cells,
            counts["n_test"],
            n_probes=_n_probes(task, registry),
            table=task.table,
            captions=[(one.computed_caption_s, trained) for one, trained in captioners.values()],
        )
        if known
        else None,
        gpus={gpu.name: on_gpu(gpu, cells) for gpu in gpus} if known else {},
        memory=gpu_memory(task.walked, walked_plan),
        table=tuple(gpus),
        captioners={name: one for name, (one, _) in captioners.items()},
    )


def _n_probes(task: Task, registry: Registry) -> int:
    """Further clips that a run makes music for, beside the test: probes of the data source."""
    evaluate = task.walked.evaluate
    if not evaluate.probes or evaluate.conditions is not None:
        return 0
    spec = registry.data_source(task.data.source)
    source = spec.build(spec.options(**task.data.options))
    return sum(len(clips) for clips in source.probes(evaluate.probes).values())


def _of(found: Found, recipe: Recipe) -> Found:
    """What was found, for a recipe that may train on nothing."""
    return found if recipe.conditions else replace(found, clips={**found.clips, "train": 0})


def _walk(
    task: Task,
    registry: Registry,
    console: Console,
    folder: Path,
    source: str | None,
    left_out: set[str],
    *,
    first: bool,
) -> tuple[Heard, float, Recipe, dict[str, int]]:
    """One walk: what was heard, how long it took, the recipe as it was walked, and how many of what."""
    few = _with_few(registry, task.data, 1 if first else SECOND_CLIPS, 1 if first else SECOND_TEST)
    recipes = [_shortened(task, recipe, source, left_out, first=first) for recipe in task.recipes]
    walked = recipes[task.recipes.index(task.walked)]
    heard = Heard()
    with listening(heard):
        started = time.monotonic()
        if task.table:
            prepare(recipes, few, folder / "captions.json", console)
        run_recipe(recipe=walked, registry=few, out_dir=folder / "run", resume=None, console=console)
        wall_s = time.monotonic() - started
    source_ = few.data_source(task.data.source).build(None)
    n_test = len(source_.clips("test"))
    n_clips = n_test + (len(source_.clips("train")) if walked.conditions else 0)
    names = walked.evaluation_conditions()
    counts = {"n_clips": n_clips, "n_test": n_test, "n_sounds": n_test * len(names)}
    return heard, wall_s, walked, counts


def _scaled(rates: Rates, task: Task, plan: Plan) -> Rates:
    """Rates of one real layer as those of all: training by operations, making music by the weights read."""
    geometry = task.geometry
    if not task.truncated or geometry is None:
        return rates
    one, rows = replace(geometry, n_layers=1), plan.n_steps + 1
    block = task.walked.adaptor.prefix_block
    adapted = task.walked.adaptor.n_adapted(geometry.n_layers)
    trained = forward_flops(geometry, rows, adapted, block) / forward_flops(one, rows, 1, block)
    return replace(
        rates, step_s=rates.step_s * trained, piece_s=rates.piece_s * n_decoder(geometry) / n_decoder(one)
    )
