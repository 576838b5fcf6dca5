"""From a recipe to objects: the only place that sees both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.contracts import Encoder, EncoderSpec
from expotion.machine import auto_precision
from expotion.musicgen.codes import CodesEncoder
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine import Precision, prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.engine.weights import DTYPES
from expotion.musicgen.geometry import LMGeometry
from expotion.musicgen.load import Backbone, load_backbone
from expotion.plugins import Registry
from expotion.recipe import Recipe


def engine_for(lm: MusicGenLM, precision: str) -> Engine:
    """The decoder as generation runs it: auto, fp32, bf16, fp16 or int8 (`expotion.musicgen.engine`)."""
    return prepare(lm, cast(Precision, precision))


def compute_dtype(precision: str, device: str = "cpu") -> torch.dtype:
    """The dtype to train on the frozen decoder in. `auto`: bf16 where the processor multiplies it natively."""
    return DTYPES[precision if precision in DTYPES else auto_precision(device)]


def backbone_folder(source: str, registry: Registry) -> str:
    """What `load_backbone` understands: a plugin's backbone becomes its folder, anything else stays."""
    if source in registry.backbones:
        return str(registry.backbone(source).locate())
    if ":" in source or Path(source).is_dir():
        return source
    return str(registry.backbone(source).locate())  # raises the error that lists the names


def open_backbone(recipe: Recipe, registry: Registry) -> Backbone:
    """The frozen MusicGen of a recipe, float32 on the CPU."""
    return load_backbone(backbone_folder(recipe.backbone.source, registry))


def build_encoder(spec: EncoderSpec, options: Mapping[str, Any]) -> Encoder:
    """An encoder from its spec and its plain options."""
    return spec.build(spec.options(**options))


def build_encoders(recipe: Recipe, registry: Registry) -> dict[str, Encoder]:
    """Condition name -> encoder."""
    encoders = {}
    for condition in recipe.conditions:
        encoder = build_encoder(registry.encoder(condition.encoder), condition.options)
        if condition.smooth.max_gap_s is not None:
            encoder.max_gap_s = condition.smooth.max_gap_s
        encoders[condition.name] = encoder
    return encoders


CODES = "@codes"
"""Name of the codec among a recipe's encoders; no condition can be called so."""


@dataclass(frozen=True)
class EncoderFactory:
    """Builds a recipe's encoders, and the codec as `CODES`, in another process: plain data in."""

    recipe: dict[str, Any]
    codec_source: str

    def __call__(self) -> dict[str, Encoder]:
        """The encoders, and the codec."""
        from expotion.plugins import discover  # noqa: PLC0415 - runs in the worker

        encoders = build_encoders(Recipe.from_dict(self.recipe), discover())
        codec = load_backbone(self.codec_source, parts=frozenset({"codec"})).codec
        assert codec is not None
        return {**encoders, CODES: CodesEncoder(codec)}


def adaptor_config(
    recipe: Recipe, widths: Mapping[str, int], geometry: LMGeometry, n_rows: int
) -> AdaptorConfig:
    """The adaptor's geometry; `widths` maps condition name -> D, `n_rows` = T + 1 of the training clips."""
    settings = recipe.adaptor
    return AdaptorConfig(
        modalities=tuple(
            Modality(name=c.name, d_in=widths[c.name], rank=c.rank, null=settings.null)
            for c in recipe.conditions
        ),
        width=geometry.width,
        n_lm_layers=geometry.n_layers,
        n_adapted=settings.n_adapted(geometry.n_layers),
        max_rows=(settings.position_rows or n_rows) if settings.needs_rows else None,
        **settings.choices(),
    )


def build_adaptor(
    recipe: Recipe, encoders: Mapping[str, Encoder], geometry: LMGeometry, n_rows: int
) -> Adaptor:
    """A fresh adaptor with each encoder's own projection, seeded by the recipe."""
    torch.manual_seed(recipe.train_seed)
    config = adaptor_config(recipe, _widths(recipe, encoders), geometry, n_rows)
    return Adaptor(config, build_projections(recipe, encoders), seed=recipe.train_seed)


def build_projections(recipe: Recipe, encoders: Mapping[str, Encoder]) -> dict[str, torch.nn.Module]:
    """Each encoder's own projection by condition name: what `load_adaptor` needs to build the same modules."""
    widths = _widths(recipe, encoders)
    return {c.name: encoders[c.name].project(widths[c.name], c.rank) for c in recipe.conditions}


def _widths(recipe: Recipe, encoders: Mapping[str, Encoder]) -> dict[str, int]:
    return {c.name: encoders[c.name].spec.width(encoders[c.name].options) for c in recipe.conditions}


def build_text_encoder(recipe: Recipe, registry: Registry, backbone_source: str) -> Encoder:
    """The recipe's text encoder; unless it names a model of its own, it reads the backbone's."""
    spec = registry.encoder(recipe.text.encoder)
    options = dict(recipe.text.options)
    if "model" in spec.options.model_fields and options.get("model") is None:
        options["model"] = backbone_source
    return build_encoder(spec, options)
