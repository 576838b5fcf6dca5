"""Scores of generated music: beat tracking, metrics, intervals and the tables made from them."""

from __future__ import annotations


# Built-in metrics, one file each: a light `SPEC` whose `build` imports what it needs.
