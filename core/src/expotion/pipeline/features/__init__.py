"""Feature extraction as a job of its own: clips from folders, processes or Ray, reports, imports, the page."""
