"""Official weights in, trained adaptors out."""
