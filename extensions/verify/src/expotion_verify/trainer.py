"""The authors' trainer (2025 code), to reproduce their runs: AdamW, warm-up, cosine, clipping.

    step n of `epochs` x `steps_per_epoch`, w = 2 steps_per_epoch, c = (epochs - 2) steps_per_epoch:
    lr_n = lr n / w                                              n <= w   (the very first step has rate 0)
    lr_n = eta + (lr - eta) (1 + cos(pi (n - w - 1) / c)) / 2    n > w    (steps w and w + 1 have the full lr)

Weight decay 0.02 acts on every adaptor tensor, gates and position tables included. The total L2 norm of the
gradient is clipped to 0.1; what is logged is the norm before. The closed form is what the package
`warmup_scheduler` gives over the cosine schedule of the torch of that time; a current torch makes the cosine
part larger by 2 / (1 + cos(pi / c)), which is 4e-6 in a real run. Our own loop is `expotion.train.loop`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.project import TrackInput
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM
from expotion.train.objective import codebook_loss


@dataclass(frozen=True)
class ReleasedSettings:
    """The trainer's settings; the defaults are those of the released configuration."""

    epochs: int = 20
    steps_per_epoch: int = 1
    learning_rate: float = 1e-2
    warmup_epochs: int = 2
    final_learning_rate: float = 1e-4
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float = 0.1


@dataclass(frozen=True)
class ReleasedBatch:
    """One batch: codes int64 [B, K, T], tracks of T + 1 rows by modality, text source [B, L, d]."""

    codes: Tensor
    inputs: Mapping[str, TrackInput]
    source: Tensor


@dataclass
class ReleasedLog:
    """Per step: loss (nats), gradient norm before clipping, learning rate in force."""

    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)


def released_learning_rate(step: int, settings: ReleasedSettings) -> float:
    """Learning rate that step 0, 1, .. uses (the closed form above)."""
    full, floor = settings.learning_rate, settings.final_learning_rate
    warmup = settings.warmup_epochs * settings.steps_per_epoch
    if step <= warmup:
        return full * step / warmup if warmup else full
    span = max(1, (settings.epochs - settings.warmup_epochs) * settings.steps_per_epoch)
    return floor + (full - floor) * (1.0 + math.cos(math.pi * (step - warmup - 1) / span)) / 2.0


def train_released(
    lm: MusicGenLM, adaptor: Adaptor, batches: Iterable[ReleasedBatch], settings: ReleasedSettings
) -> ReleasedLog:
    """Train the adaptor in place on the batches in order, in float32, without dropout of any kind."""
    parameters = [parameter for parameter in adaptor.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=0.0, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
    )
    log = ReleasedLog()
    for step, batch in enumerate(batches):
        optimiser.zero_grad()
        sequence = delay.build(batch.codes, lm.geometry.special_token, valid_only=True)
        hidden = lm.hidden(sequence, batch.source, adaptor.prefix(lm, batch.inputs))
        loss = codebook_loss(lm, hidden, batch.codes)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        rate = released_learning_rate(step, settings)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        log.losses.append(float(loss.detach()))
        log.gradient_norms.append(float(norm))
        log.learning_rates.append(rate)
    return log
