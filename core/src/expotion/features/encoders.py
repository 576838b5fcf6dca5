"""The encoders of a recipe: from names and plain options to objects, here or in another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from expotion import plugins
from expotion.contracts import Encoder, EncoderSpec
from expotion.musicgen.codes import CodesEncoder
from expotion.musicgen.load import load_backbone, text_source
from expotion.plugins import Registry
from expotion.recipe import Recipe

CODES = "@codes"
"""Name of the codec among a recipe's encoders; no condition can be called so."""


def build_encoder(spec: EncoderSpec, options: Mapping[str, Any]) -> Encoder:
    """An encoder from its spec and its plain options."""
    return spec.build(spec.options(**options))


def build_encoders(recipe: Recipe, registry: Registry) -> dict[str, Encoder]:
    """Condition name -> encoder."""
    encoders: dict[str, Encoder] = {}
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
        options["model"] = text_source(backbone_source)
    return build_encoder(spec, options)


@dataclass(frozen=True)
class EncodersFactory:
    """Builds the encoders of a recipe, or one by name, in whichever process; plain data in."""

    recipe: dict[str, Any] | None = None
    encoder: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    codec_source: str | None = None
    """With it the codec is among a recipe's encoders, as `CODES`, so that the music's codes are kept, too."""

    def __call__(self) -> dict[str, Encoder]:
        """Encoders by name."""
        registry = plugins.discover()  # looked up when it is called: the plugins of the moment
        if self.recipe is None:
            return {self.encoder: build_encoder(registry.encoder(self.encoder), self.options)}
        encoders = build_encoders(Recipe.from_dict(self.recipe), registry)
        if self.codec_source is not None:
            codec = load_backbone(self.codec_source, parts=frozenset({"codec"})).codec
            assert codec is not None
            encoders[CODES] = CodesEncoder(codec)
        return encoders
