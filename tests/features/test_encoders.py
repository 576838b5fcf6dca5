"""What a recipe says of its encoders reaches them."""

from __future__ import annotations

from pathlib import Path

from expotion.features.encoders import build_encoders
from expotion.plugins import discover
from expotion.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "face_motion.yaml"


def test_the_longest_gap_reaches_the_encoder_that_smooths() -> None:
    registry = discover()
    recipe = load_recipe(RECIPE, registry=registry, sets=["conditions[face].smooth.max_gap_s=2.0"])
    gaps = {name: encoder.max_gap_s for name, encoder in build_encoders(recipe, registry).items()}
    assert gaps == {"face": 2.0, "motion": None}
