"""A T5 encoder from a folder or the hub, through transformers; safetensors only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expotion.errors import Problem, WeightsError

_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt"]
_INSIDE_MUSICGEN = "text_encoder."
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model")
_TIED = ("shared.weight", "encoder.embed_tokens.weight")


@dataclass(frozen=True)
class LoadedT5:
    """The frozen encoder and its tokenizer."""

    model: Any
    tokenizer: Any


def _folder(source: str) -> Path:
    """The folder itself, or the hub's snapshot: the local cache first, then a download."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    failure = ""
    for local_only in (True, False):
        try:
            return Path(
                snapshot_download(
                    source.removeprefix("hf:"), allow_patterns=_PATTERNS, local_files_only=local_only
                )
            )
        except Exception as error:  # the hub raises its HTTP client's errors, whose classes change
            failure = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    raise WeightsError(
        Problem(
            f"text_t5 model {source!r}",
            "a folder, a model in the local cache or a connection to the hub",
            failure,
            "on a connected machine run `hf download` for it and copy the cache (HF_HOME), or give a folder",
        )
    )


def _tensors(folder: Path, prefix: str) -> dict[str, Any]:
    """Tensors whose names begin with `prefix`, without it; the others stay on disk."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(Problem(str(folder), "a safetensors file", "none"))
    tensors: dict[str, Any] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    if name.startswith(prefix):
                        tensors[name.removeprefix(prefix)] = file.get_tensor(name).float()
        except (OSError, SafetensorError) as error:
            raise WeightsError(Problem(str(path), "a readable safetensors file", str(error))) from None
    return tensors


def load_t5(source: str) -> LoadedT5:
    """The encoder of a T5 folder, or of the T5 inside a MusicGen folder. Strict: WeightsError lists all."""
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    folder = _folder(source)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(Problem(str(folder / "config.json"), "a readable JSON file", str(error))) from None
    inside = config.get("model_type") == "musicgen"
    settings = config.get("text_encoder", {}) if inside else config
    if settings.get("model_type") != "t5":
        raise WeightsError(
            Problem(str(folder / "config.json"), "a T5 encoder", repr(settings.get("model_type")))
        )
    tensors = _tensors(folder, _INSIDE_MUSICGEN if inside else "")
    state = {name: t for name, t in tensors.items() if not name.startswith(("decoder.", "lm_head."))}
    for name, other in (_TIED, _TIED[::-1]):
        if name not in state and other in state:
            state[name] = state[other]
    model = T5EncoderModel(T5Config(**settings))
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    problems = [Problem(f"{folder} {name}", "to be there", "nothing") for name in wanted if name not in state]
    problems += [
        Problem(f"{folder} {name}", "not to be there", "a tensor")
        for name in state
        if name not in wanted and name not in _TIED
    ]
    problems += [
        Problem(f"{folder} {name}", f"shape {list(shape)}", str(list(state[name].shape)))
        for name, shape in wanted.items()
        if name in state and state[name].shape != shape
    ]
    if problems:
        raise WeightsError(problems)
    model.load_state_dict({name: state[name] for name in wanted}, strict=True)
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
    raise WeightsError(
        Problem(str(folder), f"the tokenizer's files ({' or '.join(_TOKENIZER_FILES)})", reason)
    )
