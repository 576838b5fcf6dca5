"""The plan of who hears what is balanced, whatever the numbers."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expotion_study.session import comparison_cells, rating_cells, round_robin, williams_rows


@settings(deadline=None)
@given(st.integers(1, 9))
def test_a_williams_square_balances_position_and_neighbour(n: int) -> None:
    rows = williams_rows(n)
    assert all(sorted(row) == list(range(n)) for row in rows)
    for position in range(n):
        assert len(set(Counter(row[position] for row in rows).values())) == 1
    neighbours = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert set(neighbours) == set(itertools.permutations(range(n), 2))
    assert len(set(neighbours.values())) <= 1


@settings(deadline=None)
@given(st.integers(2, 10))
def test_a_tournament_meets_every_pair_once_and_its_rounds_share_nobody(n: int) -> None:
    pairs = round_robin(n)
    assert sorted(pairs) == list(itertools.combinations(range(n), 2))
    size = n // 2
    for begin in range(0, len(pairs), size):
        seated = [system for pair in pairs[begin : begin + size] for system in pair]
        assert len(set(seated)) == len(seated)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7), st.integers(1, 12), st.integers(1, 5), st.integers(1, 30))
def test_ratings_are_balanced_after_any_number_of_participants(
    n_systems: int, n_clips: int, n_groups: int, n_participants: int
) -> None:
    n_ratings = n_systems * min(n_groups, n_clips)
    counts: Counter[tuple[int, int]] = Counter()
    for slot in range(n_participants):
        cells = rating_cells(slot, n_systems, n_clips, n_ratings)
        assert len(set(cells)) == len(cells) == n_ratings  # nothing twice
        assert set(Counter(system for _, system in cells).values()) == {n_ratings // n_systems}
        counts.update(cells)
    every = [counts[clip, system] for clip in range(n_clips) for system in range(n_systems)]
    assert max(every) - min(every) <= 1


@pytest.mark.parametrize(("n_systems", "n_clips", "n_ratings"), [(4, 8, 8), (3, 12, 9), (5, 20, 10)])
def test_clips_are_not_repeated_where_there_are_enough(n_systems: int, n_clips: int, n_ratings: int) -> None:
    for slot in range(2 * n_clips):
        clips = [clip for clip, _ in rating_cells(slot, n_systems, n_clips, n_ratings)]
        in_a_row = [clips[at : at + n_systems] for at in range(0, n_ratings, n_systems)]
        assert all(len(set(group)) == n_systems for group in in_a_row)
    assert len(set(clip for clip, _ in rating_cells(0, n_systems, n_clips, n_ratings))) == n_ratings


@pytest.mark.parametrize(("n_systems", "n_clips"), [(2, 5), (3, 4), (4, 3), (5, 6), (6, 7)])
def test_systems_stand_at_every_position_equally_often_over_a_whole_cycle(n_systems: int, n_clips: int) -> None:
    n_rows = len(williams_rows(n_systems))
    at_position: Counter[tuple[int, int]] = Counter()
    for slot in range(n_rows * n_clips):
        for position, (_, system) in enumerate(rating_cells(slot, n_systems, n_clips, n_systems)):
            at_position[position, system] += 1
    counts = [at_position[p, s] for p in range(n_systems) for s in range(n_systems)]
    assert set(counts) == {n_clips * n_rows // n_systems}


@pytest.mark.parametrize(("n_systems", "n_clips", "n_comparisons"), [(2, 3, 4), (3, 4, 5), (4, 4, 6), (5, 3, 7)])
def test_comparisons_meet_every_pair_on_every_clip_once_in_each_order(
    n_systems: int, n_clips: int, n_comparisons: int
) -> None:
    whole = n_systems * (n_systems - 1) * n_clips  # ordered pairs times clips
    found: list[tuple[int, int, int]] = []
    for slot in range(whole):
        found += comparison_cells(slot, n_systems, n_clips, n_comparisons)
    counts = Counter(found)
    assert len(counts) == whole
    assert set(counts.values()) == {n_comparisons}
    first = found[: len(round_robin(n_systems))]
    assert len({frozenset(pair) for _, *pair in first}) == len(first)


def test_numbers_that_cannot_be_balanced_are_refused() -> None:
    with pytest.raises(ValueError, match="5 ratings"):
        rating_cells(0, 2, 4, 5)
    with pytest.raises(ValueError, match="10 ratings"):
        rating_cells(0, 2, 4, 10)
