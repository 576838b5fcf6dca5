"""Entries that nothing installed here would read again."""

from __future__ import annotations

import json

from expotion.assemble import build_encoder
from expotion.contracts import API_VERSION
from expotion.errors import ExpotionError
from expotion.features.catalogue import Entry
from expotion.features.code_version import code_version
from expotion.features.store import STORE_VERSION
from expotion.plugins import Registry


class Stale:
    """Says of an entry why it will not be read again, or None. Encoders are built once per set of options."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._weights: dict[tuple[str, str], str | None] = {}

    def __call__(self, entry: Entry) -> str | None:
        """The reason, or None for an entry that is still of use."""
        notes, offers = entry.notes, self.registry.offers("encoder")
        # Core's codec is no plugin's offer: its code alone tells whether its entries are current.
        is_core = notes.get("module", "").startswith("expotion.")
        reason = None
        if entry.imported:
            return None
        if notes.get("store") != str(STORE_VERSION) or notes.get("contract") != API_VERSION:
            reason = "of another version of the store"
        elif entry.encoder not in offers and not is_core:
            reason = f"{entry.encoder} is not installed"
        elif code_version(notes.get("module", "")) != notes.get("code"):
            reason = f"of other code than {entry.encoder} has now"
        elif entry.encoder in offers:
            weights = self._weights_of(entry.encoder, notes.get("options", "{}"))
            if weights is None:
                reason = f"{entry.encoder} cannot be built with its options any more"
            elif weights != notes.get("weights"):
                reason = "of other weights than are there now"
        return reason

    def _weights_of(self, encoder: str, options: str) -> str | None:
        if (encoder, options) not in self._weights:
            try:
                built = build_encoder(self.registry.encoder(encoder), json.loads(options))
                self._weights[encoder, options] = built.weights_hash
            except (ExpotionError, OSError, ValueError):
                self._weights[encoder, options] = None
        return self._weights[encoder, options]
