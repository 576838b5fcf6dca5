"""Scores of generated music: beat tracking, metrics, intervals and the tables made from them."""
