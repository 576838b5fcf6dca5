"""`expotion_train`: the authors' trainer run again on the file's batches, from the file's initial weights."""

from __future__ import annotations

import numpy as np

from expotion.adaptor.authors import adaptor_from_released, to_released
from expotion.adaptor.project import TrackInput
from expotion.contracts import GoldenFile
from expotion_verify.adaptor_check import text_source
from expotion_verify.tensors import language_model, tensor, tensors
from expotion_verify.trainer import ReleasedBatch, ReleasedSettings, train_released

LOSS = 1e-5
NORM = 1e-5
LEARNING_RATE = 1e-12
WEIGHTS = 2e-5
"""Adam divides by the gradient's size, so rounding of a tiny gradient shows; the weights move by 0.05 and more."""


def settings_of(golden: GoldenFile) -> ReleasedSettings:
    """The trainer's settings as the file names them."""
    first, second = golden.setting("betas")
    return ReleasedSettings(
        epochs=int(golden.setting("num_epochs")),
        steps_per_epoch=int(golden.setting("num_steps")),
        learning_rate=float(golden.setting("lr")),
        warmup_epochs=int(golden.setting("warmup_epoch")),
        final_learning_rate=float(golden.setting("eta_min")),
        weight_decay=float(golden.setting("weight_decay")),
        betas=(float(first), float(second)),
        eps=float(golden.setting("eps")),
        clip_norm=float(golden.setting("clip")),
    )


def check(golden: GoldenFile) -> None:
    """Loss, gradient norm and learning rate of every step; every weight at the end."""
    lm = language_model(golden)
    adaptor = adaptor_from_released(tensors(golden, "init/"), lm.n_layers, "init/")
    source = text_source(golden, lm)
    codes, features = tensor(golden, "in/codes"), tensor(golden, "in/features")
    batches = [
        ReleasedBatch(step_codes, {"features": TrackInput(step_features)}, source)
        for step_codes, step_features in zip(codes, features, strict=True)
    ]
    log = train_released(lm, adaptor, batches, settings_of(golden))
    golden.compare("learning rate", np.array(log.learning_rates), "out/lr_used", LEARNING_RATE)
    golden.compare("loss", np.array(log.losses), "out/loss", LOSS)
    golden.compare("gradient norm", np.array(log.gradient_norms), "out/grad_norm", NORM, relative=True)
    golden.under("final/")
    for name, weights in to_released(adaptor).items():
        golden.compare("final weights", weights, f"final/{name}", WEIGHTS)
