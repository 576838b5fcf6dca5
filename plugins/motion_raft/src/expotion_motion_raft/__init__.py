"""Upper-body motion features: RAFT optical flow and a flow CNN, announced to Expotion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from expotion.contracts import EncoderSpec, GoldenCheckSpec, GoldenFile, Weights, hookimpl
from expotion_motion_raft.options import RaftOptions

if TYPE_CHECKING:
    from expotion_motion_raft.encoder import RaftEncoder

__all__ = ["SPEC", "RaftOptions", "expotion_encoders", "expotion_golden_checks"]


def _build(options: RaftOptions) -> RaftEncoder:
    from expotion_motion_raft.encoder import RaftEncoder  # noqa: PLC0415 - torch only when built

    return RaftEncoder(options)


def _weights(options: RaftOptions) -> Sequence[Weights]:
    found: list[Weights] = []
    if options.method == "raft":
        if options.raft_is_seeded:
            found.append(
                Weights(name=f"raft_{options.geometry}_seed{options.seed}", source="seeded", licence="Apache-2.0")
            )
        else:
            found.append(
                Weights(
                    name=f"raft_{options.geometry}_things",
                    source=f"torchvision:raft_{options.geometry}/C_T_V1",
                    licence="BSD-3-Clause",
                )
            )
    if options.cnn is None and not options.cnn_is_seeded:
        found.append(Weights(name="flow_cnn_tiny", source="shipped", licence="Apache-2.0"))
    elif options.cnn_is_seeded or options.cnn_is_trainable:
        found.append(Weights(name=f"flow_cnn_seed{options.seed}", source="seeded", licence="Apache-2.0"))
    return found


SPEC = EncoderSpec(
    name="motion_raft",
    description="Upper-body motion: RAFT optical flow (or OpenCV's DIS flow) and a CNN with average pooling to 256",
    needs=frozenset({"video"}),
    build=_build,
    options=RaftOptions,
    width=lambda options: options.width,
    rate_hz=lambda options: options.pairs_per_s,
    smoother="linear",
    licence="Apache-2.0",
    weights=_weights,
    # on one core of a Xeon with AMX; the official sizes were not timed
    cost_s=lambda options: 0.0188 if options.geometry == "tiny" else None,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """The one encoder of this plugin."""
    return [SPEC]


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
