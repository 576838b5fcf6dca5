"""Folders of videos as checked manifests: prepare, split without leaks, audit, stats, and a data source."""
