"""Tiny random Qwen2-Audio and Qwen2-VL folders in the layout of the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from expotion_caption_qwen2_audio.rehearsal import AUDIO_SPECIAL, VIDEO_SPECIAL, VIDEO_TEMPLATE, letters_tokenizer


def tiny_qwen2_audio(folder: Path, seed: int = 0, width: int = 16) -> Path:
    """A Qwen2-Audio and its processor; of 30 thousand parameters at the smallest width."""
    import torch
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    tokenizer = letters_tokenizer(AUDIO_SPECIAL)
    size = len(tokenizer)
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 16,
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "max_source_positions": 50,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": width,
            "intermediate_size": width,
            "num_hidden_layers": width // 16,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": size,
            "bos_token_id": None,
            "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
            "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    torch.manual_seed(seed)
    model = Qwen2AudioForConditionalGeneration(config)
    if width == 16:
        _sensitive(model, tokenizer)
    else:
        _teachable(model)
    model.save_pretrained(folder)
    # One second instead of thirty: what is cut or padded is then seen in a short test.
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1, return_attention_mask=True)
    _published(
        folder, extractor, tokenizer, "Qwen2AudioProcessor", Qwen2AudioProcessor(extractor, tokenizer).chat_template
    )
    return folder


def tiny_qwen2_vl(folder: Path, seed: int = 1) -> Path:
    """A Qwen2-VL of 40 thousand parameters and its processor."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessor

    tokenizer = letters_tokenizer(VIDEO_SPECIAL)
    number = tokenizer.convert_tokens_to_ids
    config = Qwen2VLConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
            "bos_token_id": None,
            "eos_token_id": number("<|im_end|>"),
            "pad_token_id": number("<|endoftext|>"),
        },
        vision_config={
            "depth": 1,
            "embed_dim": 16,
            "hidden_size": 16,
            "num_heads": 2,
            "mlp_ratio": 1,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    torch.manual_seed(seed)
    model = Qwen2VLForConditionalGeneration(config)
    _sensitive(model, tokenizer)
    model.save_pretrained(folder)
    sizes = {"min_pixels": 56 * 56, "max_pixels": 112 * 112}
    _published(folder, Qwen2VLImageProcessor(**sizes), tokenizer, "Qwen2VLProcessor", VIDEO_TEMPLATE)
    return folder


def _teachable(model: Any) -> None:
    """Weights of such a size that small matrices beside them decide what is said."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(
                    0, 1.0 if "embed" in name else 0.7 if "lm_head" in name else parameter[0].numel() ** -0.5
                )


def tiny_qwen2(folder: Path, seed: int = 2) -> Path:
    """A Qwen2 that chats, of 20 thousand parameters, and its tokenizer."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = letters_tokenizer(AUDIO_SPECIAL[:3])
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = Qwen2Config(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    _sensitive(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _sensitive(model: Any, tokenizer: Any) -> None:
    """Weights so large that what goes in decides what comes out, and that says small letters only."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.7)
        letters = tokenizer.convert_tokens_to_ids(list("abcdefghijklmnopqrstuvwxyz"))
        others = torch.ones(len(tokenizer), dtype=torch.bool)
        others[letters] = False
        model.lm_head.weight[others] = 0.0


def _published(folder: Path, extractor: Any, tokenizer: Any, processor: str, template: str) -> None:
    """The files beside the weights as they lie on the hub: no processor_config.json, the template as JSON."""
    tokenizer.save_pretrained(folder)
    extractor.save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor_class": processor}))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))


def without(folder: Path, tensor: str) -> Path:
    """The folder's weights without one tensor."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors[tensor]
    save_file(tensors, path, metadata={"format": "pt"})
    return folder
