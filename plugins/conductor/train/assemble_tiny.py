"""Put codec, text encoder and decoder together as MusicGen and write the folder that is shipped."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn


def assemble(lm: nn.Module, codec_dir: Path) -> nn.Module:
    """A ``MusicgenForConditionalGeneration`` from the trained parts."""
    from transformers import EncodecModel, MusicgenConfig, MusicgenForConditionalGeneration  # noqa: PLC0415

    codec = EncodecModel.from_pretrained(codec_dir, dtype=torch.float32)
    config = MusicgenConfig(
        text_encoder=lm.text_encoder.config.to_dict(),
        audio_encoder=codec.config.to_dict(),
        decoder=lm.decoder.config.to_dict(),
    )
    whole = MusicgenForConditionalGeneration(config)
    whole.text_encoder.load_state_dict(lm.text_encoder.state_dict())
    whole.audio_encoder.load_state_dict(codec.state_dict())
    whole.decoder.load_state_dict(lm.decoder.state_dict())
    whole.enc_to_dec_proj.load_state_dict(lm.enc_to_dec_proj.state_dict())
    special = whole.config.decoder.pad_token_id
    generation = whole.generation_config
    generation.pad_token_id = generation.bos_token_id = generation.decoder_start_token_id = special
    generation.do_sample, generation.guidance_scale, generation.top_k = True, 3.0, 250
    generation.max_length = 504  # ten seconds: 500 frames and the delays of four codebooks
    return whole.eval()


def export(whole: nn.Module, tokenizer: Any, folder: Path) -> None:
    """Write float16 weights, configuration and tokenizer; the folder is replaced as a whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tiny-"))
    whole.half().save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    # The stored type is a matter of size; whoever loads it computes in float32 unless asked otherwise.
    config_path = beside / "config.json"
    config_path.write_text(json.dumps(_plain(json.loads(config_path.read_text())), indent=2) + "\n")
    rate = whole.config.audio_encoder.sampling_rate
    processor = {"feature_extractor_type": "EncodecFeatureExtractor", "feature_size": 1, "sampling_rate": rate}
    processor |= {"padding_side": "left", "padding_value": 0.0, "return_attention_mask": True}
    (beside / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
    os.chmod(beside, 0o755)
    for path in beside.iterdir():
        os.chmod(path, 0o644)
    old = folder.with_name(f".old-{folder.name}-{os.getpid()}")
    if folder.exists():
        os.rename(folder, old)
    os.rename(beside, folder)
    shutil.rmtree(old, ignore_errors=True)


def _plain(node: Any) -> Any:
    """Without traces of where it was made, and with the type in which it is to be loaded."""
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key != "_name_or_path"}
    return {k: "float32" if k in ("dtype", "torch_dtype") else _plain(v) for k, v in kept.items()}
