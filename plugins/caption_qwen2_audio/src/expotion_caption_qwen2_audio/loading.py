"""Models and processors of transformers, from a folder or the hub; safetensors only, every tensor accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expotion.errors import Problem, WeightsError
from expotion.machine import multiplies_bfloat16
from expotion.weights import folder_of

_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja"]


def load(kind: Any, model_type: str, source: str, device: str, precision: str) -> tuple[Any, Any]:
    """(model, processor) of an auto class of transformers, frozen, on a device.

    Raises WeightsError for another kind of model, a folder without safetensors, and missing, unexpected or
    misshaped tensors (all of them).
    """
    import torch  # noqa: PLC0415
    from transformers import AutoConfig, AutoProcessor  # noqa: PLC0415

    folder = folder_of(source, _PATTERNS)
    if not list(folder.glob("*.safetensors")):
        raise WeightsError(Problem(str(folder), "safetensors files", "none"))
    place = chosen_device(device)
    dtype = chosen_type(precision, place)
    try:
        config = AutoConfig.from_pretrained(folder)
        if config.model_type != model_type:
            raise WeightsError(Problem(str(folder), f"a model of the kind {model_type}", config.model_type))
        processors: Any = AutoProcessor  # untyped
        processor = processors.from_pretrained(folder)
        model, told = kind.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        text = str(error).strip().splitlines()
        got = text[0] if text else type(error).__name__
        raise WeightsError(Problem(str(folder), f"a {model_type} that transformers can load", got)) from error
    problems = [
        Problem(str(folder), f"{fault.removesuffix('_keys')} tensors: none", ", ".join(map(str, told[fault])))
        for fault in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if told.get(fault)
    ]
    if problems:
        raise WeightsError(problems)
    model = model.to(place).eval().requires_grad_(False)
    if place == "cpu" and dtype == torch.bfloat16:
        keep_convolutions_float32(model)
    return model, processor


def with_lora(model: Any, folder: Path) -> Any:
    """The model with the matrices of a fine-tuning beside it. Raises WeightsError where they do not fit."""
    from peft import PeftModel  # noqa: PLC0415 - seconds

    if not (folder / "adapter_config.json").is_file():
        fix = "name the folder `lora` of a run of the task qwen2_audio_lora"
        raise WeightsError(Problem(f"lora {folder}", "a folder with adapter_config.json", "none", fix))
    try:
        return PeftModel.from_pretrained(model, folder).eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        got = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(Problem(f"lora {folder}", "matrices for this model, as peft saves them", got)) from error


def chosen_device(device: str) -> str:
    """`auto` is a GPU where there is one. Raises WeightsError for a device that this machine lacks."""
    import torch  # noqa: PLC0415

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise WeightsError(Problem("device", "cpu on this machine", device, "leave it at auto"))
    return device


def chosen_type(precision: str, place: str) -> Any:
    """torch's type of the weights; `auto` is bfloat16 where that is measured to be right and faster."""
    import torch  # noqa: PLC0415

    bfloat16 = precision == "bf16" or (precision == "auto" and multiplies_bfloat16(place))
    return torch.bfloat16 if bfloat16 else torch.float32


def keep_convolutions_float32(model: Any) -> None:
    """Convolutions of a bfloat16 model compute in float32: in bfloat16 they are wrong on some processors."""
    import torch  # noqa: PLC0415

    def widen(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(value.float() if isinstance(value, torch.Tensor) else value for value in inputs)

    def narrow(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        return output.to(torch.bfloat16)

    for module in model.modules():
        if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)):
            module.float()
            module.register_forward_pre_hook(widen)
            module.register_forward_hook(narrow)
