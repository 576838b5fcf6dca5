"""The text encoder: a frozen T5 encoder and its tokenizer, as MusicGen uses them.

Prompts are tokenised together, padded to the longest, end-of-sequence token appended, never truncated. A missing
or empty prompt has a mask of all false: after `MusicGenLM.project_text` its rows are exactly zero, which is the
null text of classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from expotion import weights as files
from expotion.errors import ExpotionError, Problem, WeightsError, first_line


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


# T5 encoders from files: inside a MusicGen folder, in a folder of their own, or from the hub.

_DECODER = ("decoder.", "lm_head.")
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model")


def text_from_hf(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> TextConditioner:
    """A T5 encoder from its tensors and configuration; the tokenizer's files lie in `folder`.

    The table of token embeddings may be stored under either of its two names, or both; a T5 decoder in the
    file is ignored. Everything else is strict.
    """
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    where = f"{folder} text_encoder"
    if config.get("model_type") != "t5":
        raise WeightsError(Problem(f"{where}.model_type", "t5", repr(config.get("model_type"))))
    state = {name: t for name, t in tensors.items() if not name.startswith(_DECODER)}
    shared, table = "shared.weight", "encoder.embed_tokens.weight"
    for name, other in ((shared, table), (table, shared)):
        if name not in state and other in state:
            state[name] = state[other]
    with files.unfilled(where):
        model = T5EncoderModel(T5Config(**config))
    model.tie_weights()
    files.fill(model, state, where, ignored=(table,))
    return TextConditioner(model, load_tokenizer(folder))


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer whose files lie in a folder; never from the network."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    reason = "none of them"  # without any, transformers would make up an empty tokenizer
    if any((folder / name).is_file() for name in _TOKENIZER_FILES):
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError and others here
            reason = first_line(error)
    wanted = f"the tokenizer's files ({' or '.join(_TOKENIZER_FILES)})"
    raise WeightsError(Problem(str(folder), wanted, reason))


def load_text(source: str | Path, cache: Path | None = None) -> TextConditioner:
    """A T5 encoder from a folder, a hub id (`hf:` optional) or a MusicGen folder that contains one."""
    folder = files.folder_of(source, cache=cache)
    config = files.read_json(folder / "config.json")
    tensors = files.read_safetensors(files.safetensors_files(folder))
    if config.get("model_type") == "musicgen":
        tensors, config = files.under(tensors, "text_encoder."), config.get("text_encoder", {})
    return text_from_hf(tensors, config, folder)
