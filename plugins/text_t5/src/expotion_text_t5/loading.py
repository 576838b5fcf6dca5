"""A T5 encoder and its tokenizer from a folder or the hub; safetensors only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from expotion import weights
from expotion.errors import Problem, WeightsError, first_line
from expotion_text_t5.model import T5Encoder, T5Settings

_INSIDE_MUSICGEN = "text_encoder."
_SENTENCEPIECE_FILES = ("spiece.model", "tokenizer.model")
_TIED = ("shared.weight", "encoder.embed_tokens.weight")


@dataclass(frozen=True)
class LoadedT5:
    """The frozen encoder, its tokenizer, and the id of the token for what the tokenizer does not know."""

    model: T5Encoder
    tokenizer: Tokenizer
    unknown_id: int | None


def load_t5(source: str) -> LoadedT5:
    """The encoder of a T5 folder, or of the T5 inside a MusicGen folder. Strict: WeightsError lists all."""
    folder = weights.folder_of(source)
    config = weights.read_json(folder / "config.json")
    inside = config.get("model_type") in ("musicgen", "musicgen_melody")
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
    shape = weights.settings_of(T5Settings, settings, f"{folder / 'config.json'} {prefix}")
    with weights.undrawn():
        model = T5Encoder(shape)
    weights.fill(model, state, str(folder))
    model.requires_grad_(False)
    model.train(False)
    tokenizer = _tokenizer(folder)
    return LoadedT5(model, tokenizer, tokenizer.token_to_id(_unknown(folder)))


def _tokenizer(folder: Path) -> Tokenizer:
    """As `tokenizer.json` describes it; where there is none, as transformers makes one of sentencepiece's file."""
    reason = "none of them"
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.no_padding()
            tokenizer.no_truncation()
            return tokenizer
        if any((folder / name).is_file() for name in _SENTENCEPIECE_FILES):
            from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import, and seldom needed

            made: Tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
            return made
    except Exception as error:  # both libraries raise kinds of their own
        reason = first_line(error)
    wanted = f"the tokenizer's files ({' or '.join(('tokenizer.json', *_SENTENCEPIECE_FILES))})"
    raise WeightsError(Problem(str(folder), wanted, reason))


def _unknown(folder: Path) -> str:
    """What the tokenizer writes for what it does not know: T5's `<unk>` but where its settings say otherwise."""
    path = folder / "tokenizer_config.json"
    told = weights.read_json(path).get("unk_token") if path.is_file() else None
    text = told.get("content") if isinstance(told, dict) else told
    return str(text or "<unk>")
