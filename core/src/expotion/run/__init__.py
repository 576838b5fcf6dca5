"""The stages of a recipe, and what the command line runs."""
