"""A MusicGen by its source: a folder in transformers' layout, a hub id, or audiocraft's files.

hf:facebook/musicgen-small        the hub's snapshot (local cache first)
PATH                              a folder with config.json and safetensors, or with state_dict.bin
audiocraft:PATH or audiocraft:ID  state_dict.bin and compression_state_dict.bin, read without audiocraft
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from expotion import weights as files
from expotion.errors import Problem, WeightsError
from expotion.machine import auto_precision
from expotion.musicgen import audiocraft_files
from expotion.musicgen.codec import Codec
from expotion.musicgen.codec_files import codec_from_hf
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine.weights import DTYPES
from expotion.musicgen.geometry import LMGeometry
from expotion.musicgen.layouts import build_lm, hf_layout
from expotion.plugins import Registry

ALL_PARTS = frozenset({"lm", "codec"})
"""Prompts are read by the recipe's own text encoder, which finds the backbone's T5 by `text_source`."""


@dataclass
class Backbone:
    """A loaded MusicGen. `codec` is None where the source has none or it was not asked for."""

    lm: MusicGenLM
    codec: Codec | None
    frame_rate_hz: float
    sample_rate_hz: int
    source: str
    weight_files: tuple[Path, ...] = ()

    @property
    def geometry(self) -> LMGeometry:
        """Sizes of the language model."""
        return self.lm.geometry

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the weights files, hex."""
        return files.files_hash(self.weight_files)

    def cast(self, dtype: torch.dtype) -> Backbone:
        """The same with the language model in another type; the codec is shared."""
        if self.lm.dtype == dtype:
            return self
        return replace(self, lm=copy.deepcopy(self.lm).to(dtype))


def compute_dtype(precision: str, device: str = "cpu") -> torch.dtype:
    """The dtype to train on the frozen decoder in. `auto`: what this machine was measured to do fast and right."""
    return DTYPES[precision if precision in DTYPES else auto_precision(device)]


def backbone_folder(source: str, registry: Registry) -> str:
    """What `load_backbone` understands: a plugin's backbone becomes its folder, anything else stays."""
    if source not in registry.backbones and (":" in source or Path(source).is_dir()):
        return source
    return str(registry.backbone(source).locate())  # an unknown name is an error that lists the known ones


def backbone_trained_on(name: str, weights_hash: str, registry: Registry) -> Backbone:
    """The backbone of this name with the weights of this hash.

    Where its plugin has put other weights under the name since, the old ones are looked for under the plugin's
    other names. Raises WeightsError where it has them no more. What is no plugin's is taken as it is.
    """
    found, offer = load_backbone(backbone_folder(name, registry)), registry.backbones.get(name)
    if offer is None or found.weights_hash == weights_hash:
        return found
    for other, others in registry.backbones.items():
        if other != name and others.distribution == offer.distribution:
            old = load_backbone(backbone_folder(other, registry))
            if old.weights_hash == weights_hash:
                return old
    got = f"other weights, and {offer.distribution} {offer.version} has those under no name"
    fix = f"train the adaptor again, install an older {offer.distribution}, or name a --backbone of the same size"
    raise WeightsError(Problem(f"backbone '{name}'", "the weights that the adaptor was trained on", got, fix))


def text_source(source: str, cache: Path | None = None) -> str:
    """Where the text encoder of a backbone lies: in its own folder, or as audiocraft's files name it."""
    if not source.startswith("audiocraft:"):
        return source
    folder = files.folder_of(source.removeprefix("audiocraft:"), files.AUDIOCRAFT_FILES, cache)
    _, settings = audiocraft_files.read_checkpoint(folder / files.AUDIOCRAFT_FILES[0])
    return audiocraft_files.text_model_name(settings)


