"""Fréchet distance, its extrapolation and the inception score against literal forms and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from expotion.evaluate.sets import divergence, frechet, frechet_distance, frechet_infinity, inception_score


def literal(rows: np.ndarray, reference: np.ndarray) -> float:
    """The definition, with a matrix square root in float64."""
    first, second = np.cov(rows, rowvar=False), np.cov(reference, rowvar=False)
    root = sqrtm(first @ second)
    apart = rows.mean(axis=0) - reference.mean(axis=0)
    return float(apart @ apart + np.trace(first) + np.trace(second) - 2 * np.trace(np.real(root)))


def mixed(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 8), (40, 300, 30), (64, 64, 3)])
def test_it_is_the_definition(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(n)
    rows, reference = mixed(rng, n, d), mixed(rng, m, d)
    assert frechet_distance(rows, reference) == pytest.approx(literal(rows, reference), rel=1e-9)


def test_singular_covariances_need_no_jitter() -> None:
    """With fewer rows than dimensions: the sum of singular values of the small product, by the full eigenvalues."""
    rng = np.random.default_rng(0)
    rows, reference = rng.normal(size=(5, 40)), rng.normal(size=(7, 40)) + 0.3
    first, second = np.cov(rows, rowvar=False), np.cov(reference, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    half = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ second @ half), 0)).sum()
    apart = rows.mean(axis=0) - reference.mean(axis=0)
    wanted = apart @ apart + np.trace(first) + np.trace(second) - 2 * shared
    assert frechet_distance(rows, reference) == pytest.approx(wanted, rel=1e-6)


def test_gaussians_of_known_mean_and_spread() -> None:
    """Commuting covariances: sum of (m1 - m2)^2 + (s1 - s2)^2, exactly, where the samples have exactly these."""
    rng = np.random.default_rng(1)
    raw = rng.normal(size=(500, 4))
    white = raw - raw.mean(axis=0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    spread_a, spread_b = np.array([1.0, 2.0, 0.5, 0.0]), np.array([2.0, 2.0, 1.5, 1.0])
    shift = np.array([0.0, 1.0, -2.0, 0.5])
    wanted = float((shift**2).sum() + ((spread_a - spread_b) ** 2).sum())
    assert frechet_distance(white * spread_a, white * spread_b + shift) == pytest.approx(wanted, rel=1e-9)


def test_small_sets_are_warned_of() -> None:
    rng = np.random.default_rng(2)

    def set_of(n: int) -> list[np.ndarray]:
        return [rng.normal(size=(1, 20)).astype(np.float32) for _ in range(n)]

    assert "singular" in str(frechet(set_of(10), set_of(300)).reason)
    assert "biased upwards" in str(frechet(set_of(100), set_of(300)).reason)
    assert frechet(set_of(300), set_of(300)).reason is None
    same = set_of(30)
    assert frechet(same, same).value == pytest.approx(0.0, abs=1e-9)
    assert "itself" in str(frechet(same, same).reason)
    assert frechet(set_of(1), same).value is None


def test_extrapolation_removes_the_bias_of_a_finite_set() -> None:
    """Both sets from one Gaussian: the distance is bias alone, and a large reference has nearly none of its own."""
    rng = np.random.default_rng(3)
    reference = [rng.normal(size=(4000, 16)).astype(np.float32)]
    sounds = [rng.normal(size=(1, 16)).astype(np.float32) for _ in range(200)]
    finite, endless = frechet(sounds, reference).value, frechet_infinity(sounds, reference).value
    assert finite is not None and endless is not None
    assert finite > 0.3
    assert abs(endless) < finite / 5
    assert frechet_infinity(sounds, reference).value == endless


def test_extrapolation_needs_eight_sounds() -> None:
    few = [np.random.default_rng(i).normal(size=(5, 3)).astype(np.float32) for i in range(7)]
    assert "at least 8" in str(frechet_infinity(few, few).reason)


def test_inception_score_of_known_sets() -> None:
    eye = np.eye(5, dtype=np.float32)
    assert inception_score([row[None] for row in eye], []).value == pytest.approx(5.0)
    same = [np.full((2, 4), 0.25, np.float32)] * 3
    assert inception_score(same, []).value == pytest.approx(1.0)
    rng = np.random.default_rng(4)
    rows = rng.dirichlet(np.ones(6), size=150)
    mean = rows.mean(axis=0)
    wanted = np.exp(np.mean([sum(p * np.log(p / q) for p, q in zip(row, mean, strict=True)) for row in rows]))
    found = inception_score([row[None].astype(np.float32) for row in rows], [])
    assert found.value == pytest.approx(float(wanted), rel=1e-5)
    assert found.reason is None


def test_inception_score_refuses_what_is_not_probabilities() -> None:
    assert (
        inception_score([np.full((3, 4), 0.5, np.float32)] * 2, []).reason == "the rows are not class probabilities"
    )
    assert inception_score([np.full((3, 4), 0.25, np.float32)], []).value is None


def test_divergence_counts_nothing_where_there_is_nothing() -> None:
    found = divergence(np.array([[0.5, 0.5, 0.0]]), np.array([0.25, 0.5, 0.25]))
    assert found[0] == pytest.approx(0.5 * np.log(2))
