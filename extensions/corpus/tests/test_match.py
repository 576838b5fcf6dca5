"""Fingerprints: what they must survive, what they must tell apart, and that the index finds what pairs find."""

from collections.abc import Callable
from itertools import combinations

import numpy as np

from expotion_corpus.match import EMPTY, RATE_HZ, clusters, fingerprint, joined, matches, same_sound, similarity

Notes = Callable[..., np.ndarray]


def test_gain_noise_offset_and_an_equaliser_do_not_matter(notes: Notes) -> None:
    sound = notes(1, 6.0)
    begin = 7000
    cut = sound[begin:]
    rms = float(np.sqrt(np.mean(cut**2)))
    noise = np.random.default_rng(0).normal(0, 0.1 * rms, len(cut))  # 20 dB below
    dull = np.convolve(cut, np.ones(3) / 3, mode="same")
    for changed in (0.05 * cut, cut + noise, dull):
        votes, likeness, offset_s = similarity(fingerprint(sound), fingerprint(changed.astype(np.float32)))
        assert votes >= 20
        assert likeness > 0.85
        assert abs(offset_s + begin / RATE_HZ) < 0.02
        assert same_sound(fingerprint(changed.astype(np.float32)), fingerprint(sound))


def test_other_sounds_and_silence_are_not_the_same(notes: Notes) -> None:
    one = fingerprint(notes(1))
    assert not same_sound(one, fingerprint(notes(2)))
    assert fingerprint(np.zeros(80_000, np.float32)) is EMPTY
    assert fingerprint(np.ones(500, np.float32)) is EMPTY
    assert similarity(EMPTY, one) == (0, 0.0, 0.0)
    assert not same_sound(EMPTY, EMPTY)


def test_the_same_rhythm_with_other_notes_is_another_sound() -> None:
    """Landmarks in common are not enough: two pieces share every second bar's notes, not the rest."""
    t = np.arange(RATE_HZ // 2) / RATE_HZ

    def piece(bars: list[float]) -> np.ndarray:
        tones = [np.sin(2 * np.pi * f * t) * np.exp(-4 * t) + 0.5 * np.sin(2 * np.pi * 2.01 * f * t) for f in bars]
        return np.concatenate(tones).astype(np.float32)

    shared = [220.0, 330.0, 262.0, 392.0]
    a = piece([f for x in shared * 3 for f in (x, x * 1.26)])
    b = piece([f for x in shared * 3 for f in (x, x * 1.9)])
    votes, likeness, _ = similarity(fingerprint(a), fingerprint(b))
    assert likeness < 0.78
    assert not same_sound(fingerprint(a), fingerprint(b))
    assert votes >= 0


def test_an_excerpt_in_a_long_sound_is_found(notes: Notes) -> None:
    long = notes(5, 60.0)
    excerpt = long[30 * RATE_HZ : 35 * RATE_HZ]
    _, likeness, offset_s = similarity(fingerprint(excerpt), fingerprint(long))
    assert likeness > 0.95
    assert abs(offset_s - 30.0) < 0.02
    other = np.concatenate([notes(6, 20.0), long[10 * RATE_HZ : 22 * RATE_HZ], notes(7, 20.0)])
    assert same_sound(fingerprint(long), fingerprint(other))  # 12 s in common of 60 and 52


def test_parts_of_a_sound_are_joined_where_they_belong(notes: Notes) -> None:
    sound = notes(3, 6.0)
    half = 3 * RATE_HZ
    parts = [(0.0, fingerprint(sound[:half])), (3.0, fingerprint(sound[half:]))]
    votes, likeness, offset_s = similarity(fingerprint(sound), joined(parts))
    assert (votes > 100, likeness > 0.95, offset_s) == (True, True, 0.0)
    long = notes(4, 14.0)
    with_gap = joined([(0.0, EMPTY), (4.0, fingerprint(long[4 * RATE_HZ :]))])
    assert same_sound(fingerprint(long), with_gap)
    assert joined([]) is EMPTY


def test_the_index_finds_the_pairs_that_comparing_all_finds(notes: Notes) -> None:
    sounds = [notes(seed) for seed in range(8)]
    sounds += [sounds[2][4000:], 0.2 * sounds[5], np.zeros(32_000, np.float32), sounds[2]]
    prints = [fingerprint(sound) for sound in sounds]
    every = {(a, b) for a, b in combinations(range(len(prints)), 2) if same_sound(prints[a], prints[b])}
    assert every == {(2, 8), (2, 11), (5, 9), (8, 11)}
    assert {(match.a, match.b) for match in matches(prints)} == every
    only = matches(prints, lambda a, b: b == 9)
    assert [(match.a, match.b) for match in only] == [(5, 9)]
    assert clusters(prints) == [0, 1, 2, 3, 4, 5, 6, 7, 2, 5, 10, 2]
    assert matches([]) == []
    assert clusters([EMPTY, EMPTY]) == [0, 1]
