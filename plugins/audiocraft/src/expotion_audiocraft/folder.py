"""A model that audiocraft holds, written as one folder in transformers' layout.

The layout has no words for some of what audiocraft can build (other delays, rotary positions, stereo by
interleaving, a causal codec); such a model is refused, all reasons at once, rather than written with other numbers.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from expotion.errors import OutputError, Problem, WeightsError
from expotion_audiocraft import layout

if TYPE_CHECKING:
    from expotion_audiocraft.model import AudiocraftCodec, AudiocraftMusicGen

_TIED = "text_encoder.encoder.embed_tokens.weight"


def check_lm(lm: Any, where: str) -> None:
    """Raise WeightsError where transformers' layout cannot say what this `LMModel` computes."""
    transformer = lm.transformer
    layer = transformer.layers[0]
    provider = lm.pattern_provider
    found = {
        "codebook pattern": (type(provider).__name__, "DelayedPatternProvider"),
        "delays": (list(getattr(provider, "delays", [])), list(range(lm.n_q))),
        "delays' flatten_first": (getattr(provider, "flatten_first", 0), 0),
        "delays' empty_initial": (getattr(provider, "empty_initial", 0), 0),
        "positional embedding": (transformer.positional_embedding, "sin"),
        "longest period of positions": (float(transformer.max_period), 10_000.0),
        "scale of positions": (float(transformer.positional_scale), 1.0),
        "normalisation first": (bool(layer.norm_first), True),
        "activation is the exact GELU": (layer.activation is functional.gelu, True),
        "repeats of keys": (layer.self_attn.kv_repeat, 1),
        "causal attention": (bool(layer.self_attn.causal), True),
        "bounded context": (layer.self_attn.past_context, None),
    }
    fused = {kind: list(names) for kind, names in lm.fuser.fuse2cond.items() if names}
    found["fused conditions"] = (fused, {"cross": ["description"]})
    problems = [
        Problem(f"{where} {name}", f"to be {wanted!r}, all that transformers' layout can say", repr(got))
        for name, (got, wanted) in found.items()
        if got != wanted
    ]
    if problems:
        raise WeightsError(problems)


def _codec(codec: AudiocraftCodec) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of the codec, whichever of its two kinds it is."""
    if codec.settings is None:
        inner = codec.model.model
        return inner.config.to_dict(), dict(inner.state_dict())
    return layout.codec_config(codec.settings), layout.codec_tensors(codec.model.state_dict())


def _matches(config: Any, tensors: dict[str, Tensor], where: str) -> None:
    """Raise WeightsError unless the tensors are exactly those of the model that the configuration describes."""
    from transformers import MusicgenForConditionalGeneration  # noqa: PLC0415

    with torch.device("meta"):
        empty = MusicgenForConditionalGeneration(config)
    wanted = {name: tuple(t.shape) for name, t in empty.state_dict().items() if name != _TIED}
    got = {name: tuple(t.shape) for name, t in tensors.items()}
    names = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
    if names:
        raise WeightsError(
            [
                Problem(
                    f"{where} {name}",
                    f"shape {list(wanted[name])}" if name in wanted else "not to be there",
                    f"{list(got[name])}" if name in got else "nothing",
                )
                for name in names
            ]
        )


def _write(model: AudiocraftMusicGen, folder: Path, source: str) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import EncodecFeatureExtractor, GenerationConfig, MusicgenConfig, MusicgenDecoderConfig  # noqa: PLC0415

    lm, conditioner = model.lm.model, model.text.conditioner
    codec_config, codec_tensors = _codec(model.codec)
    decoder = MusicgenDecoderConfig(**layout.decoder_config(lm))
    config = MusicgenConfig(
        text_encoder=conditioner.t5.config.to_dict(),
        audio_encoder={"model_type": "encodec", **codec_config},
        decoder=decoder.to_dict(),
    )
    config.architectures = ["MusicgenForConditionalGeneration"]
    tensors = {
        **layout.lm_tensors(lm.state_dict()),
        **{f"audio_encoder.{name}": tensor for name, tensor in codec_tensors.items()},
        **{f"text_encoder.{name}": tensor for name, tensor in conditioner.t5.state_dict().items()},
    }
    tensors.pop(_TIED, None)
    _matches(config, tensors, source)
    config.save_pretrained(folder)
    generation: Any = GenerationConfig  # its initialiser has no types
    generation(
        do_sample=True,
        guidance_scale=float(lm.cfg_coef),
        max_length=round(30 * model.codec.frame_rate_hz) + lm.n_q,
        top_k=250,
        bos_token_id=lm.card,
        pad_token_id=lm.card,
        decoder_start_token_id=lm.card,
    ).save_pretrained(folder)
    EncodecFeatureExtractor(feature_size=1, sampling_rate=model.codec.sample_rate_hz).save_pretrained(folder)
    conditioner.t5_tokenizer.save_pretrained(folder)
    origin = {
        "source": source,
        "audiocraft": importlib.metadata.version("audiocraft"),
        "expotion-audiocraft": importlib.metadata.version("expotion-audiocraft"),
        "language_model_dtype": str(next(lm.parameters()).dtype).removeprefix("torch."),
    }
    (folder / "origin.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / "model.safetensors", metadata={"format": "pt"})


def write_folder(model: AudiocraftMusicGen, folder: Path, source: str) -> Path:
    """Write the model to `folder`, which must not exist; it appears whole or not at all. See `convert`."""
    check_lm(model.lm.model, source)
    if folder.exists():
        raise OutputError(
            Problem(str(folder), "a folder that does not exist yet", "one that does", "remove it or name another")
        )
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        draft.mkdir(parents=True)
        _write(model, draft, source)
        for path in draft.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(draft, folder)
    except OSError as error:
        raise OutputError(
            Problem(str(folder), "could not be written", str(error), "check the folder and the free space")
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder
