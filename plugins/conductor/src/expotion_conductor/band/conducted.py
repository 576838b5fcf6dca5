"""The plan of a clip in which somebody conducts the band: a piece, and the figure that beats its time."""

from __future__ import annotations

from expotion_conductor.band.draw import Draw
from expotion_conductor.band.piece import make_piece
from expotion_conductor.plan import Plan


def band_plan(seed: int, duration_s: float = 10.0, *, steady: bool = True) -> Plan:
    """Draw the plan of one clip with the band's music; arguments and errors are those of `make_piece`."""
    piece = make_piece(seed, duration_s, steady=steady)
    return Plan(
        seed=seed,
        duration_s=piece.duration_s,
        tempo_bpm=piece.tempo_bpm,
        beats_per_bar=piece.beats_per_bar,
        beats_s=piece.beats_s,
        beat_in_bar=piece.beat_in_bar,
        intensity_times_s=piece.times_s,
        intensity=piece.intensity,
        timbre=piece.traits.lead,
        mood=piece.traits.mood,
        caption=piece.caption,
        music_seed=seed,
        person_seed=Draw(seed, 44).below(2**31),
        late_period_s=None if steady else piece.last_period_s,
        piece=piece,
    )
