"""What the choices between the paper, the released code and ours are worth on the conductor world.

    uv run python benchmarks/fidelity.py                    # every variant; an hour on two cores
    uv run python benchmarks/fidelity.py --only causal --steps 60
    uv run python benchmarks/fidelity.py --keep FOLDER      # what was trained stays there, and is not trained again

Each variant is the main recipe with something changed, trained on the same clips and measured on development clips
with the same generation seeds. Ours, the paper and the released code as named (adapted, trained by epochs and
guided as each says) have two training seeds. `null_branch` changes generation only, so those rows share ours'
adaptors and are guided by one scale for text and controls (`control_scale: null`), where that branch matters.
A table of means, with their differences from ours of the same seeds, paired by clip and with 95 % intervals, comes
on standard error, then one line of JSON: per variant and metric `mean`, `by_seed`, `difference`, `ci_low`,
`ci_high` and `p_holm`, corrected for all rows and metrics of the table; `validation_loss` and `control_gain`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.build import build_adaptor
from expotion.contracts import Clip, Encoder, Scored
from expotion.evaluate.registry import BUILT_IN
from expotion.evaluate.statistics import corrected, difference, mean_interval
from expotion.features import material
from expotion.features.encoders import build_encoders, build_text_encoder
from expotion.features.store import FeatureStore
from expotion.files import write_json
from expotion.music.compose import compose
from expotion.music.request import Request
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen.engine import prepare
from expotion.musicgen.load import Backbone, backbone_folder, compute_dtype, load_backbone
from expotion.plugins import Registry, discover
from expotion.recipe import Recipe, load_recipe
from expotion.recipe.schema import NullBranch
from expotion.run.training import split_validation
from expotion.train.checkpoints import CheckpointFolder
from expotion.train.examples import stack_examples, standardise_inputs
from expotion.train.loop import Loop, Record, SteeredMusic

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "face_motion.yaml"
DEVELOPMENT_SEED = 5_000_100
WHOLE = ["train.stretch_frames=null", "train.validate_every_steps=20", "generate.control_scale=4.0"]
"""The main job trains on half clips, to be quick; what is compared here sees whole ones."""
METRICS = ["beat_f1", "intensity_correlation"]
LOSSES = ("validation_loss", "control_gain")
Scores = dict[str, dict[str, float]]
"""Metric -> clip id -> value."""


def as_named(preset: str) -> list[str]:
    """Adapted, trained (by epochs) and guided as a preset says."""
    return [f"{section}.preset={preset}" for section in ("adaptor", "train", "generate")]


CHANGES: dict[str, list[str]] = {
    "ours": [],
    "prefix causal (1)": ["adaptor.prefix_attention=causal"],
    "positions table (5)": ["adaptor.positions=table"],
    "positions fused (5)": ["adaptor.positions=fused"],
    "fusion shared (6)": ["adaptor.fusion=shared"],
    "prefix without norm, residual, FFN (2-4)": ["adaptor.prefix_block=attention"],
    "paper": as_named("paper"),
    "released code": as_named("released_code"),
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
NULL_BRANCHES: tuple[NullBranch, ...] = ("none", "null_vectors", "full")
SEEDS: dict[str, tuple[int, ...]] = {"ours": (7, 8), "paper": (7, 8), "released code": (7, 8)}
ONE_SEED = (7,)
Found = dict[str, dict[str, object]]
"""Of one training: row -> {scores, losses}."""


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


def train_variant(world: World, recipe: Recipe, held: Material, folder: Path) -> tuple[Adaptor, Record]:
    """A trained adaptor and its last record; checkpoints in `folder`, from which a cut training goes on."""
    rate_hz = world.backbone.frame_rate_hz
    examples = stack_examples(recipe, held.encoders, held.train, held.made, held.prompts, rate_hz)
    n_rows = examples.codes.shape[-1] + 1
    adaptor = build_adaptor(recipe, held.encoders, world.backbone.geometry, n_rows)
    lm = world.backbone.cast(compute_dtype(recipe.train.precision)).lm
    train, validation = split_validation(examples, recipe.train)
    standardise_inputs(adaptor, train)
    settings = recipe.train.in_steps(len(train))
    keeper = CheckpointFolder(folder)
    run = Loop(SteeredMusic(lm, adaptor, train, settings, recipe.train_seed, validation), settings, keeper=keeper)
    run.resume()
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


def train_and_measure(world: World, held: Material, name: str, seed: int, folder: Path) -> Found:
    """One training and the rows it gives: its own, and with ours those of the null branches."""
    changes = [*CHANGES[name], f"seed={seed}"]
    recipe = recipe_with(world, changes)
    adaptor, record = train_variant(world, recipe, held, folder)
    losses = {key: round(float(record[key]), 4) for key in LOSSES if key in record}
    found: Found = {
        name: {"scores": measure(world, held, f"{name}, seed {seed}", recipe, adaptor), "losses": losses}
    }
    if name == "ours":
        together = recipe_with(world, [*changes, "generate.control_scale=null"])
        for branch in NULL_BRANCHES:
            adaptor.config = replace(adaptor.config, null_branch=branch)
            row = f"null branch {branch}, one scale (25)"
            scores = measure(world, held, f"{row}, seed {seed}", together, adaptor)
            found[row] = {"scores": scores, "losses": {}}
    return found


def table(trained: Mapping[tuple[str, int], Found]) -> dict[str, dict[str, object]]:
    """Rows with their differences from ours of the same seeds, corrected for all of them."""
    by_row: dict[str, dict[int, dict[str, object]]] = {}
    for (_, seed), made in trained.items():
        for row, one in made.items():
            by_row.setdefault(row, {})[seed] = one

    def values(row: str, metric: str, seeds: Iterable[int]) -> list[dict[str, float]]:
        return [by_row[row][seed]["scores"][metric] for seed in seeds]  # type: ignore[index]

    apart = corrected(
        {
            (row, metric): difference(values(row, metric, seeds), values("ours", metric, seeds))
            for row, seeds in by_row.items()
            for metric in METRICS
            if row != "ours"
        }
    )
    rows: dict[str, dict[str, object]] = {}
    for row, seeds in by_row.items():
        rows[row] = {key: value for key, value in next(iter(seeds.values()))["losses"].items()}  # type: ignore[attr-defined]
        for metric in METRICS:
            by_seed = [float(np.mean(list(one.values()))) for one in values(row, metric, seeds)]
            cell: dict[str, object] = {"mean": round(float(np.mean(by_seed)), 3)}
            cell["by_seed"] = {str(seed): round(mean, 3) for seed, mean in zip(seeds, by_seed, strict=True)}
            if (found := apart.get((row, metric))) is not None:
                told = {"difference": found.mean, "ci_low": found.ci_low, "ci_high": found.ci_high}
                told["p_holm"] = found.p_holm
                cell |= {key: None if value is None else round(value, 4) for key, value in told.items()}
            rows[row][metric] = cell
    return rows


def main() -> None:
    """Train and measure every variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of variants; ours always runs")
    parser.add_argument("--steps", type=int, help="training steps instead of the recipe's")
    parser.add_argument("--train-clips", type=int, default=256)
    parser.add_argument("--test-clips", type=int, default=24)
    parser.add_argument("--keep", type=Path, help="folder of features and of what each training gave")
    asked = parser.parse_args()
    registry = discover()
    base = [
        f"data.train_clips={asked.train_clips}",
        f"data.test_clips={asked.test_clips}",
        f"data.test_seed={DEVELOPMENT_SEED}",
        *WHOLE,
    ]
    base += [f"train.steps={asked.steps}"] if asked.steps else []
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="expotion-fidelity-"))
    folder.mkdir(parents=True, exist_ok=True)
    plain = load_recipe(RECIPE, registry=registry, sets=base)
    backbone = load_backbone(backbone_folder(plain.backbone.source, registry))
    world = World(registry, base, backbone, FeatureStore(folder))
    held = gather(world, plain)

    chosen = [n for n in CHANGES if n == "ours" or not asked.only or any(part in n for part in asked.only)]
    trained: dict[tuple[str, int], Found] = {}
    for name in chosen:
        for seed in SEEDS.get(name, ONE_SEED):
            told = {"name": name, "seed": seed, "base": base, "changes": CHANGES[name]}
            key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
            kept = folder / f"trained-{key}.json"
            if not kept.exists():
                write_json(
                    kept, {**told, "found": train_and_measure(world, held, name, seed, kept.with_suffix(""))}
                )
            trained[name, seed] = json.loads(kept.read_text(encoding="utf-8"))["found"]
    rows = table(trained)
    print_table(rows)
    print(json.dumps({"variants": rows, "steps": plain.train.steps, "notes": []}))


def print_table(rows: Mapping[str, Mapping[str, object]]) -> None:
    """The table of docs/fidelity.md, as Markdown, on standard error."""
    print(f"| variant | {' | '.join(METRICS)} |", file=sys.stderr)
    for name, row in rows.items():
        cells = []
        for metric in METRICS:
            cell: dict[str, float] = row[metric]  # type: ignore[assignment]
            text = f"{cell['mean']:.2f}"
            if "difference" in cell:
                low, high = cell["ci_low"], cell["ci_high"]
                text += f" ({cell['difference']:+.2f} [{low:+.2f}, {high:+.2f}], p {cell['p_holm']:.3f})"
            cells.append(text)
        print(f"| {name} | {' | '.join(cells)} |", file=sys.stderr)


if __name__ == "__main__":
    main()
