"""What a recipe will do, in numbers: shapes, rates, parameters, cost; needs neither weights nor torch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expotion import timeline
from expotion.contracts import Clip
from expotion.errors import ExpotionError, Problem, WeightsError, in_short
from expotion.plugins import Registry
from expotion.recipe.lacks import Lack
from expotion.recipe.schema import NOT_GENERATED, Condition, Recipe

_HUB_SIZES = {"small": (1024, 24, 16), "medium": (1536, 48, 24), "melody": (1536, 48, 24), "large": (2048, 48, 32)}
"""Width, layers, heads of the published MusicGen models (facts 2.1), by the end of their names."""

_LAPTOP_FLOPS = 1.0e11
"""Sustained rate assumed for the rough times: two CPU cores of a laptop."""


@dataclass(frozen=True)
class Geometry:
    """Size of a backbone: decoder width, layers, heads, codebooks, entries; rate of its codes in Hz."""

    width: int
    n_layers: int
    n_heads: int
    n_codebooks: int
    card: int
    rate_hz: float


@dataclass(frozen=True)
class ConditionPlan:
    """One modality: encoder, width D, native rate (None: no track), rank r, strength."""

    name: str
    encoder: str
    width: int
    rate_hz: float | None
    rank: int
    strength: float


@dataclass(frozen=True)
class Plan:
    """The stages of a recipe in numbers. `n_steps` is T: prefix tracks have T+1 rows.

    `train_steps` are those of training, 0 without conditions.
    """

    geometry: Geometry | None
    clip_s: float
    clips: dict[str, int]
    n_steps: int
    conditions: tuple[ConditionPlan, ...]
    n_adapted: int | None
    trainable: int | None
    train_steps: int
    train_flops: float | None
    generate_flops: float | None
    generate_bytes: float = 0.0

    @property
    def train_seconds(self) -> float | None:
        """Rough time of training on two CPU cores, in seconds."""
        return None if self.train_flops is None else self.train_flops / _LAPTOP_FLOPS

    @property
    def generate_seconds(self) -> float | None:
        """Rough time of generating all test clips under every condition on two CPU cores, in seconds."""
        # Reading the weights step by step costs about four times the arithmetic.
        return None if self.generate_flops is None else 4.0 * self.generate_flops / _LAPTOP_FLOPS


@dataclass(frozen=True)
class Found:
    """What a data source has, undecoded: clips by split, the longest clip's length in seconds, the test clips."""

    clips: dict[str, int]
    clip_s: float
    test: Sequence[Clip] = ()


def found_clips(recipe: Recipe, registry: Registry, *, train: bool) -> Found:
    """Ask the data source of a resolved recipe, decoding nothing, for clips to train on only where `train`.

    Raises what the source raises: a lost manifest, an empty split.
    """
    spec = registry.offers("data source")[recipe.data.source].spec
    source = spec.build(spec.options(**recipe.data.options))
    clips = {"train": source.clips("train") if train else (), "test": source.clips("test")}
    longest_s = max((clip.duration_s for some in clips.values() for clip in some), default=0.0)
    return Found({split: len(some) for split, some in clips.items()}, longest_s, clips["test"])


def clips_or_lack(recipe: Recipe, registry: Registry, lacks: Sequence[Lack], *, train: bool) -> Found | None:
    """`found_clips`; None where they cannot be told because a file that the recipe names is among the `lacks`."""
    try:
        return found_clips(recipe, registry, train=train)
    except ExpotionError:
        if any(lack.weights is None for lack in lacks):
            return None
        raise


def plan_of(recipe: Recipe, registry: Registry, found: Found | None = None) -> Plan:
    """The plan of a recipe that `load_recipe` resolved against the same registry.

    Without `found` the clips are those that the options of the data source name.
    """
    geometry = geometry_of(recipe, registry)
    rate_hz = geometry.rate_hz if geometry else timeline.CODEC_RATE_HZ
    if found is None:
        options = recipe.data.options
        clips = {split: int(options.get(f"{split}_clips") or 0) for split in ("train", "test")}
        found = Found(clips, float(options.get("clip_s") or options.get("duration_s") or 10.0))
    clips = found.clips
    n_steps = timeline.n_steps(found.clip_s, rate_hz)
    conditions = tuple(_condition(condition, registry) for condition in recipe.conditions)
    n_adapted = recipe.adaptor.n_adapted(geometry.n_layers) if geometry else None
    train = recipe.train.in_steps(clips["train"] - recipe.train.n_validated(clips["train"]))
    train_steps = train.steps if conditions else 0
    trainable = train_flops = generate_flops = None
    generate_bytes = 0.0
    if geometry is not None:
        trainable = _n_trainable(recipe, geometry, conditions, n_steps) if conditions else 0
        # Gradients go through decoder and prefix to the adaptor; the frozen weights want none.
        n_trained = min(train.stretch_frames or n_steps, n_steps)
        forward = forward_flops(geometry, n_trained + 1, n_adapted or 0, recipe.adaptor.prefix_block)
        train_flops = 2.0 * forward * train.clips_per_step * train_steps
        sampled = set(recipe.evaluation_conditions()) - {*NOT_GENERATED}
        pieces, generate = max(clips["test"], 1) * len(sampled), recipe.generate
        rows = 2 if generate.control_scale is None else 3  # guidance's
        generate_flops = rows * forward_flops(geometry, n_steps) * pieces
        # Every step of a batch reads all weights, in 16 bits.
        batches = len(sampled) * math.ceil(max(clips["test"], 1) / generate.batch_size)
        generate_bytes = 2.0 * n_decoder(geometry) * n_steps * batches
    return Plan(
        geometry,
        found.clip_s,
        clips,
        n_steps,
        conditions,
        n_adapted,
        trainable,
        train_steps,
        train_flops,
        generate_flops,
        generate_bytes,
    )


