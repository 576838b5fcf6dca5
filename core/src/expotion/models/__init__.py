"""Official weights: what can be downloaded, from where, under which licence, and what is in the cache."""
