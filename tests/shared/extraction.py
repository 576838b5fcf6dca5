"""One encoder on one clip, by way of what runs them all."""

from __future__ import annotations

from expotion.contracts import Clip, Encoder
from expotion.features.extract import extract_all
from expotion.features.store import Features, FeatureStore


def extract_clip(encoder: Encoder, clip: Clip, store: FeatureStore | None = None) -> Features:
    """Its features; AssertionError with what is said where there are none."""
    features, failures, _ = extract_all({"it": encoder}, clip, store)
    assert not failures, failures[0].error
    return features["it"]
