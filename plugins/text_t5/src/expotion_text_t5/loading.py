"""A T5 encoder from a folder or the hub, through transformers; safetensors only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expotion import weights
from expotion.errors import Problem, WeightsError

_INSIDE_MUSICGEN = "text_encoder."
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model")
_TIED = ("shared.weight", "encoder.embed_tokens.weight")


@dataclass(frozen=True)
class LoadedT5:
    """The frozen encoder and its tokenizer."""

    model: Any
    tokenizer: Any


def load_t5(source: str) -> LoadedT5:
    """The encoder of a T5 folder, or of the T5 inside a MusicGen folder. Strict: WeightsError lists all."""
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    folder = weights.folder_of(source)
    config = weights.read_json(folder / "config.json")
    inside = config.get("model_type") == "musicgen"
    settings = config.get("text_encoder", {}) if inside else config
    if settings.get("model_type") != "t5":
        raise WeightsError(Problem(str(folder / "config.json"), "a T5 encoder", repr(settings.get("model_type"))))
    prefix = _INSIDE_MUSICGEN if inside else ""
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.read_safetensors(weights.safetensors_files(folder)).items()
        if name.startswith(prefix) and not name.startswith(("decoder.", "lm_head."))
    }
    for name, other in (_TIED, _TIED[::-1]):
        if name not in state and other in state:
            state[name] = state[other]
    with weights.unfilled(f"{folder / 'config.json'} text_encoder"):
        model = T5EncoderModel(T5Config(**settings))
    model.tie_weights()
    weights.fill(model, state, str(folder), ignored=_TIED)
    model.requires_grad_(False)
    model.train(False)
    return LoadedT5(model, _tokenizer(folder))


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415

    reason = "none of them"  # without any, transformers would make up an empty tokenizer
    if any((folder / name).is_file() for name in _TOKENIZER_FILES):
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError and others here
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise WeightsError(Problem(str(folder), f"the tokenizer's files ({' or '.join(_TOKENIZER_FILES)})", reason))
