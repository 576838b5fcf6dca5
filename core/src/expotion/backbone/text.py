"""The text encoder: a frozen T5 encoder and its tokenizer, as MusicGen uses them.

Prompts are tokenised together, padded to the longest, end-of-sequence token appended, never truncated. A missing
or empty prompt has a mask of all false: after `MusicGenLM.project_text` its rows are exactly zero, which is the
null text of classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from expotion.errors import ExpotionError


def pad_text(items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Texts of unequal length, each (hidden [n, D], mask [n]), to hidden [B, L, D] and mask bool [B, L].

    L is the longest; what is added is zero and masked.
    """
    if not items:
        raise ExpotionError("there are no texts to batch")
    hidden = pad_sequence([values.float() for values, _ in items], batch_first=True)
    mask = pad_sequence([mask.bool() for _, mask in items], batch_first=True, padding_value=False)
    return hidden, mask


class TextConditioner:
    """T5 encoder and tokenizer. Deterministic; float32; no gradients."""

    def __init__(self, encoder: Any, tokenizer: Any) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """Width of the encoder's output."""
        return int(self.encoder.config.d_model)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        """Prompts to hidden states float32 [B, L, width] and mask bool [B, L]; None and "" are null."""
        if not prompts:
            raise ExpotionError("there are no prompts to encode")
        texts = [prompt or "" for prompt in prompts]
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt")
        ids = tokens["input_ids"].to(self.encoder.device)
        mask = tokens["attention_mask"].to(self.encoder.device).clone()
        for row, text in enumerate(texts):
            if not text:
                mask[row] = 0
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return cast(Tensor, hidden).float(), mask.bool()
