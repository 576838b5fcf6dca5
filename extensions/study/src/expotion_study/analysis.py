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

PRIOR, N_STEPS, TOLERANCE = 0.5, 500, 1e-9
"""Of the fit of Bradley and Terry's model."""
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


NOTHING = Estimate(None, None, None, 0, 0, 0)


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
    rngs = [np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(2)]
    heard = [a for a in kept if not a.response.get("skipped")]
    ratings = _ratings(study, [a for a in heard if a.kind == session.RATING], n_draws, rngs[0])
    compared = [a for a in heard if a.kind == session.COMPARISON]
    shares, strengths, wins = _preferences(study, compared, n_draws, rngs[1])
    trained = Counter(person.training for person in participants if person.id in counted)
    people = People(
        joined=len(participants),
        finished=sum(person.finished for person in participants),
        counted=len(counted),
        excluded=dict(Counter(reason for reason in reasons.values() if reason is not None)),
        training={level: trained[level] for level in TRAINING},
        skipped=len(kept) - len(heard),
    )
    return Analysis(people, ratings, shares, strengths, wins)


def _reason(person: Participant, answers: Sequence[Answer]) -> str | None:
    """Why someone does not count, or None."""
    if not person.passed:
        ended = person.screened
        return "failed the headphones check" if ended else "did not reach the end of the headphones check"
    checks = [a.response for a in answers if a.participant == person.id and a.kind == session.ATTENTION]
    return "failed an attention check" if any(c["value"] != c["wanted"] for c in checks) else None


def _weights(study: Study, answers: Sequence[Answer], n_draws: int, rng: np.random.Generator) -> Floats:
    """Weight of each answer in each bootstrap draw, [n_draws, n]: its participant's count times its clip's.

    Counts are how often each of n is drawn in n draws with replacement.
    """
    sides = []
    for values in ([a.participant for a in answers], [study.stimuli[a.stimuli[0]].clip for a in answers]):
        known, which = np.unique(np.asarray(values, dtype=np.int64), return_inverse=True)
        sides.append((len(known), which))
    batches = []
    for begin in range(0, n_draws, _BATCH):
        weights = np.ones((min(_BATCH, n_draws - begin), len(answers)))
        for n, which in sides:
            weights *= rng.multinomial(n, np.full(n, 1.0 / n), size=len(weights))[:, which]
        batches.append(weights)
    return np.concatenate(batches)


def _estimate(study: Study, answers: Sequence[Answer], value: float | None, draws: Floats) -> Estimate:
    """A value with the percentiles of its draws that are defined, and what it rests on."""
    clips = {study.stimuli[a.stimuli[0]].clip for a in answers}
    people = {a.participant for a in answers}
    return Estimate(value, *percentiles(draws), len(answers), len(people), len(clips))


def _ratings(
    study: Study, answers: Sequence[Answer], n_draws: int, rng: np.random.Generator
) -> dict[str, list[Estimate]]:
    if not answers:
        return {name: [NOTHING] * len(study.systems) for name in study.criteria}
    systems = np.array([study.stimuli[a.stimuli[0]].system for a in answers])
    values = np.array([[a.response["ratings"][name] for name in study.criteria] for a in answers], np.float64)
    weights = _weights(study, answers, n_draws, rng)
    found: dict[str, list[Estimate]] = {name: [] for name in study.criteria}
    for system in range(len(study.systems)):
        of = systems == system
        own = [answer for answer, mine in zip(answers, of, strict=True) if mine]
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = (weights[:, of] @ values[of]) / weights[:, of].sum(axis=1, keepdims=True)
        for column, name in enumerate(study.criteria):
            value = float(values[of, column].mean()) if own else None
            found[name].append(_estimate(study, own, value, draws[:, column]))
    return found


def _preferences(
    study: Study, answers: Sequence[Answer], n_draws: int, rng: np.random.Generator
) -> tuple[list[Estimate], list[Estimate], list[list[float]]]:
    n_systems = len(study.systems)
    if not answers:
        return [NOTHING] * n_systems, [NOTHING] * n_systems, [[0.0] * n_systems for _ in range(n_systems)]
    left, right = np.array([[study.stimuli[token].system for token in a.stimuli] for a in answers]).T
    said = {"left": 1.0, "neither": 0.5, "right": 0.0}
    for_left = np.array([said[a.response["preferred"]] for a in answers])
    # row 0 is the estimate itself, every answer once; the others are the draws
    weights = np.concatenate([np.ones((1, len(answers))), _weights(study, answers, n_draws, rng)])
    wins = np.zeros((len(weights), n_systems, n_systems))
    for first in range(n_systems):
        for second in range(n_systems):
            as_left, as_right = (left == first) & (right == second), (right == first) & (left == second)
            wins[:, first, second] = weights[:, as_left] @ for_left[as_left]
            wins[:, first, second] += weights[:, as_right] @ (1.0 - for_left[as_right])
    strengths = fit(wins)
    shares, logs = preferred_share(strengths), np.log(strengths)
    of = [
        [a for a, x, y in zip(answers, left, right, strict=True) if system in (x, y)] for system in range(n_systems)
    ]
    return (
        [_estimate(study, of[s], float(shares[0, s]), shares[1:, s]) for s in range(n_systems)],
        [_estimate(study, of[s], float(logs[0, s]), logs[1:, s]) for s in range(n_systems)],
        wins[0].tolist(),
    )


def fit(wins: Floats, prior: float = PRIOR) -> Floats:
    """Strengths [..., S] with geometric mean 1 from wins [..., S, S], row over column.

    The model of Bradley and Terry (1952), P(i preferred over j) = p_i / (p_i + p_j), by the MM iterations of
    Hunter (2004). "No preference" counts as half a win for each. Every system also meets an imagined opponent of
    strength 1 in `prior` wins and `prior` losses: that keeps strengths finite where one system has won or lost
    every time, and pulls them together a little where there are few answers.
    """
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


def preferred_share(strengths: Floats) -> Floats:
    """Chance of being preferred over another system drawn at random, [..., S] in 0..1."""
    chance = strengths[..., :, None] / (strengths[..., :, None] + strengths[..., None, :])
    n = strengths.shape[-1]
    return np.asarray((chance.sum(axis=-1) - 0.5) / (n - 1))
