"""A world whose people move as people do to a band's music: a prior, not a person."""
