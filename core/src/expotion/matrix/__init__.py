"""Many runs from one recipe: cells that share their stages, a table that compares them, and its page."""
