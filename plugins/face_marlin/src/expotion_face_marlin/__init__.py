"""Facial expression features: MARLIN's video encoder."""
