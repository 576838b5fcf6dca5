"""Music of the world as a band plays it: scores, performance and rendering with a soundfont."""
