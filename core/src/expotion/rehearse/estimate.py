"""From what a walk took, and from operations and bytes that are counted, to the whole run: here and on GPUs.

Here: seconds per clip, step, piece and scored sound, as the stages told them while they ran, times how many
there will be. On a GPU: training by its operations, making music by the weights that every step reads; what the
processor does there (features) is not in it. Memory on a GPU: the frozen decoder in 16 bits, the adaptor with
gradient and both moments in float32, and what the backward pass keeps, measured on one and two layers of the
model's width.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from expotion.errors import ExpotionError, Problem
from expotion.machine.gpus import Gpu
from expotion.plugins import Registry
from expotion.recipe import Recipe
from expotion.recipe.plan import Plan, n_decoder
from expotion.recipe.schema import NOT_GENERATED
from expotion.recipe.tasks import TaskRecipe

LEFT_FREE = 0.92
"""Share of a GPU's memory that is taken."""
CODEC_BYTES = 4 * 60_000_000


class Heard:
    """Listens to the stages' progress: (seconds, title, done, total) of every word."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, int, int]] = []

    def __call__(self, title: str, done: int, total: int) -> None:
        """A word of a stage."""
        self.told.append((time.monotonic(), title, done, total))

    def of(self, title: str) -> list[tuple[float, int, int]]:
        """Times, done and total of a stage, its beginning and end among them."""
        return [(at, done, total) for at, name, done, total in self.told if name == title]

    def seconds(self, title: str) -> float:
        """How long a stage took, all its times together."""
        told = self.of(title)
        starts = [at for at, done, total in told if (done, total) == (0, 0)]
        ends = [at for at, done, _ in told if done == -1]
        return sum(end - start for start, end in zip(starts, ends, strict=False))

    def titles(self) -> list[str]:
        """Every stage that was heard of, in order."""
        return list(dict.fromkeys(name for _, name, _, _ in self.told))

    def pace(self, title: str) -> tuple[float, float]:
        """(seconds before the first things are done, seconds of one) of a stage, from when each was done."""
        told = self.of(title)
        counted = [(at, done) for at, done, _ in told if done > 0]
        if not counted:
            return self.seconds(title), 0.0
        start, n = told[0][0], counted[-1][1]
        (first_at, first), (last_at, last) = counted[0], counted[-1]
        if last == first:
            return 0.0, (last_at - start) / max(1, n)
        each = (last_at - first_at) / (last - first)
        return max(0.0, first_at - start - first * each), each


@dataclass(frozen=True)
class Rates:
    """Seconds of each part of a run as the walk had them. `whole`: it was walked with whole batches."""

    whole: bool
    load_s: float
    start_s: float
    clip_s: float
    stored_clip_s: float
    step_s: float
    validated_clip_s: float
    piece_start_s: float
    piece_s: float
    sound_s: float
    report_s: float
    other_s: float
    caption_s: float = 0.0


def rates_of(
    heard: Heard,
    wall_s: float,
    *,
    walked: Recipe,
    recipe: Recipe,
    n_clips: int,
    n_test: int,
    n_sounds: int,
    whole: bool,
) -> Rates:
    """Rates from what was heard of a walk of `walked`, which stands for `recipe`."""
    shared = "clips, shared" in heard.titles()
    start_s, clip_s = heard.pace("clips, shared" if shared else "clips")
    steps = [at for at, done, _ in heard.of("training") if done > 0]
    gaps = [after - before for before, after in pairwise(steps)]
    step_s = validated_s = 0.0
    if gaps:
        gap = statistics.median(gaps[:-1] or gaps)
        step_s = gap * recipe.train.clips_per_step / walked.train.clips_per_step  # a first walk's batch is one clip
        n_validated = walked.train.n_validated(n_clips - n_test)
        validated_s = max(0.0, gaps[-1] - gap) / n_validated if n_validated else 0.0
    before_s, piece_s = heard.pace("generation")
    told = ["load models", "clips", "clips, shared", "captions", "captions, shared"]
    told += ["training", "generation", "evaluation", "report"]
    return Rates(
        whole=whole,
        load_s=heard.seconds("load models"),
        start_s=start_s,
        clip_s=clip_s,
        stored_clip_s=heard.seconds("clips") / max(1, n_clips) if shared else 0.0,
        step_s=step_s,
        validated_clip_s=validated_s,
        piece_start_s=before_s,
        piece_s=piece_s,
        sound_s=heard.seconds("evaluation") / max(1, n_sounds),
        report_s=heard.seconds("report"),
        other_s=max(0.0, wall_s - sum(heard.seconds(title) for title in told)),
        caption_s=(heard.seconds("captions") + heard.seconds("captions, shared")) / max(1, n_clips),
    )


def whole_run(
    rates: Rates,
    cells: Sequence[tuple[Recipe, Plan]],
    n_walked: int,
    *,
    n_probes: int = 0,
    table: bool,
    captions: Sequence[tuple[float, bool]] = (),
) -> dict[str, float]:
    """Seconds of each part of the whole run here, by name. `n_walked`: test clips of the walk; `captions`: of each
    captioner that was not walked the seconds of one, and whether training clips get one, too."""
    n_train = max(plan.clips["train"] for _, plan in cells)
    n_test = max(plan.clips["test"] for _, plan in cells)
    n_clips = n_test + (n_train if any(recipe.conditions for recipe, _ in cells) else 0)
    found = dict.fromkeys(
        ("load", "clips", "captions", "training", "generation", "evaluation", "report", "other"), 0.0
    )
    found["clips"] = rates.start_s + (n_clips + n_probes) * rates.clip_s
    found["captions"] = rates.caption_s * n_clips * any(recipe.text.captioner for recipe, _ in cells)
    found["captions"] += sum(caption_s * (n_clips if trained else n_test) for caption_s, trained in captions)
    for recipe, plan in cells:
        names = recipe.evaluation_conditions()
        pieces = n_test * len(set(names) - {*NOT_GENERATED}) + (n_probes if recipe.conditions else 0)
        steps, train = plan.train_steps, recipe.train
        validated = train.n_validated(plan.clips["train"])
        found["load"] += rates.load_s
        found["clips"] += rates.stored_clip_s * (n_clips if recipe.conditions else n_test)
        found["training"] += steps * rates.step_s
        if steps and validated:
            found["training"] += (steps // train.validate_every_steps + 1) * validated * rates.validated_clip_s
        found["generation"] += rates.piece_start_s + pieces * rates.piece_s
        found["evaluation"] += n_test * len(names) * rates.sound_s
        found["report"] += rates.report_s
        found["other"] += rates.other_s * n_test / max(1, n_walked)
    if table:  # every row is scored once more, beside what needs no model
        found["evaluation"] += n_test * (2 * len(cells) + 3) * rates.sound_s
    return found


def on_gpu(gpu: Gpu, cells: Sequence[tuple[Recipe, Plan]]) -> dict[str, float]:
    """Seconds of training and of making music on a GPU, computed."""
    train = sum(gpu.seconds(plan.train_flops or 0.0) for _, plan in cells)
    made = sum(gpu.seconds(plan.generate_flops or 0.0, plan.generate_bytes) for _, plan in cells)
    return {"training": train, "generation": made}


@dataclass(frozen=True)
class GpuMemory:
    """Bytes on a GPU in training: what is there anyway, and what each clip of a batch adds."""

    fixed_bytes: int
    clip_bytes: int

    def of_batch(self, batch: int) -> int:
        """Bytes for a batch."""
        return self.fixed_bytes + batch * self.clip_bytes

    def largest_batch(self, gpu: Gpu) -> int:
        """Clips of the largest batch that fits; 0 where none does."""
        return max(0, int((LEFT_FREE * gpu.memory_gb * 1e9 - self.fixed_bytes) // self.clip_bytes))


def cost_of_task(recipe: TaskRecipe, registry: Registry, table: Sequence[Gpu]) -> dict[str, Any]:
    """What the training of a task takes on each GPU, computed. Raises ExpotionError where the task does not say."""
    spec = registry.offer("task", recipe.task).spec
    if spec.cost is None:
        fix = "`recipe check` shows its stages"
        raise ExpotionError(Problem(f"task {recipe.task!r}", "a task that says what it costs", "none", fix))
    cost, train = spec.cost(spec.options(**recipe.options)), recipe.train
    memory = GpuMemory(2 * cost.n_frozen + 4 * cost.n_trained * (5 if train.ema else 4), cost.clip_bytes)
    flop = cost.clip_flop * train.steps * train.clips_per_step
    return {
        "steps": train.steps,
        "clips_per_step": train.clips_per_step,
        "frozen": cost.n_frozen,
        "trained": cost.n_trained,
        "batch": train.batch_size,
        "memory_bytes": memory.of_batch(train.batch_size),
        "gpus": {
            gpu.name: {"training_s": gpu.seconds(flop), "largest_batch": memory.largest_batch(gpu)} for gpu in table
        },
    }


def gpu_memory(recipe: Recipe, plan: Plan) -> GpuMemory | None:
    """Memory of training on a GPU; None where nothing is trained or the backbone's sizes are not known."""
    geometry = plan.geometry
    if geometry is None or not plan.conditions:
        return None
    kept = [kept_bytes(recipe, plan, n) for n in (1, 2)]
    layer = kept[1] - kept[0]
    adapted = plan.n_adapted or geometry.n_layers
    clip = kept[0] + (adapted - 1) * layer
    trainable = 4 * (plan.trainable or 0) * (5 if recipe.train.ema else 4)
    return GpuMemory(2 * n_decoder(geometry) + CODEC_BYTES + trainable, clip)


