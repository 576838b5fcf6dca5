"""Random MusicGens in transformers' layout, without transformers: importing it takes longer than most tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

SPECIAL = ("<pad>", "</s>", "<unk>")


def write_musicgen(
    folder: Path,
    words: Sequence[str],
    *,
    width: int,
    n_heads: int,
    ffn_width: int,
    text: dict[str, int],
    codec: dict[str, object],
    scale: float,
    channels: int = 1,
    n_layers: int = 2,
) -> Path:
    """Layers, four codebooks of 16 codes to a channel, T5, EnCodec and a tokenizer of whole words.

    The decoder's matrices are normal numbers times `scale`.
    """
    import torch
    from safetensors.torch import save_file

    from expotion.musicgen.encodec import Encodec, EncodecSettings
    from expotion.musicgen.geometry import LMGeometry
    from expotion.musicgen.layouts import hf_layout
    from expotion_text_t5.model import T5Encoder, T5Settings

    torch.manual_seed(1)
    codec = {
        "model_type": "encodec",
        "target_bandwidths": [0.8],
        "hidden_size": 8,
        "codebook_dim": 8,
        "codebook_size": 16,
        "num_lstm_layers": 1,
        "use_causal_conv": False,
        "normalize": False,
        "use_conv_shortcut": False,
        "pad_mode": "reflect",
        **codec,
    }
    config = {
        "model_type": "musicgen",
        "audio_encoder": codec,
        "text_encoder": {"model_type": "t5", "vocab_size": 16, **text},
        "decoder": {
            "model_type": "musicgen_decoder",
            "vocab_size": 16,
            "hidden_size": width,
            "num_hidden_layers": n_layers,
            "num_attention_heads": n_heads,
            "ffn_dim": ffn_width,
            "num_codebooks": 4 * channels,
            "audio_channels": channels,
            "pad_token_id": 16,
            "bos_token_id": 16,
        },
    }
    tensors = {
        source.name: torch.ones(source.shape)
        if "norm" in source.name and "weight" in source.name
        else scale * torch.randn(source.shape)
        for sources in hf_layout(LMGeometry.from_hf(config, "world")).values()
        for source in sources
    }
    sound = Encodec(EncodecSettings.model_validate(codec))
    for name, buffer in sound.named_buffers():
        if name.endswith(("embed", "embed_avg")):
            buffer.copy_(torch.randn_like(buffer))
    for part, model in (
        ("audio_encoder", sound),
        ("text_encoder", T5Encoder(T5Settings.model_validate(config["text_encoder"]))),
    ):
        tensors |= {f"{part}.{name}": tensor for name, tensor in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, words)
    return folder


def write_tokenizer(folder: Path, words: Sequence[str]) -> None:
    """A tokenizer of whole words that ends with T5's `</s>`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    known = {word: index for index, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "unk_token": "<unk>"}))
