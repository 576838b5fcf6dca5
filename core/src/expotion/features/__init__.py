"""Features: extracting them from clips, keeping them, and bringing them to the model's step rate."""
