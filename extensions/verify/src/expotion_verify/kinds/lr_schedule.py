"""`lr_schedule`: the learning rate in force at every step of a whole run."""

from __future__ import annotations

import numpy as np

from expotion.contracts import GoldenFile
from expotion_verify.trainer import ReleasedSettings, released_learning_rate

TOLERANCE = 1e-12


def check(golden: GoldenFile) -> None:
    """Closed form against the recorded rates."""
    settings = ReleasedSettings(
        epochs=int(golden.setting("num_epochs")),
        steps_per_epoch=int(golden.setting("num_steps")),
        learning_rate=float(golden.setting("lr")),
        warmup_epochs=int(golden.setting("warmup_epoch")),
        final_learning_rate=float(golden.setting("eta_min")),
    )
    n_steps = settings.epochs * settings.steps_per_epoch
    rates = np.array([released_learning_rate(step, settings) for step in range(n_steps)])
    golden.compare("learning rate", rates, "lr", TOLERANCE)
