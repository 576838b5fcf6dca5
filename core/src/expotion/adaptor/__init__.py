"""The trainable part: low-rank projections, per-layer embeddings, the prefix stream and its gates."""
