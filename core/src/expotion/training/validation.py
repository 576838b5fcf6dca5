"""Validation: the loss on clips that are not trained on, and what the controls are worth there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from expotion.training.augment import draw_foreign, swap_context
from expotion.training.examples import Examples, with_ends
from expotion.training.world import share

if TYPE_CHECKING:
    from expotion.training.loop import TrainingRun


@torch.no_grad()
def validate(run: TrainingRun) -> dict[str, Any]:
    """Losses in nats per code over the validation clips, swapped in the same places each time; {} without any.

    `validation_loss` with the right controls; `baseline_loss` without controls; `control_gain`: loss with the
    neighbouring clip's controls minus loss with the right ones. In batches, which the workers share out.
    """
    clips = run.validation
    if clips is None:
        return {}
    n, settings, special = len(clips), run.settings, run.lm.geometry.special_token
    rng = np.random.default_rng((settings.seed, 2))
    foreign = draw_foreign(n, clips.codes.shape[-1], settings.swap, rng)
    real = torch.arange(clips.codes.shape[-1])[None, :] < clips.n_frames[:, None]
    scored = real & ~foreign
    neighbours = np.roll(np.arange(n), 1)
    totals = torch.zeros(4)  # right, baseline, wrong, frames
    n_batches = -(-n // settings.batch_size)
    for number in range(n_batches) if run.sharded else share(n_batches, run.world):
        rows = np.arange(number * settings.batch_size, min(n, (number + 1) * settings.batch_size))
        batch, other = clips.take(rows), clips.take(neighbours[rows])
        own, theirs = (with_ends(part.codes, part.n_frames, special) for part in (batch, other))
        codes = swap_context(own, theirs, foreign[rows])
        strangers = Examples(
            batch.codes, batch.n_frames, batch.text, batch.text_mask, other.controls, other.valid
        )
        with_text = torch.ones(len(rows), dtype=torch.bool)
        everything = {name: torch.ones(len(rows)) for name in run.names}
        nothing = {name: torch.zeros(len(rows)) for name in run.names}
        for column, (examples, keep) in enumerate(
            ((batch, everything), (batch, nothing), (strangers, everything))
        ):
            totals[column] += run.objective.loss(
                examples, codes, scored[rows], keep, with_text, n_scored=1
            ).cpu()
        totals[3] += _n_codes(scored[rows], clips.codes.shape[1])
    if not run.sharded:  # there every worker has gone through all of them
        run.world.sum_([totals])
    right, baseline, wrong = (float(value / totals[3].clamp(min=1)) for value in totals[:3])
    return {"validation_loss": right, "baseline_loss": baseline, "control_gain": wrong - right}


def _n_codes(scored: torch.Tensor, n_codebooks: int) -> int:
    """Codes that the delay pattern lets count among frames [B, T]: codebook k loses the last k frames."""
    return sum(int(scored[:, : scored.shape[1] - k].sum()) for k in range(n_codebooks))