def forward_flops(geometry: Geometry, n_positions: int, n_adapted: int = 0, block: str = "layer") -> float:
    """Floating-point operations of one sequence through the decoder, and of the prefix of its last layers.

    A layer's matrices are 4 d^2 of self-attention, 2 d^2 of cross-attention (the text's keys are made once) and
    8 d^2 of the feed-forward part; attention over S positions is 4 S d for each. A multiplication with its
    addition is two.
    """
    d, s = geometry.width, n_positions
    heads = 2.0 * geometry.n_codebooks * geometry.card * d
    decoder = geometry.n_layers * (2.0 * 14 * d**2 + 4.0 * s * d) + heads
    prefix = n_adapted * (2.0 * (12 if block == "layer" else 4) * d**2 + 2 * 4.0 * s * d)
    return s * (decoder + prefix)


def n_decoder(geometry: Geometry, text_width: int = 768) -> int:
    """Parameters of the decoder, without text encoder and codec."""
    d, k = geometry.width, geometry.n_codebooks
    layer = 16 * d**2 + 6 * d
    projection = text_width * d + d if text_width != d else 0
    return geometry.n_layers * layer + k * (geometry.card + 1) * d + k * geometry.card * d + 2 * d + projection


def _condition(condition: Condition, registry: Registry) -> ConditionPlan:
    spec = registry.encoder(condition.encoder)
    options = spec.options(**condition.options)
    width, rate_hz = spec.width(options), spec.rate_hz(options)
    return ConditionPlan(condition.name, condition.encoder, width, rate_hz, condition.rank, condition.strength)


def _n_trainable(recipe: Recipe, geometry: Geometry, conditions: tuple[ConditionPlan, ...], n_steps: int) -> int:
    """Number of trainable values of the adaptor: projections, nulls, fusion, positions, start, gates."""
    adaptor = recipe.adaptor
    layers = adaptor.n_adapted(geometry.n_layers)
    rank = sum(condition.rank for condition in conditions)
    rows = adaptor.position_rows or n_steps + 1
    project = sum(condition.width * condition.rank for condition in conditions)
    null = {"vector": rank, "zero": 0, "layer_table": layers * rows * rank}[adaptor.null]
    fusion = rank * geometry.width * (layers if adaptor.fusion == "per_layer" else 1)
    tables = {"table": layers * rows * geometry.width, "fused": rows * rank, "sinusoidal": layers}
    positions = tables[adaptor.positions]
    start = geometry.width * (rows if adaptor.start == "table" else 1)
    return project + null + fusion + positions + start + layers


def geometry_of(recipe: Recipe, registry: Registry) -> Geometry | None:
    """Size of the recipe's backbone from its `config.json`, the published size of a hub model, or None."""
    backbone = recipe.backbone
    if backbone.kind == "plugin":
        try:
            return read_geometry(registry.backbone(backbone.source).locate())
        except WeightsError:
            return None
    if backbone.kind == "folder":
        return read_geometry(Path(backbone.source).expanduser())
    size = _HUB_SIZES.get(backbone.reference.rstrip("/").rsplit("-", 1)[-1])
    n_codebooks = 8 if "-stereo-" in backbone.reference else 4
    return None if size is None else Geometry(*size, n_codebooks, 2048, timeline.CODEC_RATE_HZ)


def read_geometry(folder: Path) -> Geometry:
    """Size of a MusicGen folder in transformers' layout. Raises `ExpotionError` for any other folder."""
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        decoder, codec = config["decoder"], config["audio_encoder"]
        # A key that is missing has transformers' default: its writer may leave defaults out.
        hop = math.prod(int(ratio) for ratio in codec.get("upsampling_ratios", (8, 5, 4, 2)))
        return Geometry(
            width=int(decoder.get("hidden_size", 1024)),
            n_layers=int(decoder.get("num_hidden_layers", 24)),
            n_heads=int(decoder.get("num_attention_heads", 16)),
            n_codebooks=int(decoder.get("num_codebooks", 4)),
            card=int(decoder.get("vocab_size", 2048)),
            rate_hz=float(codec.get("sampling_rate", 24_000)) / hop,
        )
    except FileNotFoundError:
        fix = "name a folder that holds a MusicGen in transformers' layout"
        raise ExpotionError(Problem(str(path), "an existing file", "no such file", fix)) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = "the config of a MusicGen in transformers' layout"
        raise ExpotionError(Problem(str(path), wanted, in_short(error))) from None
