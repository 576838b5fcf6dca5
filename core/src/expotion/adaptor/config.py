"""Everything that shapes an adaptor, as plain data; what the choices are called stands in the recipe's schema."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from expotion.errors import ExpotionError, Problem
from expotion.recipe.schema import (
    Adaptor,
    Fusion,
    Null,
    NullBranch,
    Positions,
    PrefixAttention,
    PrefixBlock,
    RowLimit,
    Start,
)


def _check_choices(item: Any, where: str) -> list[Problem]:
    problems = []
    for name, hint in get_type_hints(type(item)).items():
        choices = get_args(hint)
        value = getattr(item, name)
        if choices and all(isinstance(choice, str) for choice in choices) and value not in choices:
            problems.append(Problem(f"{where}.{name}", f"one of {', '.join(choices)}", repr(value)))
    return problems


@dataclass(frozen=True)
class Modality:
    """One conditioning track: its name, its width D, the width r of its latent.

    `projection` linear is the low-rank map (paper eq. 2, 4), identity keeps the values (r = D). `null` is what
    stands in for a dropped stretch: a learned vector, zero, or a learned row per layer and step.
    """

    name: str
    d_in: int
    rank: int = 12
    projection: Literal["linear", "identity"] = "linear"
    null: Null = "vector"

    def __post_init__(self) -> None:
        where = f"modality {self.name!r}"
        problems = _check_choices(self, where)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name):
            problems.append(Problem(where, "a name of letters, digits and _"))
        if self.d_in < 1 or self.rank < 1:
            problems.append(Problem(where, "widths of at least 1", f"d_in {self.d_in}, rank {self.rank}"))
        if self.projection == "identity" and self.rank != self.d_in:
            problems.append(Problem(where, f"rank {self.d_in} with identity", str(self.rank)))
        if problems:
            raise ExpotionError(problems)


@dataclass(frozen=True)
class AdaptorConfig:
    """Shape and options of an adaptor. The defaults are ours; other presets stand in the recipe's schema.

    The last `n_adapted` of `n_lm_layers` layers are adapted. `max_rows` bounds the length where a table is
    learned (positions table or fused, start table, a layer_table null); without one any length works.
    `prefix_block` layer runs the frozen layer's norms, residuals and FFN in the prefix stream, attention only
    its self-attention (the paper's recursion). `row_limit` frames makes generation reuse row T-1 from position
    T on, as the released code does. `silent_when_dropped` zeroes the gated term where no modality is active.
    `standardise` keeps a fixed mean and scale per input channel.
    """

    modalities: tuple[Modality, ...]
    width: int
    n_lm_layers: int
    n_adapted: int
    prefix_attention: PrefixAttention = "full"
    prefix_block: PrefixBlock = "layer"
    positions: Positions = "sinusoidal"
    fusion: Fusion = "per_layer"
    start: Start = "vector"
    max_rows: int | None = None
    null_branch: NullBranch = "none"
    row_limit: RowLimit = "all"
    silent_when_dropped: bool = True
    standardise: bool = True

    def __post_init__(self) -> None:
        problems = _check_choices(self, "adaptor")
        names = [modality.name for modality in self.modalities]
        if not names or len(set(names)) != len(names):
            problems.append(Problem("adaptor.modalities", "at least one, each name once", ", ".join(names)))
        if not 1 <= self.n_adapted <= self.n_lm_layers:
            wanted = f"1..{self.n_lm_layers} (layers of the model)"
            problems.append(Problem("adaptor.n_adapted", wanted, str(self.n_adapted)))
        if self.needs_max_rows and (self.max_rows is None or self.max_rows < 1):
            problems.append(Problem("adaptor.max_rows", "a length of at least 1, for the learned tables"))
        if problems:
            raise ExpotionError(problems)

    @property
    def needs_max_rows(self) -> bool:
        """Whether something is learned per row, which bounds the length."""
        tables = self.positions != "sinusoidal" or self.start == "table"
        return tables or any(modality.null == "layer_table" for modality in self.modalities)

    @property
    def first_adapted_layer(self) -> int:
        """Index s of the first adapted layer, 0-based."""
        return self.n_lm_layers - self.n_adapted

    @property
    def latent_width(self) -> int:
        """Sum of the ranks."""
        return sum(modality.rank for modality in self.modalities)

    def to_json(self) -> dict[str, Any]:
        """Plain data for adaptor.json."""
        return dataclasses.asdict(self) | {"modalities": list(map(dataclasses.asdict, self.modalities))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "adaptor.json") -> AdaptorConfig:
        """From `to_json`'s data; unknown and missing keys are all reported (ExpotionError)."""
        problems = _check_keys(cls, data, f"{where} config")
        listed = data.get("modalities", [])
        if not isinstance(listed, list) or not all(isinstance(item, Mapping) for item in listed):
            raise ExpotionError(Problem(f"{where} config.modalities", "a list of objects"))
        for index, item in enumerate(listed):
            problems += _check_keys(Modality, item, f"{where} config.modalities[{index}]")
        if problems:
            raise ExpotionError(problems)
        return cls(**{**data, "modalities": tuple(Modality(**item) for item in listed)})


def _check_keys(kind: type, data: Mapping[str, Any], where: str) -> list[Problem]:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    problems = [Problem(f"{where}.{key}", "a known key") for key in data if key not in fields]
    problems += [
        Problem(f"{where}.{name}", "to be there")
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in data
    ]
    for name, hint in get_type_hints(kind).items():
        if name in data and hint in (int, bool, str) and type(data[name]) is not hint:
            problems.append(Problem(f"{where}.{name}", f"of type {hint.__name__}", repr(data[name])))
    return problems


def released_code(
    *,
    width: int,
    n_lm_layers: int,
    n_adapted: int,
    feature_width: int,
    rank: int,
    n_rows: int,
    masked: bool = False,
) -> AdaptorConfig:
    """The released single-stream class, bit-compatible with its files: tables, causal prefix, full null branch.

    `masked`: its variant with face, body and vid; masked body and vid have a learned value per layer and step.
    """
    first = Modality("face" if masked else "features", feature_width, rank, null="zero")
    others = [Modality(name, 1, 1, "identity", "layer_table") for name in ("body", "vid") if masked]
    choices = Adaptor(preset="released_code").choices()
    return AdaptorConfig((first, *others), width, n_lm_layers, n_adapted, max_rows=n_rows, **choices)
