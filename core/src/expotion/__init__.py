"""Expotion: music that follows a face and a body."""