def kept_bytes(recipe: Recipe, plan: Plan, n_layers: int) -> int:
    """Bytes that a forward pass of one clip keeps for the backward one, of a model of `n_layers` real layers."""
    import torch  # noqa: PLC0415

    from expotion.adaptor.adaptor import Adaptor  # noqa: PLC0415
    from expotion.adaptor.config import AdaptorConfig, Modality  # noqa: PLC0415
    from expotion.musicgen.decoder import MusicGenLM  # noqa: PLC0415
    from expotion.musicgen.geometry import LMGeometry  # noqa: PLC0415
    from expotion.train.examples import Examples  # noqa: PLC0415
    from expotion.train.objective import SteeredLoss  # noqa: PLC0415

    g = plan.geometry
    assert g is not None
    settings, t = recipe.adaptor, min(recipe.train.stretch_frames or plan.n_steps, plan.n_steps)
    config = AdaptorConfig(
        tuple(Modality(c.name, c.width, c.rank, null=settings.null) for c in plan.conditions),
        width=g.width,
        n_lm_layers=n_layers,
        n_adapted=n_layers,
        max_rows=(settings.position_rows or t + 1) if settings.needs_rows else None,
        **settings.choices(),
    )
    sizes = LMGeometry(g.width, n_layers, g.n_heads, 4 * g.width, g.n_codebooks, g.card, 768)
    lm, adaptor = MusicGenLM(sizes).to(torch.bfloat16), Adaptor(config)
    held: dict[int, int] = {}
    frozen = {tensor.untyped_storage().data_ptr() for tensor in [*lm.parameters(), *adaptor.parameters()]}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    names = [c.name for c in plan.conditions]
    batch = Examples(
        torch.zeros(1, g.n_codebooks, t, dtype=torch.int64),
        torch.tensor([t]),
        torch.zeros(1, 16, 768),
        torch.ones(1, 16, dtype=torch.bool),
        {c.name: torch.zeros(1, t + 1, c.width) for c in plan.conditions},
        {c.name: torch.ones(1, t + 1, dtype=torch.bool) for c in plan.conditions},
    )
    ones = {name: torch.ones(1) for name in names}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        SteeredLoss(lm, adaptor, recompute=recipe.train.recompute_activations).of(
            batch, batch.codes, torch.ones(1, t, dtype=torch.bool), ones, torch.ones(1, dtype=torch.bool)
        )
    return sum(held.values())
