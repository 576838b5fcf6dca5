"""Upper-body motion features: Synchformer's visual encoder, announced to Expotion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from expotion.contracts import (
    EncoderSpec,
    GoldenCheckSpec,
    GoldenFile,
    MetricSpec,
    Score,
    Scored,
    Weights,
    hookimpl,
)
from expotion_motion_synchformer.options import GEOMETRIES, SynchformerOptions

if TYPE_CHECKING:
    from expotion_motion_synchformer.encoder import SynchformerEncoder

__all__ = [
    "DESYNC",
    "SPEC",
    "SynchformerOptions",
    "expotion_encoders",
    "expotion_golden_checks",
    "expotion_metrics",
]


OFFICIAL = "synchformer_sync_audioset"
"""Name of the released weights for `expotion models pull`: the sync model trained on AudioSet."""
OFFICIAL_ADDRESS = (
    "https://a3s.fi/swift/v1/AUTH_a235c0f452d648828f745589cde1219a/sync/sync_models/"
    "24-01-04T16-39-21/24-01-04T16-39-21.pt"
)


def _seeded(folder: Path) -> Path:
    from expotion_motion_synchformer.loader import write_seeded  # noqa: PLC0415 - torch

    return write_seeded(folder)


OFFICIAL_WEIGHTS = Weights(name=OFFICIAL, source=OFFICIAL_ADDRESS, licence="MIT", seeded=_seeded)


def _build(options: SynchformerOptions) -> SynchformerEncoder:
    from expotion_motion_synchformer.encoder import SynchformerEncoder  # noqa: PLC0415 - torch only when built

    return SynchformerEncoder(options)


def _weights(options: SynchformerOptions) -> Sequence[Weights]:
    if options.weights == "seeded":
        return [
            Weights(
                name=f"synchformer_{options.geometry}_seed{options.seed}", source="seeded", licence="Apache-2.0"
            )
        ]
    if options.geometry == "tiny":
        return [Weights(name="synchformer_tiny", source="shipped", licence="Apache-2.0")]
    if options.geometry == "tiny_moving":
        return []
    return [OFFICIAL_WEIGHTS]


SPEC = EncoderSpec(
    name="motion_synchformer",
    description="Upper-body motion in step with the sound: Synchformer's visual encoder",
    needs=frozenset({"video"}),
    build=_build,
    options=SynchformerOptions,
    width=lambda options: GEOMETRIES[options.geometry].dim,
    rate_hz=lambda options: options.rate_hz,
    smoother="linear",
    licence="Apache-2.0",
    weights=_weights,
    # on one core of a Xeon with AMX; the official size was not timed
    cost_s=lambda options: 0.0062 if options.geometry == "tiny" else None,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """The one encoder of this plugin."""
    return [SPEC]


def _desync() -> Callable[[Scored], Score]:
    from expotion_motion_synchformer.desync import metric  # noqa: PLC0415 - torch only when built

    return metric()


DESYNC = MetricSpec(
    name="desync",
    label="DeSync",
    description="how far Synchformer thinks sound and picture are apart, mean over the first and last 4.8 s",
    build=_desync,
    higher_is_better=False,
    unit="s",
    weights=(Weights(name=OFFICIAL, source=OFFICIAL_ADDRESS, licence="MIT"),),  # the sync model, seen and heard
    sample_rate_hz=16_000,
    needs=frozenset({"video"}),
    source="Iashin et al. 2024 (Synchformer); Cheng et al. 2025 (MMAudio)",
    not_comparable_with="DeSync of another checkpoint (LRS3, VGGSound) or of other stretches",
    claim="The video brings the sound in step with the picture",
    thing="how far sound and picture are apart",
)


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """How far sound and picture are apart."""
    return [DESYNC]


def _golden() -> Callable[[GoldenFile], None]:
    from expotion_motion_synchformer.golden import check  # noqa: PLC0415 - torch only when built

    return check


@hookimpl
def expotion_golden_checks() -> list[GoldenCheckSpec]:
    """Reference numbers that the visual encoder is compared with."""
    return [GoldenCheckSpec("synchformer", _golden, "Synchformer's visual encoder")]
