"""A recipe's stages at their official sizes on one clip and one step, before anything is downloaded or rented.

seeded.py     weights of a seed in official layouts, in a temporary folder
walk.py       the same stage functions as a run's, listened to
estimate.py   from what the walk took and what is counted to the whole run, here and on a GPU
"""
