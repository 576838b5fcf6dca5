"""A procedural world of conducted music and a tiny MusicGen trained on it."""
