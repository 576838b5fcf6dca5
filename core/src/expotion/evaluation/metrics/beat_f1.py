"""Beat F1: do the beats of the output fall where the beats of the clip fall, within 70 ms?

`mir_eval.beat.f_measure` on all beats. mir_eval's evaluation script drops the first five seconds of music
(`trim_beats`), a habit from full songs; half of a ten-second clip is too much to drop, so nothing is trimmed.
"""

from __future__ import annotations

from collections.abc import Callable

from expotion.contracts import MetricSpec, Score, Scored
from expotion.evaluation.metrics.reference import NO_REFERENCE, reference_beats
from expotion.evaluation.trackers import beats_of, measured_with, problems

TOLERANCE_S = 0.070


def build() -> Callable[[Scored], Score]:
    """Return the metric. Each estimated beat pairs with at most one reference beat within the tolerance."""
    import mir_eval.beat  # noqa: PLC0415 - imported when an evaluation starts, not with the command line

    def score(scored: Scored) -> Score:
        reference = reference_beats(scored.clip)
        if reference is None:
            return Score(None, NO_REFERENCE)
        if not len(reference.beats_s):
            return Score(None, "the clip has no beats")
        beats_s = beats_of(scored.samples, scored.sample_rate_hz).beats_s
        if not len(beats_s):
            return Score(0.0, "no beats found in the output")
        return Score(float(mir_eval.beat.f_measure(reference.beats_s, beats_s, TOLERANCE_S)))

    return score


SPEC = MetricSpec(
    name="beat_f1",
    description="F1 of the output's beats against the clip's beats, 70 ms, nothing trimmed",
    build=build,
    higher_is_better=True,
    licence="MIT",
    not_comparable_with="beat F1 of another tracker, or with the first five seconds trimmed",
    packages=("mir_eval>=0.7",),
    source="mir_eval.beat.f_measure (Raffel et al. 2014)",
    measured_with=measured_with,
    check=problems,
)
