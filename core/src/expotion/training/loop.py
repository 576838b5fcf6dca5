"""The whole training loop, without Ray: one step is `TrainingRun.step`, read it from top to bottom.

Each step is a pure function of (weights, optimiser state, step number): batches, swaps and dropout are drawn
from a generator seeded by (seed, step). A run resumed from a checkpoint is therefore the uninterrupted run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor, parameter_groups, trainable_names
from expotion.adaptor.project import TrackInput
from expotion.backbone import delay
from expotion.backbone.decoder import MusicGenLM
from expotion.backbone.loss import codebook_loss
from expotion.errors import ExpotionError, Problem
from expotion.training import checkpoints
from expotion.training.augment import ContextSwap, draw_strengths, swap_context
from expotion.training.examples import Examples, batch_indices
from expotion.training.schedule import warmup_cosine


@dataclass(frozen=True)
class TrainingSettings:
    """Numbers of the loop. Rates per step; `learning_rate` by parameter group (project, gates, other)."""

    n_steps: int
    batch_size: int
    learning_rate: dict[str, float]
    warmup_steps: int
    weight_decay: float
    betas: tuple[float, float]
    clip_norm: float | None
    swap: ContextSwap
    condition_dropout: dict[str, float]
    text_dropout: float
    seed: int
    final_ratio: float = 0.0
    constant: bool = False
    ema: float | None = None
    checkpoint_every_steps: int = 50
    validate_every_steps: int = 20


Record = dict[str, Any]


class TrainingRun:
    """A training run: the adaptor, its optimiser and where it stands.

    `lm` is the frozen decoder in the dtype to compute in; `adaptor` stays float32. `validation` is scored with
    the right controls and with those of the neighbouring clip: the difference is what the controls are worth.
    """

    def __init__(
        self,
        lm: MusicGenLM,
        adaptor: Adaptor,
        examples: Examples,
        settings: TrainingSettings,
        *,
        validation: Examples | None = None,
        folder: Path | None = None,
        trace: str = "",
    ) -> None:
        if len(examples) == 0:
            raise ExpotionError(Problem(where="train", wanted="at least one training clip", got="none"))
        self.lm, self.adaptor, self.examples, self.settings = lm, adaptor, examples, settings
        self.validation = validation
        self.folder = folder
        self.trace = trace
        self.names = [modality.name for modality in adaptor.config.modalities]
        groups = parameter_groups(adaptor)
        by_parameter = {parameter: name for name, parameter in adaptor.named_parameters()}
        self.parameter_names = [by_parameter[p] for group in groups.values() for p in group]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": parameters, "name": name, "lr": settings.learning_rate[name]}
                for name, parameters in groups.items()
            ],
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        self.average = (
            {n: p.detach().clone() for n, p in adaptor.named_parameters()} if settings.ema else None
        )
        self.step_number = 0
        self.whole = True
        """False while weights, step number and records do not belong together."""
        self.records: list[Record] = []
        self.notes: list[str] = []

    # ------------------------------------------------------------------------------------------- one step

    def step(self) -> Record:
        """One optimisation step: batch, swap, forward, loss, backward, clip, update."""
        s, settings = self.step_number, self.settings
        started = time.perf_counter()
        rng = np.random.default_rng((settings.seed, 0, s))
        batch = self.examples.take(batch_indices(len(self.examples), settings.batch_size, s, settings.seed))
        donors = self.examples.take(rng.integers(0, len(self.examples), settings.batch_size))
        codes_in, scored = swap_context(batch.codes, donors.codes, settings.swap, rng)
        keep = draw_strengths(self.names, settings.batch_size, settings.condition_dropout, rng)
        with_text = torch.from_numpy(rng.random(settings.batch_size) >= settings.text_dropout)

        factor = (
            1.0
            if settings.constant
            else warmup_cosine(s, settings.n_steps, settings.warmup_steps, settings.final_ratio)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate[group["name"]] * factor

        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch, codes_in, scored, keep, with_text)
        if loss.requires_grad:  # not where no clip of the batch has anything active
            loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.adaptor.parameters(), settings.clip_norm or math.inf)
        if not bool(torch.isfinite(norm)):
            raise ExpotionError(
                Problem(
                    where=f"training step {s}",
                    wanted="finite gradients",
                    got=f"gradient norm {float(norm)} (loss {float(loss.detach())})",
                    fix="lower train.learning_rate or set train.precision to fp32",
                )
            )
        self.whole = False
        self.optimizer.step()
        self._update_average()
        self.step_number += 1
        return {
            "step": s,
            "loss": float(loss.detach()),
            "learning_rate": settings.learning_rate["project"] * factor,
            "gradient_norm": float(norm),
            "step_s": time.perf_counter() - started,
            "gates": [round(float(g), 5) for g in self.adaptor.gates.detach()],
        }

    def _loss(
        self, batch: Examples, codes_in: Tensor, scored: Tensor, keep: dict[str, Tensor], with_text: Tensor
    ) -> Tensor:
        lm = self.lm
        sequence = delay.build(codes_in, special=lm.geometry.special_token, valid_only=True)  # (B, K, T+1)
        source = lm.project_text(batch.text, batch.text_mask & with_text[:, None])  # (B, L, d)
        inputs = {
            name: TrackInput(batch.controls[name], batch.valid[name], keep[name]) for name in self.names
        }
        hidden = lm.hidden(sequence, source, self.adaptor(lm, inputs))  # (B, T+1, d)
        n_frames = batch.codes.shape[-1]
        real = torch.arange(n_frames)[None, :] < batch.n_frames[:, None]  # (B, T)
        mask = (scored & real)[:, None, :].expand_as(batch.codes)  # (B, K, T)
        return codebook_loss(lm, hidden, batch.codes, mask)

    def _update_average(self) -> None:
        if self.average is None or self.settings.ema is None:
            return
        # A short run must not be dominated by its start: the horizon grows with the steps done.
        decay = min(self.settings.ema, (1 + self.step_number) / (10 + self.step_number))
        with torch.no_grad():
            for name, parameter in self.adaptor.named_parameters():
                self.average[name].lerp_(parameter, 1.0 - decay)

    # ----------------------------------------------------------------------------------------- validation

    @torch.no_grad()
    def validate(self) -> Record:
        """Loss on clips that are not trained on; swapped in the same places each time.

        `control_gain`: loss with the neighbour's controls minus loss with the right ones, in nats per token.
        """
        assert self.validation is not None
        rng = np.random.default_rng((self.settings.seed, 2))
        batch = self.validation
        n = len(batch)
        neighbour = batch.take(np.roll(np.arange(n), 1))
        codes_in, scored = swap_context(batch.codes, neighbour.codes, self.settings.swap, rng)
        everything = {name: torch.ones(n) for name in self.names}
        with_text = torch.ones(n, dtype=torch.bool)
        right = self._loss(batch, codes_in, scored, everything, with_text)
        wrong_controls = Examples(
            batch.codes, batch.n_frames, batch.text, batch.text_mask, neighbour.controls, neighbour.valid
        )
        wrong = self._loss(wrong_controls, codes_in, scored, everything, with_text)
        baseline = self._loss(batch, codes_in, scored, dict.fromkeys(self.names, torch.zeros(n)), with_text)
        return {
            "step": self.step_number - 1,
            "validation_loss": float(right),
            "baseline_loss": float(baseline),
            "control_gain": float(wrong - right),
        }

    # ------------------------------------------------------------------------------------- the whole run

    def run(self, *, on_record: Callable[[Record], None] | None = None) -> Iterator[Record]:
        """Steps from where the run stands to its end, yielding a record per step; checkpoints on the way.

        On KeyboardInterrupt a checkpoint of the last whole step is written before it is passed on; where the
        interruption tore a step apart, the last checkpoint on disk stays the newest.
        """
        settings = self.settings
        try:
            while self.step_number < settings.n_steps:
                record = self.step()
                last = self.step_number == settings.n_steps
                if self.validation is not None and (
                    last or record["step"] % settings.validate_every_steps == 0
                ):
                    record |= self.validate()
                self.records.append(record)
                self.whole = True
                if on_record is not None:
                    on_record(record)
                if self.step_number % settings.checkpoint_every_steps == 0 or last:
                    self.save()
                yield record
        except KeyboardInterrupt:
            self.save()
            raise

    def finish(self) -> Adaptor:
        """The trained adaptor, with averaged weights if an average is kept."""
        if self.average is not None:
            with torch.no_grad():
                for name, parameter in self.adaptor.named_parameters():
                    parameter.copy_(self.average[name])
        return self.adaptor

    # ---------------------------------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """Write a checkpoint (nothing if no folder was given, or if an interruption tore the step apart)."""
        if self.folder is None or self.step_number == 0 or not self.whole:
            return
        tensors = {f"adaptor.{n}": t for n, t in self.adaptor.state_dict().items()}
        tensors |= checkpoints.flatten_optimizer(self.optimizer, self.parameter_names)
        if self.average is not None:
            tensors |= {f"average.{n}": t for n, t in self.average.items()}
        checkpoints.save(
            self.folder, self.step_number, tensors, {"trace": self.trace, "records": self.records}
        )

    def resume(self) -> bool:
        """Continue from the newest intact checkpoint of the same run; false if there is none."""
        if self.folder is None:
            return False
        found = checkpoints.load_latest(self.folder)
        if found is None:
            return False
        tensors, state, notes = found
        self.notes += notes
        if state.get("trace") != self.trace:
            self.notes.append("the checkpoints belong to other settings; training starts anew")
            checkpoints.clear(self.folder)
            return False
        prefix = "adaptor."
        self.adaptor.load_state_dict(
            {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
        )
        checkpoints.restore_optimizer(self.optimizer, self.parameter_names, tensors)
        if self.average is not None:
            self.average = {n: tensors[f"average.{n}"].clone() for n in self.average}
        self.step_number = int(state["step"])
        self.records = list(state["records"])
        return True


def describe_trainable(adaptor: Adaptor) -> dict[str, int]:
    """Number of trainable values by parameter name."""
    sizes = dict(adaptor.named_parameters())
    return {name: sizes[name].numel() for name in trainable_names(adaptor)}
