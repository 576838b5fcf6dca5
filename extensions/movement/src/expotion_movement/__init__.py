"""A clip's movement as data: `expotion movement`."""
