"""One file per kind of golden file that core checks."""
