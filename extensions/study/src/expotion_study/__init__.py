"""A listening test: blind and balanced, built from folders of music, served as a small web page, analysed."""
