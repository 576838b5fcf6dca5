"""Upper-body motion features: optical flow, by RAFT or DIS, and a flow CNN, announced to Expotion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from expotion.contracts import EncoderSpec, GoldenCheckSpec, GoldenFile, Weights, hookimpl
from expotion_motion_raft.options import DisOptions, FlowOptions, RaftOptions

if TYPE_CHECKING:
    from expotion_motion_raft.encoder import FlowEncoder

__all__ = ["DIS_SPEC", "RAFT_SPEC", "DisOptions", "RaftOptions", "expotion_encoders", "expotion_golden_checks"]


def _build(options: FlowOptions) -> FlowEncoder:
    from expotion_motion_raft.encoder import FlowEncoder  # noqa: PLC0415 - torch only when built

    return FlowEncoder(options)


def _cnn(options: FlowOptions) -> list[Weights]:
    if options.cnn is None and not options.cnn_is_seeded:
        return [Weights(name="flow_cnn_tiny", source="shipped", licence="Apache-2.0")]
    if options.cnn_is_seeded or options.cnn_is_trainable:
        return [Weights(name=f"flow_cnn_seed{options.seed}", source="seeded", licence="Apache-2.0")]
    return []


def _raft(options: RaftOptions) -> list[Weights]:
    if options.raft_is_seeded:
        name, source, licence = f"raft_{options.geometry}_seed{options.seed}", "seeded", "Apache-2.0"
    else:
        name, source = f"raft_{options.geometry}_things", f"torchvision:raft_{options.geometry}/C_T_V1"
        licence = "BSD-3-Clause"
    seeded = partial(_seeded, options.geometry)
    return [Weights(name=name, source=source, licence=licence, seeded=seeded), *_cnn(options)]


def _seeded(geometry: str, folder: Path) -> Path:
    from expotion_motion_raft.loader import write_seeded  # noqa: PLC0415 - torch

    return write_seeded(folder, geometry)


RAFT_SPEC = EncoderSpec(
    name="motion_raft",
    description="Upper-body motion: RAFT optical flow and a CNN with average pooling to 256",
    needs=frozenset({"video"}),
    build=_build,
    options=RaftOptions,
    width=lambda options: options.width,
    rate_hz=lambda options: options.pairs_per_s,
    smoother="linear",
    licence="Apache-2.0",
    weights=_raft,
)
DIS_SPEC = EncoderSpec(
    name="motion_dis",
    description="Upper-body motion: OpenCV's DIS optical flow and a trained CNN to 256; needs no weights",
    needs=frozenset({"video"}),
    build=_build,
    options=DisOptions,
    width=lambda options: options.width,
    rate_hz=lambda options: options.pairs_per_s,
    smoother="linear",
    licence="Apache-2.0",
    weights=_cnn,
    cost_s=lambda options: 0.0188,  # on one core of a Xeon with AMX
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """One flow, found in two ways."""
    return [RAFT_SPEC, DIS_SPEC]


def _golden(size: str) -> Callable[[GoldenFile], None]:
    from expotion_motion_raft.golden import checker  # noqa: PLC0415 - torch only when built

    return checker(size)


@hookimpl
def expotion_golden_checks() -> list[GoldenCheckSpec]:
    """Reference numbers that RAFT is compared with."""
    return [
        GoldenCheckSpec("raft_small", lambda: _golden("small"), "princeton's RAFT, small"),
        GoldenCheckSpec("raft_large", lambda: _golden("large"), "princeton's RAFT, large"),
    ]
