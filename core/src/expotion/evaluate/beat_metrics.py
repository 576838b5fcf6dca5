"""Beat F1: do the beats of the output fall where the beats of the clip fall, within 70 ms?

`mir_eval.beat.f_measure` on all beats. mir_eval's evaluation script drops the first five seconds of music
(`trim_beats`), a habit from full songs; half of a ten-second clip is too much to drop, so nothing is trimmed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from expotion.beats import TRACKER_RATE_HZ, BeatTrack, fit_tempo_bpm
from expotion.contracts import Clip, MetricSpec, Score, Scored
from expotion.evaluate.trackers import beats_of, measured_with, problems

TOLERANCE_S = 0.070


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


def _against(score: Callable[[BeatTrack, BeatTrack], Score]) -> Callable[[Scored], Score]:
    """A metric of the beats of the clip and of the output; not defined where the clip has nothing to go by."""

    def whole(scored: Scored) -> Score:
        reference = reference_beats(scored.clip)
        if reference is None:
            return Score(None, "the clip has neither true beats nor sound of its own")
        return score(reference, beats_of(scored.samples, scored.sample_rate_hz))

    return whole


_spec = functools.partial(MetricSpec, measured_with=measured_with, check=problems)


def build() -> Callable[[Scored], Score]:
    """Return the metric. Each estimated beat pairs with at most one reference beat within the tolerance."""
    import mir_eval.beat  # noqa: PLC0415 - imported when an evaluation starts, not with the command line

    def score(reference: BeatTrack, ours: BeatTrack) -> Score:
        if not len(reference.beats_s):
            return Score(None, "the clip has no beats")
        if not len(ours.beats_s):
            return Score(0.0, "no beats found in the output")
        return Score(float(mir_eval.beat.f_measure(reference.beats_s, ours.beats_s, TOLERANCE_S)))

    return _against(score)


BEAT_F1 = _spec(
    name="beat_f1",
    description="F1 of the output's beats against the clip's beats, 70 ms, nothing trimmed",
    build=build,
    higher_is_better=True,
    licence="MIT",
    not_comparable_with="beat F1 of another tracker, or with the first five seconds trimmed",
    packages=("mir_eval>=0.7",),
    source="mir_eval.beat.f_measure (Raffel et al. 2014)",
    label="Beat F1",
    claim="The video drives the beat",
    thing="the beat",
)


def _tempo(score_of: Callable[[float, float], float], without_tempo: float | None) -> Callable[[Scored], Score]:
    """A metric of the output's and the clip's tempo in BPM; `without_tempo` where the output has none.

    Not defined where the clip has too few beats for a tempo.
    """

    def score(reference: BeatTrack, ours: BeatTrack) -> Score:
        if reference.tempo_bpm is None:
            return Score(None, "too few beats in the clip to tell its tempo")
        if ours.tempo_bpm is None:
            return Score(without_tempo, "too few beats in the output to tell its tempo")
        return Score(score_of(ours.tempo_bpm, reference.tempo_bpm))

    return _against(score)


# Tempo error: |tempo of the output - tempo of the clip| in BPM. Half and double tempo count in full.


def build_tempo_error() -> Callable[[Scored], Score]:
    """Return the metric; not defined where either side has too few beats for a tempo."""
    return _tempo(lambda ours_bpm, clips_bpm: abs(ours_bpm - clips_bpm), without_tempo=None)


TEMPO_ERROR_BPM = _spec(
    name="tempo_error_bpm",
    description="absolute tempo error, no forgiveness for half or double tempo",
    build=build_tempo_error,
    higher_is_better=False,
    unit="BPM",
    not_comparable_with="tempo errors of another tracker or with octave forgiveness",
    label="Tempo error",
    claim="The video brings the tempo nearer",
    thing="the tempo error",
    digits=1,
)


# Tempo within 4 %: 1 where the output's tempo is at most 4 % off the clip's, else 0 (MIREX 'accuracy 1').

TOLERANCE = 0.04


def build_tempo_within() -> Callable[[Scored], Score]:
    """Return the metric. An output without a tempo misses it: 0, so that silence gains nothing."""
    return _tempo(lambda ours, clips: float(abs(ours - clips) <= TOLERANCE * clips), without_tempo=0.0)


TEMPO_WITHIN_4PCT = _spec(
    name="tempo_within_4pct",
    description="fraction of clips whose tempo is met within 4 %, no forgiveness for half or double tempo",
    build=build_tempo_within,
    higher_is_better=True,
    not_comparable_with="tempo accuracy of another tracker or with octave forgiveness",
    source="MIREX tempo estimation, accuracy 1",
    label="Tempo within 4 %",
    claim="The video sets the tempo",
    thing="how often the tempo is met",
    fraction=True,
)
