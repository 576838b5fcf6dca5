"""What a matrix will take, estimated before anything runs: minutes on this number of cores, and disk.

Rates are processor seconds measured on one core of a Xeon with AMX (docs/ablations.md says by which commands);
another processor differs, often by a factor of two. Encoders and backbones say their own (`cost_s`). For a backbone
that says none the time is that of the arithmetic (`recipe.plan`); an encoder that says none is not estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from expotion.matrix.declare import Cell, Matrix
from expotion.plugins import Registry
from expotion.recipe.lacks import Lack
from expotion.recipe.plan import Plan, clips_or_lack, plan_of
from expotion.recipe.schema import NOT_GENERATED, Recipe

OPEN_S = 0.0194
"""Drawing and decoding, per second of clip; once per clip, whatever the number of encoders."""
CODES_S = 0.0214
CELL_S = 20.0
"""Loading, evaluation and report of a cell."""
TABLE_S = 40.0
WAV_BYTES_PER_S = 64_000
REPORT_BYTES = 5_000_000
CHECKPOINT_BYTES_PER_VALUE = 36
"""Values, gradients' moments and averages in float32, in up to three checkpoints."""
CODES_BYTES_PER_S = 800


@dataclass(frozen=True)
class CellCost:
    """Processor seconds and bytes of a cell; None where it cannot be told."""

    name: str
    row: str
    train_steps: int
    train_s: float | None
    generate_s: float | None
    disk_bytes: int

    @property
    def seconds(self) -> float | None:
        """All of the cell, without what is shared."""
        if self.train_s is None or self.generate_s is None:
            return None
        return self.train_s + self.generate_s + CELL_S


@dataclass(frozen=True)
class Shared:
    """What several cells use and is made once: how it is called, which cells, processor seconds."""

    what: str
    cells: tuple[str, ...]
    seconds: float | None


@dataclass(frozen=True)
class Cost:
    """The estimate: shared stages, cells, bytes of shared features."""

    shared: tuple[Shared, ...]
    cells: tuple[CellCost, ...]
    feature_bytes: int

    def minutes(self, cores: int) -> float | None:
        """Wall time on some cores, all of them busy; None where a part cannot be told."""
        parts = [*[s.seconds for s in self.shared], *[cell.seconds for cell in self.cells]]
        if any(part is None for part in parts):
            return None
        return (sum(part or 0.0 for part in parts) + TABLE_S) / max(1, cores) / 60

    @property
    def disk_bytes(self) -> int:
        """Run folders, and features in the cache."""
        return self.feature_bytes + sum(cell.disk_bytes for cell in self.cells)


def cost_of(matrix: Matrix, registry: Registry, lacks: Sequence[Lack] = ()) -> Cost:
    """The estimate of a resolved matrix. Raises what its data sources raise, but for what is told among `lacks`."""
    by_data: dict[str, list[Recipe]] = {}
    for cell in matrix.cells:
        by_data.setdefault(cell.recipe.section_hash("data"), []).append(cell.recipe)
    found = {
        key: clips_or_lack(recipes[0], registry, lacks, train=any(recipe.conditions for recipe in recipes))
        for key, recipes in by_data.items()
    }
    plans = {
        cell.name: plan_of(cell.recipe, registry, found[cell.recipe.section_hash("data")]) for cell in matrix.cells
    }
    groups: dict[str, list[Cell]] = {}
    for cell in matrix.cells:
        groups.setdefault(cell.recipe.section_hash("data", "backbone"), []).append(cell)
    shared: list[Shared] = []
    features = 0
    for cells in groups.values():
        parts, n_bytes = _shared(cells, plans, registry)
        shared += parts
        features += n_bytes
    each = tuple(_cell(cell, plans[cell.name], registry) for cell in matrix.cells)
    return Cost(tuple(shared), each, features)


def _shared(cells: Sequence[Cell], plans: Mapping[str, Plan], registry: Registry) -> tuple[list[Shared], int]:
    """Opening, codes and encoders of cells with the same clips, and the bytes of their features."""
    plan = plans[cells[0].name]
    trained = any(cell.recipe.conditions for cell in cells)
    n_clips = plan.clips["test"] + (plan.clips["train"] if trained else 0)
    clip_s = n_clips * plan.clip_s
    names = tuple(cell.name for cell in cells)
    found = [Shared(f"{n_clips} clips of {plan.clip_s:g} s: opened, codes", names, clip_s * (OPEN_S + CODES_S))]
    n_bytes = round(clip_s * CODES_BYTES_PER_S)
    users: dict[tuple[str, str], list[str]] = {}
    rates: dict[tuple[str, str], float | None] = {}
    widths: dict[tuple[str, str], float] = {}
    for cell in cells:
        for condition, planned in zip(cell.recipe.conditions, plans[cell.name].conditions, strict=True):
            key = (condition.encoder, str(sorted(condition.options.items(), key=str)))
            users.setdefault(key, []).append(cell.name)
            spec = registry.offers("encoder")[condition.encoder].spec
            rates[key] = spec.cost_s(spec.options(**condition.options))
            widths[key] = planned.width * (planned.rate_hz or 0.0) * 4
    for key, own in users.items():
        rate = rates[key]
        found.append(Shared(f"features of {key[0]}", tuple(own), None if rate is None else rate * clip_s))
        n_bytes += round(clip_s * widths[key])
    captioners: dict[str, list[str]] = {}
    for cell in cells:
        if cell.recipe.text.captioner is not None:
            captioners.setdefault(cell.recipe.text.captioner, []).append(cell.name)
    found += [Shared(f"captions by {name}", tuple(own), CODES_S * clip_s) for name, own in captioners.items()]
    return found, n_bytes


def _cell(cell: Cell, plan: Plan, registry: Registry) -> CellCost:
    recipe = cell.recipe
    sampled = [n for n in recipe.evaluation_conditions() if n not in NOT_GENERATED]
    music_s = len(sampled) * plan.clips["test"] * plan.clip_s
    disk = round(music_s * WAV_BYTES_PER_S) + REPORT_BYTES
    disk += (plan.trainable or 0) * CHECKPOINT_BYTES_PER_VALUE
    # The plan's seconds are of two cores.
    train = None if plan.train_seconds is None else 2 * plan.train_seconds
    generate = None if plan.generate_seconds is None else 2 * plan.generate_seconds
    offer = registry.offers("backbone").get(recipe.backbone.source)
    if offer is not None and offer.spec.train_cost_s is not None:
        train = recipe.train.clips_per_step * plan.clip_s * plan.train_steps * offer.spec.train_cost_s
    if offer is not None and offer.spec.generate_cost_s is not None:
        generate = music_s * offer.spec.generate_cost_s
    return CellCost(cell.name, cell.row, plan.train_steps, train if recipe.conditions else 0.0, generate, disk)
