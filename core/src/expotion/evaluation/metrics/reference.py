"""What a generated sound is held against: the clip's true beats, or those heard in the clip's own sound."""

from __future__ import annotations

import numpy as np

from expotion.contracts import Clip
from expotion.evaluation.beats import TRACKER_RATE_HZ, BeatTrack, fit_tempo_bpm
from expotion.evaluation.trackers import beats_of

NO_REFERENCE = "the clip has neither true beats nor sound of its own"
NO_TEMPO = "too few beats in the clip to tell its tempo"


def reference_beats(clip: Clip) -> BeatTrack | None:
    """True beats where the clip has them, else the beats tracked in its own sound, else None.

    A true tempo that the clip states is taken as it is; otherwise it is fitted to the beats.
    """
    if clip.truth is not None:
        beats_s = np.asarray(clip.truth.beats_s, dtype=np.float64)
        tempo_bpm = clip.truth.tempo_bpm
        return BeatTrack(beats_s, fit_tempo_bpm(beats_s) if tempo_bpm is None else tempo_bpm)
    sound = clip.audio(TRACKER_RATE_HZ)
    if sound is None or not len(sound):
        return None
    return beats_of(sound, TRACKER_RATE_HZ)
