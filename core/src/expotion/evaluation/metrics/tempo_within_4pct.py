"""Tempo within 4 %: 1 where the output's tempo is at most 4 % off the clip's, else 0 (MIREX 'accuracy 1')."""

from __future__ import annotations

from collections.abc import Callable

from expotion.contracts import MetricSpec, Score, Scored
from expotion.evaluation.metrics.reference import NO_REFERENCE, NO_TEMPO, reference_beats
from expotion.evaluation.trackers import beats_of, measured_with, problems

TOLERANCE = 0.04


def build() -> Callable[[Scored], Score]:
    """Return the metric. An output without a tempo misses it: 0, so that silence gains nothing."""

    def score(scored: Scored) -> Score:
        reference = reference_beats(scored.clip)
        if reference is None:
            return Score(None, NO_REFERENCE)
        if reference.tempo_bpm is None:
            return Score(None, NO_TEMPO)
        tempo_bpm = beats_of(scored.samples, scored.sample_rate_hz).tempo_bpm
        if tempo_bpm is None:
            return Score(0.0, "too few beats in the output to tell its tempo")
        return Score(float(abs(tempo_bpm - reference.tempo_bpm) <= TOLERANCE * reference.tempo_bpm))

    return score


SPEC = MetricSpec(
    name="tempo_within_4pct",
    description="fraction of clips whose tempo is met within 4 %, no forgiveness for half or double tempo",
    build=build,
    higher_is_better=True,
    not_comparable_with="tempo accuracy of another tracker or with octave forgiveness",
    source="MIREX tempo estimation, accuracy 1",
    measured_with=measured_with,
    check=problems,
)
