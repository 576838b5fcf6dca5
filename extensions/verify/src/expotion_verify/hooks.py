"""The kinds of golden files that are checked here, announced through the same hook as a plugin's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

from expotion.contracts import GoldenCheckSpec, GoldenFile, hookimpl

KINDS = {
    "delay_pattern": ("backbone", "the codebook delay pattern: build, revert, indexes, masks"),
    "musicgen_lm": (
        "backbone",
        "MusicGen's language model: logits, guided greedy generation with and without a prompt",
    ),
    "encodec": ("backbone", "EnCodec under audiocraft's and transformers' names: latent, codes, sound"),
    "expotion_adaptor": (
        "adaptor",
        "the authors' adaptor: prefix, logits, loss, gradients, four greedy generations",
    ),
    "expotion_maskvariant": ("adaptor", "the authors' adaptor with body, vid and masks"),
    "expotion_train": ("trainer", "the authors' trainer: losses, norms, learning rates, final weights"),
    "lr_schedule": ("trainer", "the authors' learning rate at every step"),
    "expotion_data": ("data", "the authors' loader: interpolation, padding, condition masks, inference crop"),
}
"""Module of this package and what is compared; its function is `check_` and the kind."""


def _check_of(kind: str) -> Callable[[GoldenFile], None]:
    module = importlib.import_module(f"expotion_verify.{KINDS[kind][0]}")
    check: Callable[[GoldenFile], None] = getattr(module, f"check_{kind}")
    return check


@hookimpl
def expotion_golden_checks() -> list[GoldenCheckSpec]:
    """Everything about the backbone and the adaptor; encoders' kinds come with their plugins."""
    return [GoldenCheckSpec(kind, partial(_check_of, kind), what) for kind, (_, what) in KINDS.items()]
