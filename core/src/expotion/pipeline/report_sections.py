"""Sections that plugins add to a run's report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from expotion.plugins import Registry, same_distribution

log = logging.getLogger("expotion")


def plugin_sections(registry: Registry, plugins: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """Title and HTML of the sections of those plugins that a recipe lists; one that fails is named in the log."""
    listed = [Requirement(text).name for text in plugins]
    found = []
    for name, offer in registry.report_sections.items():
        if not any(same_distribution(offer.distribution, one) for one in listed):
            continue
        try:
            html = offer.spec.build()(folder)
        except Exception as error:  # a plugin may raise anything; the report is written all the same
            log.warning("report section %s is left out: %s: %s", name, type(error).__name__, error)
            continue
        if html.strip():
            found.append((offer.spec.title, html))
    return found
