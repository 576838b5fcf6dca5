"""T5 encoders from files: inside a MusicGen folder, in a folder of their own, or from the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from expotion.backbone import files
from expotion.backbone.text import TextConditioner
from expotion.errors import Problem, WeightsError

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
    state = {name: t.float() for name, t in tensors.items() if not name.startswith(_DECODER)}
    shared, table = "shared.weight", "encoder.embed_tokens.weight"
    for name, other in ((shared, table), (table, shared)):
        if name not in state and other in state:
            state[name] = state[other]
    model = T5EncoderModel(T5Config(**dict(config)))
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    files.check_tensors(state, wanted, where, ignored=(table,))
    model.load_state_dict({name: state[name] for name in wanted}, strict=True)
    return TextConditioner(model, load_tokenizer(folder))


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer whose files lie in a folder; never from the network."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    reason = "none of them"  # without any, transformers would make up an empty tokenizer
    if any((folder / name).is_file() for name in _TOKENIZER_FILES):
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError and others here
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise WeightsError(
        Problem(str(folder), f"the tokenizer's files ({' or '.join(_TOKENIZER_FILES)})", reason)
    )


def load_text(source: str | Path, cache: Path | None = None) -> TextConditioner:
    """A T5 encoder from a folder, a hub id (`hf:` optional) or a MusicGen folder that contains one."""
    name = str(source)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = files.hub_snapshot(name.removeprefix("hf:"), cache=cache)
    config = files.read_json(folder / "config.json")
    tensors = files.read_safetensors(files.safetensors_files(folder))
    if config.get("model_type") == "musicgen":
        prefix = "text_encoder."
        inner = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        return text_from_hf(inner, config.get("text_encoder", {}), folder)
    return text_from_hf(tensors, config, folder)
