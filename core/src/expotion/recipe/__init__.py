"""Recipes: one YAML file that says what a run is, checked as a whole before anything starts."""

from expotion.recipe.load import load_recipe, read_profiles
from expotion.recipe.schema import Recipe

__all__ = ["Recipe", "load_recipe", "read_profiles"]
