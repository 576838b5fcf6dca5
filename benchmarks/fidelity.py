"""What the choices between the paper, the released code and ours are worth on the conductor world.

    uv run python benchmarks/fidelity.py                    # every variant; hours on two cores
    uv run python benchmarks/fidelity.py --only ours causal --steps 60

Each variant is the main recipe with one thing changed, trained on the same clips and measured on development clips,
with the same generation seeds. `null_branch` changes generation only, so those rows share ours' adaptor and are
guided by one scale for text and controls (`control_scale: null`), the setting in which that branch matters.
A table of means with paired 95% intervals against ours comes on standard error, then one line of JSON:
per variant `beat_f1`, `intensity_correlation`, `validation_loss`, `control_gain`, and the paired differences.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.build import build_adaptor
from expotion.contracts import Clip, Encoder, Scored
from expotion.evaluate.registry import BUILT_IN
from expotion.evaluate.statistics import difference, mean_interval
from expotion.features import material
from expotion.features.encoders import build_encoders, build_text_encoder
from expotion.features.store import FeatureStore
from expotion.music.compose import Request, Windows, compose
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.musicgen.engine import prepare
from expotion.musicgen.load import Backbone, backbone_folder, compute_dtype, load_backbone
from expotion.plugins import Registry, discover
from expotion.recipe import Recipe, load_recipe
from expotion.run.training import split_validation
from expotion.train.examples import stack_examples, standardise_inputs
from expotion.train.loop import Record, TrainingRun

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "face_motion.yaml"
DEVELOPMENT_SEED = 5_000_100
METRICS = ["beat_f1", "intensity_correlation"]
LOSSES = ("validation_loss", "control_gain")
Scores = dict[str, dict[str, float]]
"""Metric -> clip id -> value."""
Row = dict[str, list[float | None] | float]


def as_named(preset: str) -> list[str]:
    """Adapted, trained (by epochs) and guided as a preset says."""
    return [f"{section}.preset={preset}" for section in ("adaptor", "train", "generate")]


CHANGES: dict[str, list[str]] = {
    "ours": [],
    "ours, another seed": ["seed=8"],
    "prefix causal (1)": ["adaptor.prefix_attention=causal"],
    "positions table (5)": ["adaptor.positions=table"],
    "positions fused (5)": ["adaptor.positions=fused"],
    "fusion shared (6)": ["adaptor.fusion=shared"],
    "prefix without norm, residual, FFN (2-4)": ["adaptor.prefix_block=attention"],
    "paper": as_named("paper"),
    "paper, another seed": [*as_named("paper"), "seed=8"],
    "released code": as_named("released_code"),
    "released code, another seed": [*as_named("released_code"), "seed=8"],
    "last quarter of the layers (11)": ["adaptor.layers=last_quarter"],
    "one learning rate, clip 0.1, decay 0.02 (15)": [
        "train.learning_rate=0.01",
        "train.clip_norm=0.1",
        "train.weight_decay=0.02",
    ],
    "no condition dropout (18)": ["train.condition_dropout=0.0"],
    "start table": ["adaptor.start=table"],
    "inputs not standardised": ["adaptor.standardise=false"],
    "no context swap": ["train.context_swap=false"],
}
NULL_BRANCHES = ("none", "null_vectors", "full")


@dataclass
class World:
    """What every variant shares."""

    registry: Registry
    base: list[str]
    backbone: Backbone
    store: FeatureStore


@dataclass
class Material:
    """Clips and features of the unchanged recipe: no variant changes them."""

    encoders: dict[str, Encoder]
    prompts: material.Prompts
    train: list[Clip]
    test: list[Clip]
    made: material.Tracks


def recipe_with(world: World, changes: Sequence[str]) -> Recipe:
    """The main recipe on development clips, with changes."""
    return load_recipe(RECIPE, registry=world.registry, sets=[*world.base, *changes])


def gather(world: World, recipe: Recipe) -> Material:
    """Render the clips and extract everything once."""
    source = backbone_folder(recipe.backbone.source, world.registry)
    encoders = build_encoders(recipe, world.registry)
    spec = world.registry.data_source(recipe.data.source)
    data = spec.build(spec.options(**recipe.data.options))
    train, test = list(data.clips("train")), list(data.clips("test"))
    failures = material.Failures()
    made = material.extract_all(
        recipe, encoders, source, [*train, *test], world.store, failures, progress=lambda _done, _total: None
    )
    if failures.by_clip:
        raise SystemExit(f"clips failed: {failures.by_clip}")
    prompts = material.Prompts(build_text_encoder(recipe, world.registry, source))
    return Material(encoders, prompts, train, test, made)


def train_variant(world: World, recipe: Recipe, held: Material) -> tuple[Adaptor, Record]:
    """A trained adaptor and its last validation record."""
    rate_hz = world.backbone.frame_rate_hz
    examples = stack_examples(recipe, held.encoders, held.train, held.made, held.prompts, rate_hz)
    n_rows = examples.codes.shape[-1] + 1
    adaptor = build_adaptor(recipe, held.encoders, world.backbone.geometry, n_rows)
    lm = world.backbone.cast(compute_dtype(recipe.train.precision)).lm
    train, validation = split_validation(examples, recipe.train)
    standardise_inputs(adaptor, train)
    settings = recipe.train.in_steps(len(train))
    run = TrainingRun(lm, adaptor, train, settings, seed=recipe.train_seed, validation=validation)
    for _record in run.run():
        pass
    run.finish()
    return adaptor, run.records[-1]


def score(world: World, recipe: Recipe, held: Material, adaptor: Adaptor) -> Scores:
    """Metric -> clip id -> value, all conditions together."""
    rate_hz, codec = world.backbone.frame_rate_hz, world.backbone.codec
    assert codec is not None
    lm = prepare(world.backbone.lm, recipe.generate.precision)
    steering, windows = Steering().over(recipe), Windows(material.n_frames_of(held.train[0], rate_hz))
    functions = {name: BUILT_IN[name].build() for name in METRICS}
    values: Scores = {name: {} for name in METRICS}
    requests = []
    for index, clip in enumerate(held.test):
        n_frames = material.n_frames_of(clip, rate_hz)
        tracks = material.smooth_all(held.encoders, held.made.tracks[clip.id], n_frames, rate_hz)
        requests.append(Request(n_frames, held.prompts[clip.caption], tracks, {}, 1000 + index))
    for first in range(0, len(requests), 8):
        found = compose(lm, adaptor, requests[first : first + 8], steering, windows)
        for clip, codes in zip(held.test[first : first + 8], found, strict=True):
            rate = world.backbone.sample_rate_hz
            sound = Scored(to_sound(codec, codes, round(clip.duration_s * rate)), rate, clip)
            for name, function in functions.items():
                value = function(sound).value
                if value is not None:
                    values[name][clip.id] = value
    return values


def measure(world: World, held: Material, name: str, recipe: Recipe, adaptor: Adaptor) -> Scores:
    """Scores of one row, said on standard error."""
    values = score(world, recipe, held, adaptor)
    shown = {
        metric: round(mean_interval(list(by_clip.values())).mean or 0.0, 3) for metric, by_clip in values.items()
    }
    print(f"{name}: {shown}", file=sys.stderr, flush=True)
    return values


def table_row(values: Scores, ours: Scores) -> Row:
    """Means, and differences to ours with their interval: metric -> [mean, difference, low, high]."""
    row: Row = {}
    for metric, by_clip in values.items():
        apart = difference([by_clip], [ours[metric]])
        numbers = (mean_interval(list(by_clip.values())).mean, apart.mean, apart.ci_low, apart.ci_high)
        row[metric] = [None if n is None else round(n, 3) for n in numbers]
    return row


def main() -> None:
    """Train and measure every variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of variants; ours always runs")
    parser.add_argument("--steps", type=int, help="training steps instead of the recipe's")
    parser.add_argument("--train-clips", type=int, default=256)
    parser.add_argument("--test-clips", type=int, default=24)
    asked = parser.parse_args()
    registry = discover()
    base = [
        f"data.train_clips={asked.train_clips}",
        f"data.test_clips={asked.test_clips}",
        f"data.test_seed={DEVELOPMENT_SEED}",
    ]
    base += [f"train.steps={asked.steps}"] if asked.steps else []
    folder = Path(tempfile.mkdtemp(prefix="expotion-fidelity-"))
    plain = load_recipe(RECIPE, registry=registry, sets=base)
    backbone = load_backbone(backbone_folder(plain.backbone.source, registry))
    world = World(registry, base, backbone, FeatureStore(folder))
    held = gather(world, plain)

    chosen = [n for n in CHANGES if n == "ours" or not asked.only or any(part in n for part in asked.only)]
    scores: dict[str, Scores] = {}
    result: dict[str, Row] = {}
    for name in chosen:
        recipe = recipe_with(world, CHANGES[name])
        adaptor, record = train_variant(world, recipe, held)
        scores[name] = measure(world, held, name, recipe, adaptor)
        result[name] = {**table_row(scores[name], scores["ours"])}
        result[name] |= {key: round(float(record[key]), 4) for key in LOSSES if key in record}
        if name == "ours":
            together = recipe_with(world, ["generate.control_scale=null"])
            for branch in NULL_BRANCHES:
                adaptor.config = replace(adaptor.config, null_branch=branch)
                row = f"null branch {branch}, one scale (25)"
                scores[row] = measure(world, held, row, together, adaptor)
                result[row] = {**table_row(scores[row], scores["ours"])}
    print_table(result)
    print(json.dumps({"variants": result, "steps": plain.train.steps, "notes": []}))


def print_table(result: dict[str, Row]) -> None:
    """The table of docs/fidelity.md, as Markdown, on standard error."""
    print(f"| variant | {' | '.join(METRICS)} | validation loss | control gain |", file=sys.stderr)
    for name, row in result.items():
        cells = []
        for metric in METRICS:
            mean, difference, low, high = row[metric]  # type: ignore[misc]
            cells.append(f"{mean:.2f} ({difference:+.2f} [{low:+.2f}, {high:+.2f}])")
        cells += [str(row.get(key, "")) for key in LOSSES]
        print(f"| {name} | {' | '.join(cells)} |", file=sys.stderr)


if __name__ == "__main__":
    main()
