"""What is said of a piece: its mood, genre and leading instrument."""

from __future__ import annotations

from expotion_conductor.band.draw import Draw
from expotion_conductor.band.traits import Traits


def caption_of(traits: Traits, draw: Draw) -> str:
    """A caption."""
    template = draw.pick(("a {0} {1} piece for {2}", "{0} {1} music played on {2}"))
    return template.format(traits.mood, traits.style, traits.lead)