def load_backbone(
    source: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    parts: Collection[str] = ALL_PARTS,
    cache: Path | None = None,
) -> Backbone:
    """Load the asked parts of a MusicGen, frozen and in eval mode.

    The codec stays float32 but where another type was measured to keep its sound.

    Raises WeightsError with every mismatch at once: missing, unexpected and misshaped tensors, settings that
    would change the computation, files that are not there.
    """
    name = str(source)
    if name.startswith("audiocraft:"):
        place = name.removeprefix("audiocraft:")
        folder = files.folder_of(place, files.AUDIOCRAFT_FILES, cache)
        backbone = _from_audiocraft(folder, name, dtype, parts, cache)
    else:
        hub = name.startswith("hf:")
        folder = files.hub_snapshot(name.removeprefix("hf:"), cache=cache) if hub else Path(name).expanduser()
        if not folder.is_dir():
            wanted = "a folder, hf:OWNER/NAME or audiocraft:FOLDER"
            raise WeightsError(Problem(name, wanted, "no such folder"))
        audiocraft = (folder / "state_dict.bin").is_file() and not (folder / "config.json").is_file()
        build = _from_audiocraft if audiocraft else _from_hf
        backbone = build(folder, name, dtype, parts, cache)
    backbone.lm.to(device)
    if backbone.codec is not None:
        nn.Module.to(backbone.codec.model, device)
        backbone.codec.compute_in(DTYPES[auto_precision(device, "codec")])
    return backbone


def _from_hf(folder: Path, name: str, dtype: torch.dtype, parts: Collection[str], cache: Path | None) -> Backbone:
    config = files.read_json(folder / "config.json")
    where = str(folder / "config.json")
    kind = config.get("model_type")
    if kind not in ("musicgen", "musicgen_melody", "musicgen_decoder"):
        wanted = "musicgen, musicgen_melody or musicgen_decoder"
        raise WeightsError(Problem(f"{where} model_type", wanted, repr(kind)))
    full = kind != "musicgen_decoder"
    geometry = LMGeometry.from_hf(config, where)
    paths = files.safetensors_files(folder)
    tensors = files.read_safetensors(paths)
    own = {
        key: tensor
        for key, tensor in tensors.items()
        if not key.startswith(("text_encoder.", "audio_encoder."))
        # older conversions stored the sinusoidal table, which we compute
        and not key.endswith("embed_positions.weights")
    }
    lm = build_lm(own, geometry, hf_layout(geometry, "decoder." if full else ""), str(folder), dtype)
    sound = config.get("audio_encoder", {})
    codec = None
    if full and "codec" in parts:
        codec = codec_from_hf(files.under(tensors, "audio_encoder."), sound, str(folder))
        codec = _fitting(codec, geometry, str(folder))
    rates = 50.0, 32000
    if codec is not None:
        rates = codec.frame_rate_hz, codec.sample_rate_hz
    elif "upsampling_ratios" in sound and "sampling_rate" in sound:
        rate_hz = int(sound["sampling_rate"])
        rates = rate_hz / math.prod(map(int, sound["upsampling_ratios"])), rate_hz
    return Backbone(lm, codec, *rates, name, tuple(paths))


def _fitting(codec: Codec, geometry: LMGeometry, where: str) -> Codec:
    """The codec, of as many channels as the model has: stereo is the same codec for left and right."""
    own = (geometry.n_codebooks // geometry.channels, geometry.card)
    if (codec.n_codebooks, codec.card) != own:
        each = "" if geometry.channels == 1 else " for each channel"
        wanted = f"a codec with the model's {own[0]} codebooks of {own[1]} codes{each}"
        fix = "check target_bandwidths and codebook_size of audio_encoder"
        raise WeightsError(Problem(where, wanted, f"{codec.n_codebooks} of {codec.card}", fix))
    return Codec(codec.model, geometry.channels)


def _from_audiocraft(
    folder: Path, name: str, dtype: torch.dtype, parts: Collection[str], cache: Path | None
) -> Backbone:
    path, compression = (folder / file for file in files.AUDIOCRAFT_FILES)
    state, settings = audiocraft_files.read_checkpoint(path)
    lm = audiocraft_files.language_model(state, settings, str(path), dtype)
    codec = None
    rates, paths = (50.0, 32000), [path]
    if "codec" in parts:
        codec = _fitting(audiocraft_files.load_codec(compression, cache), lm.geometry, str(compression))
        rates = codec.frame_rate_hz, codec.sample_rate_hz
        paths.append(compression)
    return Backbone(lm, codec, *rates, name, tuple(paths))
