"""The whole training loop, without Ray: one step is `Loop.step`, read it from top to bottom.

Each step is a pure function of (weights, optimiser state, step number): batches, swaps and dropout are drawn
from a generator seeded by (seed, step). A run resumed from a checkpoint is therefore the uninterrupted run, and
several workers, which all make the same draw and compute their parts of it, are one worker with a larger batch.
"""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor, parameter_groups
from expotion.contracts import Objective, Workers
from expotion.errors import ExpotionError, OutputError, Problem
from expotion.machine import Heap
from expotion.musicgen.decoder import MusicGenLM
from expotion.recipe.schema import Train
from expotion.train.checkpoints import Keeper
from expotion.train.draw import Draw, draw_foreign, draw_step, swap_context
from expotion.train.examples import Examples, with_ends
from expotion.train.objective import SteeredLoss, count_scored
from expotion.train.world import World, share

log = logging.getLogger("expotion")
Record = dict[str, Any]
LARGEST_SCALE = 2.0**24
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Loop:
    """A training run: what is trained, its optimiser and where it stands.

    `objective` is all that it knows of what is learned; `keeper` holds checkpoints (None: none); `world` is who
    else works on this run; `warn` is told what went wrong without ending it.
    """

    def __init__(
        self,
        objective: Objective,
        settings: Train,
        *,
        keeper: Keeper | None = None,
        trace: str = "",
        world: World | None = None,
        warn: Callable[[str], None] = log.warning,
    ) -> None:
        self.objective, self.settings = objective, settings
        self.trained = objective.trained
        self.keeper = keeper
        self.trace = trace
        self.world = world or World()
        self.warn = warn
        self.loss_scale = LossScale() if objective.computed_in == torch.float16 else None
        self.optimizer = AdamW(
            [
                {"params": list(parameters), "name": name, "lr": getattr(settings.learning_rate, name)}
                for name, parameters in objective.rate_groups().items()
            ],
            betas=(settings.betas[0], settings.betas[1]),
            weight_decay=settings.weight_decay,
        )
        self.average = _copy_of(self.trained) if settings.ema else None
        self.best: dict[str, Tensor] | None = None
        self.best_loss, self.best_step = math.inf, 0
        self.step_number = 0
        self.whole = True
        """False while weights, step number and records do not belong together."""
        self.stopped_early = False
        self.records: list[Record] = []
        self.notes: list[str] = []

    # ------------------------------------------------------------------------------------------- one step

    def step(self) -> Record:
        """One optimisation step: draw, forward and backward over this worker's parts, sum, clip, update."""
        s, settings = self.step_number, self.settings
        started = time.perf_counter()
        draw = self.objective.draw(s)
        factor = self._rate_factor(s)
        for group in self.optimizer.param_groups:
            group["lr"] = getattr(settings.learning_rate, group["name"]) * factor

        self.optimizer.zero_grad(set_to_none=True)
        scale = 1.0 if self.loss_scale is None else self.loss_scale.value
        total = torch.zeros(())
        for number in share(settings.n_parts, self.world):
            loss = self.objective.part_loss(draw, number)
            if loss.requires_grad:  # not where no clip of the batch has anything active
                (loss * scale).backward()
            total += loss.detach().cpu()
        self._sum_over_workers(total, scale)
        norm = torch.nn.utils.clip_grad_norm_(self.trained.parameters(), settings.clip_norm or math.inf)
        finite = bool(torch.isfinite(norm))
        if self.loss_scale is not None:
            self.loss_scale.update(finite=finite)
        if not finite and scale == 1.0:
            got = f"gradient norm {float(norm)} (loss {float(total)})"
            fix = "lower train.learning_rate or set train.precision to fp32"
            raise ExpotionError(Problem(f"training step {s}", "finite gradients", got, fix))
        self.whole = False
        if finite:
            self.optimizer.step()
            self._update_average()
        self.step_number += 1
        return {
            "step": s,
            "loss": float(total),
            "learning_rate": settings.learning_rate.project * factor,
            "gradient_norm": float(norm),
            "step_s": time.perf_counter() - started,
            **self.objective.record(),
            **({} if self.loss_scale is None else {"loss_scale": scale, "left_out": not finite}),
        }

    def _rate_factor(self, step: int) -> float:
        settings = self.settings
        if settings.schedule == "constant":
            return 1.0
        return warmup_cosine(step, settings.steps, settings.warmup_steps, settings.final_learning_rate_ratio)

    def _sum_over_workers(self, total: Tensor, scale: float) -> None:
        """Gradients and loss summed over the workers; a parameter that no worker used keeps no gradient."""
        parameters = [p for p in self.trained.parameters() if p.requires_grad]
        if self.world.size > 1:
            used = torch.tensor([float(p.grad is not None) for p in parameters])
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self.world.sum_([p.grad for p in parameters if p.grad is not None] + [used, total])
            for parameter, anywhere in zip(parameters, used.tolist(), strict=True):
                if not anywhere:
                    parameter.grad = None
        if scale != 1.0:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad /= scale

    def _update_average(self) -> None:
        if self.average is None or self.settings.ema is None:
            return
        # A short run must not be dominated by its start: the horizon grows with the steps done.
        decay = min(self.settings.ema, (1 + self.step_number) / (10 + self.step_number))
        with torch.no_grad():
            for name, parameter in self.trained.named_parameters():
                self.average[name].lerp_(parameter, 1.0 - decay)

    # ------------------------------------------------------------------------------------- the whole run

    def run(self) -> Generator[Record, None, None]:
        """Steps from where the run stands to its end, yielding a record per step; checkpoints on the way.

        On KeyboardInterrupt a checkpoint of the last whole step is written before it is passed on; where the
        interruption tore a step apart, the last checkpoint on disk stays the newest.
        """
        settings, heap = self.settings, Heap()
        try:
            while self.step_number < settings.steps and not self.stopped_early:
                record = self.step()
                heap.after_step()
                last = self.step_number == settings.steps
                if last or record["step"] % settings.validate_every_steps == 0:
                    record |= self.objective.validate(self.world)
                    last |= self._stop_early(record)
                self.records.append(record)
                self.whole = True
                if self.step_number % settings.checkpoint_every_steps == 0 or last:
                    self.save()
                yield record
        except KeyboardInterrupt:
            self.save()
            raise

    def _stop_early(self, record: Record) -> bool:
        """Remember the best weights; true once they have been the best for too long."""
        rule = self.settings.early_stopping
        if rule is None or "validation_loss" not in record:
            return False
        if record["validation_loss"] < self.best_loss - rule.min_improvement:
            self.best_loss, self.best_step = record["validation_loss"], self.step_number
            kept = _copy_of(self.trained) if self.average is None else self.average
            self.best = {name: tensor.clone() for name, tensor in kept.items()}
        self.stopped_early = self.step_number - self.best_step >= rule.patience_steps
        return self.stopped_early

    def finish(self) -> torch.nn.Module:
        """What was trained: the best weights with early stopping, the averaged ones if an average is kept."""
        chosen = self.best if self.best is not None else self.average
        if chosen is not None:
            with torch.no_grad():
                for name, parameter in self.trained.named_parameters():
                    parameter.copy_(chosen[name])
        return self.trained

    # ---------------------------------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """Worker 0 keeps a checkpoint (nothing without a keeper, or if an interruption tore the step apart).

        A disk without room is no reason to stop: it is said, checkpoints before stay, training goes on.
        """
        if self.keeper is None or self.world.rank != 0 or self.step_number == 0 or not self.whole:
            return
        try:
            self.keeper.save(self.step_number, *self.state())
        except OutputError as error:
            self.warn(f"training goes on without a checkpoint of step {self.step_number}: {error}")

    def resume(self) -> bool:
        """Continue from the newest intact checkpoint of the same run; false if there is none."""
        found = None if self.keeper is None else self.keeper.load()
        if self.keeper is None or found is None:
            return False
        tensors, state, notes = found
        self.notes += notes
        if state.get("trace") != self.trace:
            self.notes.append("the checkpoints belong to other settings; training starts anew")
            self.keeper.clear()
            return False
        before = state.get("computed_in", self._computed_in)
        if before != self._computed_in:
            self.notes.append(
                f"the steps before were computed in {before}, those from here on in {self._computed_in}"
            )
        self.put_back(tensors, state)
        return True

    @property
    def _computed_in(self) -> str:
        return str(self.objective.computed_in).removeprefix("torch.")

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name and a JSON object: everything that the next step depends on."""
        tensors = {f"adaptor.{name}": tensor for name, tensor in self.trained.state_dict().items()}
        for name, parameter in self.trained.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        for prefix, copies in (("average", self.average), ("best", self.best)):
            tensors |= {f"{prefix}.{name}": tensor for name, tensor in (copies or {}).items()}
        numbers: dict[str, Any] = {"trace": self.trace, "records": self.records, "computed_in": self._computed_in}
        if self.best is not None:
            numbers["best"] = {"loss": self.best_loss, "step": self.best_step, "stopped": self.stopped_early}
        if self.loss_scale is not None:
            numbers["loss_scale"] = asdict(self.loss_scale)
        return {name: tensor.detach().cpu() for name, tensor in tensors.items()}, numbers

    def put_back(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Go where `state` was taken, bit for bit; `numbers` with the `step` that a checkpoint adds."""
        device = next(self.trained.parameters()).device
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.trained.load_state_dict(_below("adaptor.", tensors))
        for name, parameter in self.trained.named_parameters():
            names = {key: f"optimizer.{key}.{name}" for key in _MOMENTS}
            moments = {key: tensors[full].clone() for key, full in names.items() if full in tensors}
            if moments:
                moments["step"] = moments["step"].cpu()  # where AdamW keeps it
                self.optimizer.state[parameter] = moments
        if self.average is not None:
            self.average = _below("average.", tensors)
        if best := numbers.get("best"):
            self.best = _below("best.", tensors)
            self.best_loss, self.best_step = float(best["loss"]), int(best["step"])
            self.stopped_early = bool(best["stopped"])
        if self.loss_scale is not None and "loss_scale" in numbers:
            self.loss_scale = LossScale(**numbers["loss_scale"])
        self.step_number = int(numbers["step"])
        self.records, self.whole = list(numbers["records"]), True


@dataclass
class SteeredMusic:
    """The objective of an adaptor: the next codes of a clip, given its controls, under the frozen decoder.

    `lm` is the decoder in the dtype to compute in; `trained`, the adaptor, stays float32. `validation` is scored
    with the right controls and with those of the neighbouring clip: the difference is what the controls are worth.
    """

    lm: MusicGenLM
    trained: Adaptor
    examples: Examples
    settings: Train
    seed: int
    validation: Examples | None = None

    def __post_init__(self) -> None:
        if len(self.examples) == 0:
            raise ExpotionError(Problem(where="train", wanted="at least one training clip", got="none"))
        if self.validation is not None and not len(self.validation):
            self.validation = None
        self.loss = SteeredLoss(self.lm, self.trained, recompute=self.settings.recompute_activations)

    @property
    def computed_in(self) -> torch.dtype:
        """That of the decoder."""
        return self.lm.dtype

    def rate_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Projections, gates and the rest."""
        return parameter_groups(self.trained)

    def draw(self, step: int) -> tuple[Draw, int]:
        """The draw of all clips of a step, and the number of codes that are scored in it."""
        draw = draw_step(self.examples, self.loss.names, self.settings, self.seed, step)
        return draw, draw.n_scored(self.examples, self.lm.geometry.delays)

    def part_loss(self, draw: tuple[Draw, int], number: int) -> Tensor:
        """Loss of one batch of the step's clips, with other clips' codes where the draw swaps them in."""
        every, n_scored = draw
        part = every.part(number, self.settings.batch_size)
        start, length = part.start, part.foreign.shape[1]
        batch = self.examples.take(part.index).stretch(start, length)
        known, special = self.examples, self.lm.geometry.special_token
        donors = with_ends(known.codes[part.donors], known.n_frames[part.donors], special)
        donors = donors[..., start : start + length]
        codes = swap_context(with_ends(batch.codes, batch.n_frames, special), donors, part.foreign)
        scored = part.scored(known)
        return self.loss.of(batch, codes, scored, part.keep, part.with_text, n_scored=n_scored, start=start)

    def validate(self, world: Workers) -> dict[str, float]:
        """See `validate`."""
        return validate(self, world)

    def record(self) -> dict[str, Any]:
        """The gates."""
        return {"gates": [round(float(gate), 5) for gate in self.trained.gates.detach()]}


class AdamW(torch.optim.AdamW):
    """torch's own; its methods as they are below what tells torch's compiler of them, which loads it."""

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def _copy_of(trained: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trained.named_parameters()}


def warmup_cosine(step: int, n_steps: int, warmup_steps: int, floor: float = 0.0) -> float:
    """Factor on the learning rate, 0..1, for step 0..n_steps-1.

    During warm-up (step + 1) / (warmup + 1), so that no step is wasted on a rate of zero; then
    floor + (1 - floor) (1 + cos(pi p)) / 2 with p the fraction of the remaining steps that is done.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, n_steps - warmup_steps)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


@dataclass
class LossScale:
    """Factor on the loss in half precision, whose gradients would otherwise vanish; divided out of them afterwards.

    Halved after a step with infinite gradients, which is left out; doubled after `patience` good ones. Plain
    numbers, so that a checkpoint can hold them and a resumed run goes on exactly. (torch.amp.GradScaler is
    for one optimiser on one device and keeps its state there.)
    """

    value: float = 2.0**16
    patience: int = 200
    good_steps: int = 0

    def update(self, *, finite: bool) -> None:
        """Tell how a step ended."""
        if not finite:
            self.value, self.good_steps = max(1.0, self.value / 2.0), 0
            return
        self.good_steps += 1
        if self.good_steps >= self.patience:
            self.value, self.good_steps = min(LARGEST_SCALE, self.value * 2.0), 0


@torch.no_grad()
def validate(music: SteeredMusic, world: Workers) -> dict[str, float]:
    """Losses in nats per code over the validation clips, swapped in the same places each time; {} without any.

    `validation_loss` with the right controls; `baseline_loss` without controls; `control_gain`: loss with the
    neighbouring clip's controls minus loss with the right ones. In batches, which the workers share out.
    """
    clips = music.validation
    if clips is None:
        return {}
    n, settings, special = len(clips), music.settings, music.lm.geometry.special_token
    rng = np.random.default_rng((music.seed, 2))
    foreign = draw_foreign(n, clips.codes.shape[-1], settings.context_swap, rng)
    real = torch.arange(clips.codes.shape[-1])[None, :] < clips.n_frames[:, None]
    scored = real & ~foreign
    neighbours = np.roll(np.arange(n), 1)
    totals = torch.zeros(4)  # right, baseline, wrong, frames
    n_batches = -(-n // settings.batch_size)
    for number in share(n_batches, world):
        rows = np.arange(number * settings.batch_size, min(n, (number + 1) * settings.batch_size))
        batch, other = clips.take(rows), clips.take(neighbours[rows])
        own, theirs = (with_ends(part.codes, part.n_frames, special) for part in (batch, other))
        codes = swap_context(own, theirs, foreign[rows])
        strangers = replace(batch, controls=other.controls, valid=other.valid)
        with_text = torch.ones(len(rows), dtype=torch.bool)
        everything = {name: torch.ones(len(rows)) for name in music.loss.names}
        nothing = {name: torch.zeros(len(rows)) for name in music.loss.names}
        ways = ((batch, everything), (batch, nothing), (strangers, everything))
        for column, (examples, keep) in enumerate(ways):
            loss = music.loss.of(examples, codes, scored[rows], keep, with_text, n_scored=1)
            totals[column] += loss.cpu()
        totals[3] += count_scored(scored[rows], music.lm.geometry.delays)
    world.sum_([totals])
    right, baseline, wrong = (float(value / totals[3].clamp(min=1)) for value in totals[:3])
    return {"validation_loss": right, "baseline_loss": baseline, "control_gain": wrong - right}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor.clone() for name, tensor in tensors.items() if name.startswith(prefix)}
