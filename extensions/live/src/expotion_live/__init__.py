"""Music while it is asked for: from a camera, or to the speakers."""
