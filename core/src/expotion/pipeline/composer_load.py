"""Opening a composer: an adaptor folder, its backbone and its encoders, checked against each other."""

from __future__ import annotations

import logging
from pathlib import Path

from expotion.adaptor.checkpoint import load_adaptor, read_description
from expotion.assemble import backbone_folder, build_encoders, build_projections, build_text_encoder
from expotion.backbone.load import load_backbone
from expotion.errors import ExpotionError, Problem, WeightsError
from expotion.pipeline.composer import Composer
from expotion.pipeline.material import Prompts
from expotion.pipeline.music_checks import find_adaptor
from expotion.plugins import Registry, discover
from expotion.recipe import Recipe

log = logging.getLogger("expotion")


def load(
    adaptor: str | Path | None = None,
    *,
    backbone: str | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Composer:
    """A composer from an adaptor or run folder; without one, with the adaptor that the package ships.

    `backbone` names another MusicGen (a plugin's name, `hf:ORG/NAME`, a folder) of the same size.
    `precision`: fp32, bf16, fp16, int8, or auto for what suits the machine. Raises ExpotionError with what is
    missing.
    """
    if device not in ("auto", "cpu"):
        raise ExpotionError(
            Problem("device", "auto or cpu", device, "generation runs on the processor; training takes a GPU")
        )
    folder = None if adaptor is None else Path(adaptor).expanduser()
    composer = open_composer(folder, discover(), backbone)
    composer.precision = None if precision == "auto" else precision
    return composer


def open_composer(folder: Path | None, registry: Registry, backbone_source: str | None = None) -> Composer:
    """Load an adaptor folder (or a run folder that holds one), its backbone and its encoders.

    Without a folder the backbone's own default adaptor is taken. Raises ExpotionError with what is missing.
    """
    folder = find_adaptor(folder, registry, backbone_source)
    recipe = _recipe_of(folder)
    encoders = build_encoders(recipe, registry)
    adaptor, metadata = load_adaptor(folder, projections=build_projections(recipe, encoders))
    source = backbone_folder(backbone_source or recipe.backbone.source, registry)
    backbone = load_backbone(source)
    wanted, got = (
        (adaptor.config.width, adaptor.config.n_lm_layers),
        (backbone.geometry.width, backbone.geometry.n_layers),
    )
    if wanted != got:
        raise ExpotionError(
            Problem(
                where=f"backbone {source}",
                wanted=f"width {wanted[0]} and {wanted[1]} layers, which {folder} was trained on",
                got=f"width {got[0]} and {got[1]} layers",
                fix="leave out --backbone, or train an adaptor on that backbone",
            )
        )
    if backbone.weights_hash != metadata["backbone_hash"]:
        log.warning("the backbone's weights are not those that %s was trained on", folder)
    for name, encoder in encoders.items():
        if encoder.weights_hash != metadata["encoder_hashes"].get(name):
            log.warning("the weights of '%s' are not those that %s was trained with", name, folder)
    prompts = Prompts(build_text_encoder(recipe, registry, source))
    return Composer(recipe, backbone, adaptor, encoders, prompts, int(metadata["window_frames"]))


def _recipe_of(folder: Path) -> Recipe:
    """The recipe in an adaptor's description; WeightsError where training has not put it there."""
    found = read_description(folder).get("metadata")
    metadata = found if isinstance(found, dict) else {}
    needed = ("recipe", "backbone_hash", "encoder_hashes", "window_frames")
    missing = [key for key in needed if key not in metadata]
    if missing:
        raise WeightsError(
            Problem(
                where=str(folder / "adaptor.json"),
                wanted=f"metadata with {', '.join(needed)}",
                got=f"no {', '.join(missing)}",
                fix="give the run folder of a recipe",
            )
        )
    return Recipe.from_dict(metadata["recipe"])
