"""Compile, or find on disk, every function that a run will call, before it is called."""

from __future__ import annotations

import numpy as np
import torch

from expotion_fast import fields as f
from expotion_fast.kernel import run
from expotion_fast.linear import AT_ONCE, FusedLinear
from expotion_fast.threads import on_all


def compile_all() -> None:
    """Call the step on a model without layers, and products on their own: ten seconds once, a moment later on."""
    none = np.zeros(0, np.int64)
    frame, table, openness = np.zeros(f.N_FIELDS, np.int64), np.zeros((0, f.N_COLUMNS), np.int64), np.ones((1, 1))
    on_all(run, frame, table, 1.0, none, none, none, none, none, none, openness.astype(np.float32), n_bytes=0)
    FusedLinear(torch.ones(1, 1), "fp32")(torch.ones(1, 1))
    FusedLinear(torch.ones(1, 1), "int8")(torch.ones(AT_ONCE + 1, 1))
