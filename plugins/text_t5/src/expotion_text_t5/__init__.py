"""Text features: T5 with MusicGen projection."""
