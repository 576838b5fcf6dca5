"""Qwen2-Audio and Qwen2-VL at their published sizes without weights: the whole on `meta`, one layer of each kind.

The whole is built on torch's device `meta` and compared with the published tensors, name by name. What computes has
one layer of each kind and all that is beside them (projector, tables of tokens) at full width, of a seed; with it
the captioner itself describes a clip, in a few tokens. For a caption of the whole model this makes

    seconds = walked + sum over kinds of (layers - 1) x what the one took + tokens not said x what one token takes

where a token takes a pass of what is there, and all layers but one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from expotion.contracts import CaptionerRehearsal, Clip
from expotion.weights import undrawn
from expotion_caption_qwen2_audio import published
from expotion_caption_qwen2_audio.captioner import Qwen2AudioCaptioner
from expotion_caption_qwen2_audio.loading import chosen_device, chosen_type, keep_convolutions_float32
from expotion_caption_qwen2_audio.options import Qwen2AudioOptions

SAID_TOKENS = 3
"""The first is what follows the prompt; the others tell what a token takes."""
LAYERS = {"encoder_layers", "depth", "num_hidden_layers"}
"""Keys of the settings that are a number of layers."""
N_WORDS = 151_643
"""Tokens before the special ones."""
AUDIO_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
VIDEO_SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
VIDEO_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def letters_tokenizer(special: Sequence[str], n_words: int = 0) -> Any:
    """A tokenizer of bytes in Qwen2's place, its special tokens behind `n_words` others."""
    from tokenizers.pre_tokenizers import ByteLevel  # noqa: PLC0415

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"word{i}" for i in range(len(letters), n_words)), *special]
    numbered = {token: i for i, token in enumerate(words)}
    return Qwen2Tokenizer(vocab=numbered, merges=[], extra_special_tokens=list(special[1:]))


def rehearse(options: Qwen2AudioOptions, clip: Clip) -> CaptionerRehearsal | None:
    """What a caption of `clip` takes with the published models; None where their sizes are not known here."""
    hears, sees = options.style != "video", options.style in ("fused", "video")
    names = [*[options.model] * hears, *[options.video_model] * sees]
    if not all(name in published.SIZES for name in names):
        return None
    faults = [fault for name in names if (fault := whole_fault(name)) is not None]
    short = options.model_copy(update={"max_new_tokens": SAID_TOKENS, "lora": None})
    captioner = Qwen2AudioCaptioner(short, load=_one_layer)
    captioner(clip)  # the first starts what computes
    watches = [
        Watch(model, published.SIZES[name])
        for name, model in zip(names, filter(None, (captioner.model, captioner.video_model)), strict=True)
    ]
    started = now()
    captioner(clip)
    walked_s = now() - started
    return CaptionerRehearsal(
        n_bytes=sum(published.n_bytes(name) for name in names),
        fault="; ".join(faults) or None,
        layers={
            f"{name}, {kind}": n for name, watch in zip(names, watches, strict=True) for kind, n in watch.n.items()
        },
        walked_s=walked_s,
        computed_caption_s=walked_s + sum(watch.beyond_s(options.max_new_tokens) for watch in watches),
    )


def whole_fault(name: str) -> str | None:
    """Where the whole model, built on `meta`, has other tensors than the published ones; None: nowhere."""
    config, kind = config_of(name)
    with torch.device("meta"), undrawn():
        state = kind(config).state_dict()
    if getattr(config, "tie_word_embeddings", False):
        del state["lm_head.weight"]
    own = {published.name_of(key, config.model_type): tuple(value.shape) for key, value in state.items()}
    wanted = published.tensors(name)
    wrong = sorted(key for key in own.keys() | wanted.keys() if own.get(key) != wanted.get(key))
    if not wrong:
        return None
    first = wrong[0]
    return f"{name}: {first} is {wanted.get(first)} as published, {own.get(first)} here ({len(wrong)} differ)"


def config_of(name: str, *, n_layers: int | None = None) -> tuple[Any, Any]:
    """(settings, class) of a published model, its layers of each kind cut to `n_layers`."""
    sizes = published.SIZES[name]
    if n_layers is not None:
        sizes = {
            part: {**own, **dict.fromkeys(LAYERS & own.keys(), n_layers)} if isinstance(own, dict) else own
            for part, own in sizes.items()
        }
    if "audio_config" in sizes:
        return Qwen2AudioConfig(**sizes), Qwen2AudioForConditionalGeneration
    return Qwen2VLConfig(**sizes), Qwen2VLForConditionalGeneration


