"""KL divergence and inception score with PaSST, a classifier of 527 kinds of sound, announced to Expotion."""

from __future__ import annotations

from collections.abc import Callable

from expotion.contracts import MetricSpec, Rows, Score, Scored, Weights, hookimpl

SAMPLE_RATE_HZ = 32_000
PASST = Weights(
    "passt",
    "https://github.com/kkoutini/PaSST/releases/download/v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt",
    "Apache-2.0",
)


def build_kl() -> Callable[[Scored], Score]:
    """A function from a sound at 32 kHz to the divergence from the clip's own sound."""
    from expotion_metrics_passt.scores import divergence  # noqa: PLC0415 - torch only when a run uses it

    return divergence()


def build_rows() -> Callable[[Scored], Rows | Score]:
    """A function from a sound at 32 kHz to its class probabilities [k, 527], one row for each 10 s."""
    from expotion_metrics_passt.scores import probabilities  # noqa: PLC0415

    return probabilities()


KL = MetricSpec(
    name="kl_passt",
    label="KL (PaSST)",
    description="KL divergence of PaSST's class probabilities, the clip's own sound from the output",
    build=build_kl,
    higher_is_better=False,
    unit="nat",
    weights=(PASST,),
    sample_rate_hz=SAMPLE_RATE_HZ,
    needs=frozenset({"sound"}),
    source="Kreuk et al. 2023 (AudioGen); Koutini et al. 2022 (PaSST)",
    not_comparable_with="KL of another classifier, the other way round, or of sigmoid probabilities",
)
INCEPTION_SCORE = MetricSpec(
    name="inception_score_passt",
    label="IS (PaSST)",
    description="inception score of PaSST's class probabilities: each sound clear, the set varied",
    build=build_rows,
    higher_is_better=True,
    over="set",
    statistic="inception_score",
    weights=(PASST,),
    sample_rate_hz=SAMPLE_RATE_HZ,
    source="Salimans et al. 2016, on an audio classifier",
    not_comparable_with="inception scores of another classifier, of another number of sounds, or over splits",
)


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """KL divergence and inception score."""
    return [KL, INCEPTION_SCORE]
