"""The encoders of a recipe: from names and plain options to objects, here or in another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expotion.contracts import Encoder, EncoderSpec
from expotion.musicgen.codes import CodesEncoder
from expotion.musicgen.load import load_backbone
from expotion.plugins import Registry
from expotion.recipe import Recipe

CODES = "@codes"
"""Name of the codec among a recipe's encoders; no condition can be called so."""


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


def build_text_encoder(recipe: Recipe, registry: Registry, backbone_source: str) -> Encoder:
    """The recipe's text encoder; unless it names a model of its own, it reads the backbone's."""
    spec = registry.encoder(recipe.text.encoder)
    options = dict(recipe.text.options)
    if "model" in spec.options.model_fields and options.get("model") is None:
        options["model"] = backbone_source
    return build_encoder(spec, options)


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
