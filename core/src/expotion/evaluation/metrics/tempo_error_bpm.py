"""Tempo error: |tempo of the output - tempo of the clip| in BPM. Half and double tempo count in full."""

from __future__ import annotations

from collections.abc import Callable

from expotion.contracts import MetricSpec, Score, Scored
from expotion.evaluation.metrics.reference import NO_REFERENCE, NO_TEMPO, reference_beats
from expotion.evaluation.trackers import beats_of, measured_with, problems


def build() -> Callable[[Scored], Score]:
    """Return the metric; not defined where either side has too few beats for a tempo."""

    def score(scored: Scored) -> Score:
        reference = reference_beats(scored.clip)
        if reference is None:
            return Score(None, NO_REFERENCE)
        if reference.tempo_bpm is None:
            return Score(None, NO_TEMPO)
        tempo_bpm = beats_of(scored.samples, scored.sample_rate_hz).tempo_bpm
        if tempo_bpm is None:
            return Score(None, "too few beats in the output to tell its tempo")
        return Score(abs(tempo_bpm - reference.tempo_bpm))

    return score


SPEC = MetricSpec(
    name="tempo_error_bpm",
    description="absolute tempo error, no forgiveness for half or double tempo",
    build=build,
    higher_is_better=False,
    unit="BPM",
    not_comparable_with="tempo errors of another tracker or with octave forgiveness",
    measured_with=measured_with,
    check=problems,
)