def _one_layer(_kind: Any, model_type: str, source: str, device: str, precision: str) -> tuple[Any, Any]:
    """What `loading.load` gives, of one layer of each kind with weights of a seed."""
    place = chosen_device(device)
    config, kind = config_of(source, n_layers=1)
    tokenizer = letters_tokenizer(AUDIO_SPECIAL if model_type == "qwen2_audio" else VIDEO_SPECIAL, N_WORDS)
    number = tokenizer.convert_tokens_to_ids
    if model_type == "qwen2_audio":
        config.audio_token_index = number("<|AUDIO|>")
        processor: Any = Qwen2AudioProcessor(
            WhisperFeatureExtractor(feature_size=128, return_attention_mask=True), tokenizer
        )
    else:
        config.image_token_id, config.video_token_id = number("<|image_pad|>"), number("<|video_pad|>")
        config.vision_start_token_id, config.vision_end_token_id = (
            number("<|vision_start|>"),
            number("<|vision_end|>"),
        )
        processor = Qwen2VLProcessor(
            Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor(), chat_template=VIDEO_TEMPLATE
        )
    config.text_config.eos_token_id = number("<|im_end|>")
    config.text_config.pad_token_id = number("<|endoftext|>")
    dtype, before = chosen_type(precision, place), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with undrawn():
            model = kind(config)
    finally:
        torch.set_default_dtype(before)
    fill(model, number([*"abcdefghijklmnopqrstuvwxyz"]))
    model = model.to(place).eval().requires_grad_(False)
    if place == "cpu" and dtype == torch.bfloat16:
        keep_convolutions_float32(model)
    return model, processor


@torch.no_grad()
def fill(model: Any, letters: Sequence[int]) -> None:
    """Weights of a seed, with which a model says letters only, and so comes to no end before it is told to."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.uniform_(-1, 1, generator=generator).mul_(parameter[0].numel() ** -0.5)
        else:
            parameter.fill_(name.endswith("weight"))  # of a norm; else what is added
    said = model.lm_head.weight[list(letters)].clone()
    model.lm_head.weight.zero_()
    model.lm_head.weight[list(letters)] = said


def now() -> float:
    """Seconds, when all that was asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Watch:
    """Times the layers and the passes of a model that has one layer of each kind."""

    def __init__(self, model: Any, sizes: Any) -> None:
        if "audio_config" in sizes:
            tower, kind, n = (
                model.model.audio_tower.layers,
                "audio encoder",
                sizes["audio_config"]["encoder_layers"],
            )
        else:
            tower, kind, n = model.model.visual.blocks, "vision tower", sizes["vision_config"]["depth"]
        self.n: dict[str, int] = {kind: n, "language model": sizes["text_config"]["num_hidden_layers"]}
        self.tower_s = self._timed(tower[0])
        self.layer_s = self._timed(model.model.language_model.layers[0])
        self.pass_s = self._timed(model)
        self.is_prompt: list[bool] = []
        model.model.language_model.register_forward_hook(
            lambda module, inputs, output: self.is_prompt.append(output.last_hidden_state.shape[1] > 1)
        )

    @staticmethod
    def _timed(module: nn.Module) -> list[float]:
        told: list[float] = []
        begun: list[float] = []
        module.register_forward_pre_hook(lambda module, inputs: begun.append(now()))
        module.register_forward_hook(lambda module, inputs, output: told.append(now() - begun.pop()))
        return told

    def beyond_s(self, n_tokens: int) -> float:
        """Seconds that all layers, and `n_tokens` in each answer, take beyond what was walked."""
        more_tower, more_layers = (n - 1 for n in self.n.values())
        deeper = more_tower * sum(self.tower_s) + more_layers * sum(self.layer_s)
        steps = [i for i, prompt in enumerate(self.is_prompt) if not prompt]
        token_s = statistics.median(self.pass_s[i] + more_layers * self.layer_s[i] for i in steps)
        return deeper + (sum(self.is_prompt) * n_tokens - len(self.is_prompt)) * token_s
