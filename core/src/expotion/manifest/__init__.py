"""Clips of your own as a checked list: its rows, and the data source `manifest` that reads them."""

from expotion.contracts import DataSource, DataSourceSpec, hookimpl
from expotion.manifest.rows import ManifestOptions


def _build(options: ManifestOptions) -> DataSource:
    from expotion.manifest.source import ManifestSource  # noqa: PLC0415 - plugins are found without it

    return ManifestSource(options)


@hookimpl
def expotion_data_sources() -> list[DataSourceSpec]:
    """Manifests."""
    what = "clips of your own, prepared and split by `expotion data`"
    return [DataSourceSpec("manifest", what, _build, ManifestOptions)]
