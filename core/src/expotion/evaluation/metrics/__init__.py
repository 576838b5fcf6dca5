"""Built-in metrics, one file each: a light `SPEC` whose `build` imports what it needs."""
