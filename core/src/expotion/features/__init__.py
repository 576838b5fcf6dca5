"""Feature extraction as a job of its own: clips from folders, processes or Ray, reports, imports, the page."""

from __future__ import annotations


# Features: extracting them from clips, keeping them, and bringing them to the model's step rate.
