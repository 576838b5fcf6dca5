"""A run's training callbacks: built by name, told what happens, never in the way of training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from expotion.contracts import TrainingCallback
from expotion.plugins import Registry

log = logging.getLogger("expotion")


class Callbacks:
    """All callbacks of a run. One that raises is named in the log and not called again."""

    def __init__(self, callbacks: Mapping[str, TrainingCallback] | None = None) -> None:
        self._callbacks = dict(callbacks or {})

    @classmethod
    def of(cls, names: Sequence[str], registry: Registry) -> Callbacks:
        """Build those that a recipe names. Raises PluginError for an unknown name or a missing package."""
        return cls({name: registry.offer("training callback", name).spec.build() for name in names})

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        """Training starts or goes on."""
        self._tell(lambda callback: callback.on_start(folder, recipe, first_step))

    def on_step(self, record: Mapping[str, Any]) -> None:
        """A step is done."""
        self._tell(lambda callback: callback.on_step(record))

    def on_end(self, finished: bool) -> None:
        """Training is over."""
        self._tell(lambda callback: callback.on_end(finished))

    def _tell(self, call: Callable[[TrainingCallback], None]) -> None:
        for name, callback in list(self._callbacks.items()):
            try:
                call(callback)
            except Exception as error:  # what watches training must not end it
                log.warning("callback %s is left out from here on: %s: %s", name, type(error).__name__, error)
                del self._callbacks[name]
