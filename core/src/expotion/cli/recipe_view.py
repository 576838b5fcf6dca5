"""What `expotion recipe check` and `recipe run` print, of one run and of a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from expotion import machine
from expotion.errors import listed
from expotion.machine import gpus
from expotion.plugins import Registry
from expotion.progress import columns, rough_time
from expotion.recipe import Recipe
from expotion.recipe.lacks import Lack
from expotion.recipe.plan import Plan

if TYPE_CHECKING:
    from expotion.matrix.declare import Matrix
    from expotion.rehearse.walk import Rehearsal, Task

A_DAY_S = 86_400.0
SHOWN = 4
"""Cells that a line names."""


def print_plan(recipe: Recipe, plan: Plan, registry: Registry, lacks: Sequence[Lack] = ()) -> None:
    """Print each stage with its shapes and rates, the trainable parameters, and the rough cost.

    That the recipe is in order is said where a run lacks nothing here.
    """
    console = Console(highlight=False, soft_wrap=not Console().is_terminal)
    console.print(f"[bold]{escape(recipe.name)}[/bold] {escape(recipe.description)}")
    table = columns("stage", "what", "shape and rate")
    for stage, what, shape in _rows(recipe, plan):
        table.add_row(stage, escape(what), escape(shape))
    console.print(table)
    versions = ", ".join(f"{name} {version}" for name, version in recipe.versions.items())
    console.print(f"versions: {escape(versions)}")
    _in_order(console, registry, lacks)


def _rows(recipe: Recipe, plan: Plan) -> list[tuple[str, str, str]]:
    clips = ", ".join(f"{count} {split} clips" for split, count in plan.clips.items() if count)
    rows = [("data", recipe.data.source, f"{clips} of up to {plan.clip_s:g} s")]
    geometry = plan.geometry
    if geometry is None:
        rows.append(("backbone", recipe.backbone.source, "sizes are read once its weights are here"))
    else:
        sizes = f"width {geometry.width}, {geometry.n_layers} layers, {geometry.n_heads} heads"
        codes = f"codes [{geometry.n_codebooks}, {plan.n_steps}] of {geometry.card} at {geometry.rate_hz:g} Hz"
        rows.append(("backbone", recipe.backbone.source, f"{sizes}; {codes}"))
    prompt = "each clip's caption" if recipe.text.fixed_prompt is None else repr(recipe.text.prompt)
    rows.append(("text", recipe.text.encoder, f"{prompt}, to cross-attention"))
    n_rows = plan.n_steps + 1
    for condition in plan.conditions:
        native = f"[n, {condition.width}]" + (f" at {condition.rate_hz:g} Hz" if condition.rate_hz else "")
        smooth = f"smooth [{n_rows}, {condition.width}]"
        shapes = f"{native} -> {smooth} -> project [{n_rows}, {condition.rank}]"
        if condition.strength != 1.0:
            shapes += f", strength {condition.strength:g}"
        rows.append((f"condition {condition.name}", condition.encoder, shapes))
    rows.append(("adaptor", *_adaptor(recipe, plan, n_rows)))
    train = recipe.train
    work = f"{plan.train_steps} steps of {train.clips_per_step} clips" if plan.conditions else "nothing to train"
    if train.epochs is not None and plan.conditions:
        work = f"{train.epochs:g} epochs, {work}"
    if plan.train_flops and plan.train_seconds:
        work += f"; about {plan.train_flops / 1e12:.2g} TFLOP, {_estimate(plan.train_seconds, plan.train_flops)}"
    rows.append(("train", f"seed {recipe.train_seed}", work))
    generate = recipe.generate
    sampling = f"guidance {generate.cfg_scale:g}, top-k {generate.top_k}, temperature {generate.temperature:g}"
    if plan.generate_seconds and plan.clips["test"]:
        told = _estimate(plan.generate_seconds, plan.generate_flops, plan.generate_bytes)
        sampling += f"; all test clips {told}"
    rows.append(("generate", f"seed {recipe.generate_seed}", sampling))
    conditions = ", ".join(recipe.evaluation_conditions())
    rows.append(("evaluate", ", ".join(recipe.evaluate.metrics), f"on {conditions}"))
    return rows


def _adaptor(recipe: Recipe, plan: Plan, n_rows: int) -> tuple[str, str]:
    adaptor = recipe.adaptor
    what = f"{adaptor.prefix_attention} prefix, {adaptor.positions} positions, {adaptor.fusion} fusion"
    if not plan.conditions:
        return "none", "no conditions: the frozen backbone"
    rank = sum(condition.rank for condition in plan.conditions)
    if plan.geometry is None or plan.trainable is None:
        return what, f"z [{n_rows}, {rank}], layers {adaptor.layers}"
    prefix = f"prefix [{n_rows}, {plan.geometry.width}] in the last {plan.n_adapted} layers"
    shape = f"z [{n_rows}, {rank}] -> {prefix}"
    return what, f"{shape}; {plan.trainable:,} trainable parameters"


def print_matrix(matrix: Matrix, registry: Registry, lacks: Sequence[Lack] = ()) -> None:
    """The plan: what is shared, the cells, and the estimated time and disk."""
    from expotion.matrix.cost import cost_of

    console = Console(highlight=False, soft_wrap=not Console().is_terminal)
    cost, cores = cost_of(matrix, registry, lacks), machine.cores()
    console.print(f"[bold]{escape(matrix.name)}[/bold] {escape(matrix.description)}")
    shared = columns("made once", "for", f"estimate, {cores} cores")
    for part in cost.shared:
        shared.add_row(escape(part.what), escape(listed(part.cells, SHOWN)), _wall_time(part.seconds, cores))
    console.print(shared)
    console.print()
    table = columns("cell", "what", "train", "generate", "disk")
    for cell, own in zip(cost.cells, matrix.cells, strict=True):
        table.add_row(
            escape(cell.name),
            escape(own.recipe.description),
            f"{cell.train_steps} steps, {_wall_time(cell.train_s, cores)}" if cell.train_steps else "-",
            _wall_time(cell.generate_s, cores),
            f"{cell.disk_bytes / 1e6:.0f} MB",
        )
    console.print(table)
    total = cost.minutes(cores)
    told = "the time cannot be estimated" if total is None else f"about {total:.0f} min on {cores} cores"
    console.print(
        f"\n{len(matrix.cells)} cells in {len(matrix.rows)} rows; estimate: {told}, "
        f"{cost.disk_bytes / 1e6:,.0f} MB of disk ({cost.feature_bytes / 1e6:,.0f} MB of them in the cache)"
    )
    if matrix.spec.reference_row is not None:
        console.print(f"compared with: {escape(matrix.spec.reference_row)}")
    for name, folder in matrix.outside.items():
        console.print(f"from outside: {escape(name)} in {escape(str(folder))}")
    _in_order(console, registry, lacks)


def _in_order(console: Console, registry: Registry, lacks: Sequence[Lack]) -> None:
    for plugin in registry.broken:
        console.print(f"[yellow]skipped, broken: {escape(f'{plugin.distribution}: {plugin.error}')}[/yellow]")
    for lack in lacks:
        if lack.fetched:
            console.print(f"[yellow]not here:[/yellow] {escape(str(lack.problem))}", soft_wrap=True)
    left = sum(not lack.fetched for lack in lacks)
    if not left:
        console.print("[green]The recipe is in order.[/green]")
        return
    if any(lack.weights is None and "data." in lack.problem.where for lack in lacks):
        console.print("Counts and times are those of no clips: the data are not here.")
    console.print(f"[yellow]The recipe is in order; {left} things that a run needs are not here:[/yellow]")


def _estimate(seconds: float, flops: float | None, n_bytes: float = 0.0) -> str:
    """Rough time on two CPU cores, or on a GPU, by its name, where that would be days."""
    if seconds < A_DAY_S:
        return f"about {rough_time(seconds)} on two CPU cores"
    return f"about {rough_time(gpus.NAMED.seconds(flops or 0.0, n_bytes))} on one {gpus.NAMED.name} (computed)"


def _wall_time(seconds: float | None, cores: int) -> str:
    """Processor seconds as wall time on some cores."""
    return "not measured" if seconds is None else rough_time(seconds / max(1, cores))


# A rehearsal


def print_before(task: Task, console: Console) -> None:
    """What is missing, and what a rehearsal will write."""
    from expotion.rehearse.walk import missing_bytes

    console.print(f"[bold]{escape(task.name)}[/bold], rehearsed", highlight=False)
    for lack in task.lacks:
        told, weights = escape(str(lack.problem)), lack.weights
        if weights is not None:
            n_bytes = missing_bytes(lack, task)
            told += f" [dim]({_size(n_bytes) if n_bytes else 'size known after the download'})[/dim]"
        console.print(f"[yellow]missing[/yellow] {told}", highlight=False, soft_wrap=True)
    if task.truncated:
        what = f"{escape(task.walked.backbone.source)} does not fit into the memory that is free"
        console.print(f"{what}: one real layer, and the whole on torch's device meta", highlight=False)
    if task.data != task.walked.data:
        console.print(f"clips of {escape(task.data.source)} stand in for those that are not here", highlight=False)
    text = f"writes up to {_size(task.disk_bytes)} of temporary files, removed at the end"
    console.print(text, highlight=False)


def print_cost(cost: Mapping[str, Any], console: Console) -> None:
    """What the training of a task takes on GPUs."""
    sizes = f"{cost['frozen']:,} frozen and {cost['trained']:,} trained parameters"
    steps = f"{cost['steps']} steps of {cost['clips_per_step']} clips"
    console.print(f"{sizes}; {steps}", highlight=False, soft_wrap=True)
    table = columns("GPU", "training", "largest batch")
    for name, told in cost["gpus"].items():
        fits = told["largest_batch"] > 0
        table.add_row(escape(name), rough_time(told["training_s"]) if fits else "-", str(told["largest_batch"]))
    console.print("computed from operations and bytes at the real sizes, nothing was run:", highlight=False)
    console.print(table)
    told_ = f"training in batches of {cost['batch']} takes {_size(cost['memory_bytes'])} on a GPU"
    console.print(told_, highlight=False)


def print_rehearsal(found: Rehearsal, console: Console) -> None:
    """What was walked, what it took, and what the whole run will take."""
    for name, n_bytes in found.made.items():
        console.print(f"weights of a seed: {escape(name)}, {_size(n_bytes)}", highlight=False)
    if found.left_out:
        console.print(f"not walked, for want of weights: {escape(', '.join(found.left_out))}", highlight=False)
    if found.task.truncated:
        fits = "its layout loads" if found.layout_fault is None else f"it does not load: {found.layout_fault}"
        console.print(
            f"one layer was real; the whole model on torch's device meta: {escape(fits)}", highlight=False
        )
    for name, one in found.captioners.items():
        real = ", ".join(f"one of {n} layers of {kind}" for kind, n in one.layers.items())
        whole = f"the whole, {_size(one.n_bytes)}, on torch's device meta: {one.fault or 'as published'}"
        text = f"captioner {name}: {real}; {whole}; at most {rough_time(one.computed_caption_s)} a clip (computed)"
        console.print(escape(text), highlight=False, soft_wrap=True)
    workers = f", {_size(found.worker_peak_bytes)} at most in a process beside" if found.worker_peak_bytes else ""
    console.print(
        f"walked in {rough_time(found.walked_s)}; memory {_size(found.peak_bytes)}{workers}; "
        f"disk {_size(found.disk_bytes)}",
        highlight=False,
        soft_wrap=True,
    )
    rates = found.rates
    each = f"per clip {rates.clip_s:.2f} s, per step {rates.step_s:.2f} s, per piece {rates.piece_s:.2f} s"
    console.print(f"here: {each}", highlight=False, soft_wrap=True)
    if found.here is None:
        fix = "give the clips, or their number as the data source's options"
        console.print(f"[yellow]the whole run cannot be told without the number of clips: {fix}[/yellow]")
    else:
        parts = ", ".join(f"{name} {rough_time(value)}" for name, value in found.here.items() if value >= 1.0)
        most = "" if rates.whole else " at most"
        total = rough_time(sum(found.here.values()))
        console.print(f"the whole run here:{most} {total} ({parts})", highlight=False, soft_wrap=True)
    table = columns("GPU", "training", "making music", "largest batch", "memory")
    for gpu in found.table:
        memory, told = found.memory, found.gpus.get(gpu.name, {})
        table.add_row(
            escape(gpu.name),
            rough_time(told["training"]) if told else "-",
            rough_time(told["generation"]) if told else "-",
            "-" if memory is None else str(memory.largest_batch(gpu)),
            f"{gpu.memory_gb:g} GB",
        )
    console.print("\ncomputed from operations and bytes, not measured; features are the processor's and not in it:")
    console.print(table)
    if found.memory is not None:
        batch = found.task.walked.train.batch_size
        told_ = f"training in batches of {batch} takes {_size(found.memory.of_batch(batch))} on a GPU"
        console.print(told_, highlight=False)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
