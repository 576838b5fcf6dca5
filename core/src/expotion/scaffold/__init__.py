"""`expotion plugin new`: a complete package of a plugin, written from templates."""
