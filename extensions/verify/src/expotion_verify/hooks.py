"""The kinds of golden files that core checks itself, announced through the same hook as a plugin's."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from expotion.contracts import GoldenCheckSpec, GoldenFile, hookimpl

KINDS = {
    "delay_pattern": "the codebook delay pattern: build, revert, indexes, masks",
    "musicgen_lm": "MusicGen's language model: logits, guided greedy generation with and without a prompt",
    "encodec": "EnCodec under audiocraft's and transformers' names: latent, codes, sound",
    "expotion_adaptor": "the authors' adaptor: prefix, logits, loss, gradients, four greedy generations",
    "expotion_maskvariant": "the authors' adaptor with body, vid and masks",
    "expotion_train": "the authors' trainer: losses, norms, learning rates, final weights",
    "lr_schedule": "the authors' learning rate at every step",
    "expotion_data": "the authors' loader: interpolation, padding, condition masks, inference crop",
}


def _builder(kind: str) -> Callable[[], Callable[[GoldenFile], None]]:
    def build() -> Callable[[GoldenFile], None]:
        check: Callable[[GoldenFile], None] = importlib.import_module(f"expotion_verify.kinds.{kind}").check
        return check

    return build


@hookimpl
def expotion_golden_checks() -> list[GoldenCheckSpec]:
    """Everything about the backbone and the adaptor; encoders' kinds come with their plugins."""
    return [GoldenCheckSpec(kind, _builder(kind), what) for kind, what in KINDS.items()]
