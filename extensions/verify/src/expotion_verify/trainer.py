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
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.authors import adaptor_from_released, to_released
from expotion.adaptor.project import TrackInput
from expotion.contracts import GoldenFile
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM
from expotion.train.objective import codebook_loss
from expotion_verify.adaptor import text_source
from expotion_verify.tensors import language_model, tensor, tensors

LOSS = 1e-5
NORM = 1e-5
LEARNING_RATE = 1e-12
WEIGHTS = 2e-5
"""Adam divides by the gradient's size, so rounding of a tiny gradient shows; the weights move by 0.05 and more."""


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
) -> list[tuple[float, float, float]]:
    """Train the adaptor in place on the batches in order, in float32, without dropout of any kind.

    Returns for each step the loss (nats), the gradient norm before clipping and the learning rate in force.
    """
    parameters = [parameter for parameter in adaptor.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=0.0, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
    )
    log = []
    for step, batch in enumerate(batches):
        optimiser.zero_grad()
        sequence = delay.build(batch.codes, lm.geometry.special_token, lm.geometry.delays, valid_only=True)
        hidden = lm.hidden(sequence, batch.source, adaptor.prefix(lm, batch.inputs))
        loss = codebook_loss(lm, hidden, batch.codes)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        rate = released_learning_rate(step, settings)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        log.append((float(loss.detach()), float(norm), rate))
    return log


def _schedule(golden: GoldenFile) -> dict[str, Any]:
    """The settings that the learning rate depends on, as the file names them."""
    return {
        "epochs": int(golden.setting("num_epochs")),
        "steps_per_epoch": int(golden.setting("num_steps")),
        "learning_rate": float(golden.setting("lr")),
        "warmup_epochs": int(golden.setting("warmup_epoch")),
        "final_learning_rate": float(golden.setting("eta_min")),
    }


def check_lr_schedule(golden: GoldenFile) -> None:
    """The learning rate in force at every step of a whole run: closed form against the recorded rates."""
    settings = ReleasedSettings(**_schedule(golden))
    n_steps = settings.epochs * settings.steps_per_epoch
    rates = np.array([released_learning_rate(step, settings) for step in range(n_steps)])
    golden.compare("learning rate", rates, "lr", LEARNING_RATE)


def check_expotion_train(golden: GoldenFile) -> None:
    """The trainer again on the file's batches, from its initial weights: every step, every weight at the end."""
    lm = language_model(golden)
    adaptor = adaptor_from_released(tensors(golden, "init/"), lm.n_layers, "init/")
    source = text_source(golden, lm)
    first, second = golden.setting("betas")
    settings = ReleasedSettings(
        **_schedule(golden),
        weight_decay=float(golden.setting("weight_decay")),
        betas=(float(first), float(second)),
        eps=float(golden.setting("eps")),
        clip_norm=float(golden.setting("clip")),
    )
    batches = [
        ReleasedBatch(codes, {"features": TrackInput(features)}, source)
        for codes, features in zip(tensor(golden, "in/codes"), tensor(golden, "in/features"), strict=True)
    ]
    losses, norms, rates = np.array(train_released(lm, adaptor, batches, settings)).T
    golden.compare("learning rate", rates, "out/lr_used", LEARNING_RATE)
    golden.compare("loss", losses, "out/loss", LOSS)
    golden.compare("gradient norm", norms, "out/grad_norm", NORM, relative=True)
    golden.under("final/")
    for name, weights in to_released(adaptor).items():
        golden.compare("final weights", weights, f"final/{name}", WEIGHTS)
