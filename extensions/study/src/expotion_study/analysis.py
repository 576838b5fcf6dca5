"""From answers to numbers: means by system and criterion, preferences, who was left out and why.

Intervals are 95 % bootstrap intervals over participants and clips at once (the pigeonhole bootstrap, Owen 2007):
both are drawn with replacement, an answer counts as often as its participant times its clip were drawn. Such an
interval speaks about other participants and other clips, and is rather too wide than too narrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.evaluate.statistics import percentiles
from expotion_study import session
from expotion_study.model import TRAINING, Study
from expotion_study.store import Answer, Participant

N_DRAWS = 2000
_BATCH = 250

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and what it rests on; numbers are None without answers."""

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n_answers: int
    n_participants: int
    n_clips: int


@dataclass(frozen=True)
class People:
    """How many took part, how many count, and why the others do not."""

    joined: int
    finished: int
    counted: int
    excluded: dict[str, int]
    training: dict[str, int]
    skipped: int


@dataclass(frozen=True)
class Analysis:
    """`ratings` by criterion and system; `strengths`, `shares` by system; `wins` [S][S], row over column."""

    people: People
    ratings: dict[str, list[Estimate]]
    shares: list[Estimate]
    log_strengths: list[Estimate]
    wins: list[list[float]]


def analyse(
    study: Study,
    participants: Sequence[Participant],
    answers: Sequence[Answer],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Analysis:
    """Analyse the answers of those who passed the headphones check and every attention check.

    Answers of participants who have not finished count. Deterministic under `seed`.
    """
    reasons = {person.id: _reason(person, answers) for person in participants}
    counted = {person.id for person in participants if reasons[person.id] is None}
    kept = [answer for answer in answers if answer.participant in counted]
    rng_for = np.random.SeedSequence(seed).spawn(2)
    heard = [a for a in kept if not a.response.get("skipped")]
    ratings = _ratings(study, [a for a in heard if a.kind == session.RATING], n_draws, rng_for[0])
    compared = [a for a in heard if a.kind == session.COMPARISON]
    shares, strengths, wins = _preferences(study, compared, n_draws, rng_for[1])
    people = People(
        joined=len(participants),
        finished=sum(person.finished for person in participants),
        counted=len(counted),
        excluded=dict(Counter(reason for reason in reasons.values() if reason is not None)),
        training={
            level: sum(person.training == level and person.id in counted for person in participants)
            for level in TRAINING
        },
        skipped=len(kept) - len(heard),
    )
    return Analysis(people, ratings, shares, strengths, wins)


def _reason(person: Participant, answers: Sequence[Answer]) -> str | None:
    """Why someone does not count, or None."""
    if not person.passed:
        return (
            "failed the headphones check"
            if person.screened
            else "did not reach the end of the headphones check"
        )
    checks = [a.response for a in answers if a.participant == person.id and a.kind == session.ATTENTION]
    return "failed an attention check" if any(c["value"] != c["wanted"] for c in checks) else None


# ------------------------------------------------------------------------------------------------ bootstrap


def _counts(n: int, n_draws: int, rng: np.random.Generator) -> Floats:
    """How often each of n is drawn in n draws with replacement, [n_draws, n]."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=n_draws).astype(np.float64)


def _weights(rows: Sequence[int], columns: Sequence[int], n_draws: int, rng: np.random.Generator) -> Floats:
    """Weight of each answer in each draw, [n_draws, n]: its participant's count times its clip's."""
    people, which_person = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
    clips, which_clip = np.unique(np.asarray(columns, dtype=np.int64), return_inverse=True)
    of_people = _counts(len(people), n_draws, rng)
    return of_people[:, which_person] * _counts(len(clips), n_draws, rng)[:, which_clip]


def _support(study: Study, answers: Sequence[Answer]) -> tuple[int, int, int]:
    clips = {study.stimuli[a.stimuli[0]].clip for a in answers}
    return len(answers), len({a.participant for a in answers}), len(clips)


# -------------------------------------------------------------------------------------------------- ratings


def _ratings(
    study: Study, answers: Sequence[Answer], n_draws: int, seed: np.random.SeedSequence
) -> dict[str, list[Estimate]]:
    nothing = Estimate(None, None, None, 0, 0, 0)
    if not answers:
        return {name: [nothing] * len(study.systems) for name in study.criteria}
    stimuli = [study.stimuli[a.stimuli[0]] for a in answers]
    systems = np.array([each.system for each in stimuli])
    values = np.array([[a.response["ratings"][name] for name in study.criteria] for a in answers], np.float64)
    sums = np.zeros((n_draws, len(study.systems), len(study.criteria)))
    totals = np.zeros((n_draws, len(study.systems), 1))
    rng = np.random.default_rng(seed)
    people, clips = [a.participant for a in answers], [each.clip for each in stimuli]
    for begin in range(0, n_draws, _BATCH):
        end = min(begin + _BATCH, n_draws)
        weights = _weights(people, clips, end - begin, rng)
        for system in range(len(study.systems)):
            of = systems == system
            sums[begin:end, system] = weights[:, of] @ values[of]
            totals[begin:end, system, 0] = weights[:, of].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = sums / totals
    found: dict[str, list[Estimate]] = {}
    for column, name in enumerate(study.criteria):
        found[name] = []
        for system in range(len(study.systems)):
            of = systems == system
            own = [answer for answer, mine in zip(answers, of, strict=True) if mine]
            value = float(values[of, column].mean()) if own else None
            found[name].append(Estimate(value, *percentiles(draws[:, system, column]), *_support(study, own)))
    return found


# ---------------------------------------------------------------------------------------------- comparisons


def _preferences(
    study: Study, answers: Sequence[Answer], n_draws: int, seed: np.random.SeedSequence
) -> tuple[list[Estimate], list[Estimate], list[list[float]]]:
    n_systems = len(study.systems)
    if not answers:
        nothing = [Estimate(None, None, None, 0, 0, 0)] * n_systems
        return nothing, nothing, [[0.0] * n_systems for _ in range(n_systems)]
    left = np.array([study.stimuli[a.stimuli[0]].system for a in answers])
    right = np.array([study.stimuli[a.stimuli[1]].system for a in answers])
    for_left = np.array(
        [{"left": 1.0, "neither": 0.5, "right": 0.0}[a.response["preferred"]] for a in answers]
    )
    people = [a.participant for a in answers]
    clips = [study.stimuli[a.stimuli[0]].clip for a in answers]
    rng = np.random.default_rng(seed)
    weights = np.concatenate(
        [
            np.ones((1, len(answers))),
            *(
                _weights(people, clips, min(_BATCH, n_draws - begin), rng)
                for begin in range(0, n_draws, _BATCH)
            ),
        ]
    )
    wins = np.zeros((len(weights), n_systems, n_systems))
    for first in range(n_systems):
        for second in range(n_systems):
            as_left, as_right = (left == first) & (right == second), (right == first) & (left == second)
            wins[:, first, second] = weights[:, as_left] @ for_left[as_left]
            wins[:, first, second] += weights[:, as_right] @ (1.0 - for_left[as_right])
    strengths = fit(wins)
    shares, logs = preferred_share(strengths), np.log(strengths)
    n_of = [
        _support(study, [a for a, x, y in zip(answers, left, right, strict=True) if system in (x, y)])
        for system in range(n_systems)
    ]
    return (
        [Estimate(float(shares[0, s]), *percentiles(shares[1:, s]), *n_of[s]) for s in range(n_systems)],
        [Estimate(float(logs[0, s]), *percentiles(logs[1:, s]), *n_of[s]) for s in range(n_systems)],
        [[float(value) for value in row] for row in wins[0]],
    )


# Strengths from paired comparisons: the model of Bradley and Terry (1952), fitted as in Hunter (2004).
#
# P(i preferred over j) = p_i / (p_i + p_j). "No preference" counts as half a win for each. Every system also
# meets an imagined opponent of strength 1 in PRIOR wins and PRIOR losses: that keeps strengths finite where
# one system has won or lost every time, and pulls them together a little where there are few answers.

PRIOR = 0.5
N_STEPS = 500
TOLERANCE = 1e-9


def fit(wins: NDArray[np.float64], prior: float = PRIOR) -> NDArray[np.float64]:
    """Strengths [..., S] with geometric mean 1 from wins [..., S, S] (row over column), by MM iterations."""
    met = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(axis=-1) + prior
    strengths = np.ones(wins.shape[:-1])
    for _ in range(N_STEPS):
        pairs = met / (strengths[..., :, None] + strengths[..., None, :])
        new = won / (pairs.sum(axis=-1) + 2.0 * prior / (strengths + 1.0))
        change = float(np.abs(np.log(new) - np.log(strengths)).max(initial=0.0))
        strengths = new
        if change < TOLERANCE:
            break
    return np.asarray(strengths / np.exp(np.log(strengths).mean(axis=-1, keepdims=True)))


def preferred_share(strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of being preferred over another system drawn at random, [..., S] in 0..1."""
    chance = strengths[..., :, None] / (strengths[..., :, None] + strengths[..., None, :])
    n = strengths.shape[-1]
    return np.asarray((chance.sum(axis=-1) - 0.5) / (n - 1))
