"""Beats of anything that has an activation: sound, movement. One tracker, which follows changing tempo.

follow.py    beats, phase, tempo and certainty of an activation at 100 Hz, of a whole one or as it arrives
sound.py     the activation of a sound, and its beats
"""

from expotion.beats.follow import FRAME_RATE_HZ, LEAST_CERTAINTY, Followed, Follower, follow
from expotion.beats.sound import (
    NO_BEATS,
    TRACKER,
    TRACKER_RATE_HZ,
    BeatTrack,
    Memo,
    fit_tempo_bpm,
    onset_strength,
    track_beats,
    tracked,
)

__all__ = [
    "FRAME_RATE_HZ",
    "LEAST_CERTAINTY",
    "NO_BEATS",
    "TRACKER",
    "TRACKER_RATE_HZ",
    "BeatTrack",
    "Followed",
    "Follower",
    "Memo",
    "fit_tempo_bpm",
    "follow",
    "onset_strength",
    "track_beats",
    "tracked",
]
