"""Compare what this installation computes with reference numbers (golden files)."""
