"""A procedural world of conducted music and a tiny MusicGen trained on it.

Offers the data source `conductor`, the backbones `tiny` and `tiny-1` and the captioners
`conductor_listener` and `conductor_watcher`.
Importing this draws nothing and loads neither torch nor OpenCV.
"""

from __future__ import annotations

from expotion.contracts import BackboneSpec, CaptionerSpec, DataSourceSpec, hookimpl


@hookimpl
def expotion_data_sources() -> list[DataSourceSpec]:
    """The world's clips."""
    from expotion_conductor import source  # noqa: PLC0415 - submodules import this package

    return [source.SPEC]


@hookimpl
def expotion_backbones() -> list[BackboneSpec]:
    """The tiny MusicGen, and the first of them by a name that stays."""
    from expotion_conductor import backbone  # noqa: PLC0415

    return [backbone.SPEC, backbone.TINY_1]


@hookimpl
def expotion_captioners() -> list[CaptionerSpec]:
    """One captioner that listens to the world's music, and one that looks at its picture."""
    from expotion_conductor import listener, watcher  # noqa: PLC0415

    return [listener.SPEC, watcher.SPEC]
