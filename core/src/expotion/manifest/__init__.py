"""Clips of your own as a checked list: its rows, and the data source `manifest` that reads them."""
