"""The encoder that core itself offers: features which other software computed and `features import` brought in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from expotion.contracts import EncoderSpec, Options, hookimpl

if TYPE_CHECKING:
    from expotion.features.precomputed import PrecomputedEncoder


class PrecomputedOptions(Options):
    """Options of `precomputed`."""

    features: str = Field(
        min_length=1, description="the name that the features were imported by, --encoder NAME"
    )
    width: int = Field(ge=1, description="D, values per row")
    rate_hz: float = Field(gt=0.0, description="rows per second")
    store: Path | None = Field(None, description="folder of the feature store; default: the cache's")


def _build(options: PrecomputedOptions) -> PrecomputedEncoder:
    from expotion.features.precomputed import PrecomputedEncoder  # noqa: PLC0415 - keeps this module light

    return PrecomputedEncoder(SPEC, options)


SPEC = EncoderSpec(
    name="precomputed",
    description="Features that were computed elsewhere and imported (`expotion features import`)",
    needs=frozenset({"video"}),
    build=_build,
    options=PrecomputedOptions,
    width=lambda options: options.width,
    rate_hz=lambda options: options.rate_hz,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """Imported features as an encoder like any other."""
    return [SPEC]
