"""MusicGen, frozen: the decoder, its codec, its text encoder, and the loaders of their files."""
