"""The data source that core itself offers: manifests made by `expotion data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expotion.contracts import DataSourceSpec, hookimpl
from expotion.corpus.options import ManifestOptions

if TYPE_CHECKING:
    from expotion.corpus.source import ManifestSource


def _build(options: ManifestOptions) -> ManifestSource:
    from expotion.corpus.source import build  # noqa: PLC0415 - keeps this module light

    return build(options)


SPEC = DataSourceSpec(
    name="manifest",
    description="clips of your own, prepared and split by `expotion data`",
    build=_build,
    options=ManifestOptions,
)


@hookimpl
def expotion_data_sources() -> list[DataSourceSpec]:
    """Manifests."""
    return [SPEC]
