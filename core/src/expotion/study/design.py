"""Who hears what, in which order: balanced over systems, clips, positions and neighbours.

Ratings. Group a (a = 0..C-1) holds every system once: system j with clip (a + j) mod C. The C groups together hold
every (clip, system) exactly once. Participants take groups one after the other from a cyclic list, so that

- everybody hears each system equally often,
- after any number of participants the (clip, system) counts differ by at most one,
- nobody hears the same clip with the same system twice.

Inside a group the order is a row of a Williams square (Williams 1949): over its rows each system stands at each
position equally often, and each system follows each other one equally often.

Comparisons. Pairs of systems come in the order of a round-robin tournament (pairs of one round share no system),
with clips and sides rotated: over 2C laps each pair is heard on each clip once in each order.

A participant's number (`slot`) decides everything; no chance is involved.
"""

from __future__ import annotations

from math import gcd, lcm


def rating_cells(slot: int, n_systems: int, n_clips: int, n_ratings: int) -> list[tuple[int, int]]:
    """(clip, system) of each rating of a participant, in the order of presentation.

    `n_ratings` is a multiple of `n_systems` and at most `n_systems * n_clips`. Raises ValueError otherwise.
    """
    n_groups, rest = divmod(n_ratings, n_systems)
    if rest or not 0 <= n_groups <= n_clips:
        raise ValueError(f"{n_ratings} ratings of {n_systems} systems and {n_clips} clips")
    groups, rows = _group_order(n_systems, n_clips), williams_rows(n_systems)
    cells = []
    for taken in range(slot * n_groups, (slot + 1) * n_groups):
        first = groups[taken % n_clips]
        # The extra turn keeps a group from always meeting the same row.
        row = rows[(taken + taken // lcm(n_clips, len(rows))) % len(rows)]
        cells += [((first + system) % n_clips, system) for system in row]
    return cells


def comparison_cells(
    slot: int, n_systems: int, n_clips: int, n_comparisons: int
) -> list[tuple[int, int, int]]:
    """(clip, left system, right system) of each comparison of a participant, in order."""
    pairs = round_robin(n_systems)
    cells = []
    for taken in range(slot * n_comparisons, (slot + 1) * n_comparisons):
        lap, number = divmod(taken, len(pairs))
        first, second = pairs[number]
        swapped = (number + lap % n_clips + lap // n_clips) % 2 == 1
        cells.append(((number + lap) % n_clips, *((second, first) if swapped else (first, second))))
    return cells


def williams_rows(n: int) -> list[list[int]]:
    """Orders of n things, balanced for position and neighbour: n rows for an even n, 2n for an odd one."""
    if n == 1:
        return [[0]]
    zigzag = [0]
    for step in range(1, n):
        zigzag.append((zigzag[-1] + (step if step % 2 else -step)) % n)
    rows = [[(value + shift) % n for value in zigzag] for shift in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def round_robin(n: int) -> list[tuple[int, int]]:
    """All pairs of n things in the order of a tournament's rounds (circle method)."""
    seats: list[int | None] = [*range(n), *([None] if n % 2 else [])]
    half, pairs = len(seats) // 2, []
    for _ in range(len(seats) - 1):
        for one, other in zip(seats[:half], reversed(seats), strict=False):
            if one is not None and other is not None:
                pairs.append((min(one, other), max(one, other)))
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return pairs


def _group_order(n_systems: int, n_clips: int) -> list[int]:
    """First clips of the groups; consecutive groups share no clip where there are enough."""
    step = gcd(n_systems, n_clips)
    return [
        (offset + number * n_systems) % n_clips for offset in range(step) for number in range(n_clips // step)
    ]
