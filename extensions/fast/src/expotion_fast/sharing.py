"""How threads share the pieces of a phase (tiles of a product, heads of an attention).

Each thread takes the pieces of its own stretch in order, which the memory prefetches, then what others have left. A
phase is over when its pieces are done, not when all threads have come: one that the system has put aside holds up
nothing but the piece in its hands, and finds the phases that it missed done. Which thread does a piece changes
nothing of the result.
"""

from __future__ import annotations

from expotion_fast.compile import kernel
from expotion_fast.simd import arrive, arrived, give_way

LINE = 64
"""Bytes from one counter to the next, so that they do not share a line of the cache."""
PATIENCE = 30_000
"""Looks at a counter, some tenths of a millisecond, before another thread is let run."""


@kernel
def phase_bytes(parts):  # type: ignore[no-untyped-def]
    """Bytes of a phase's counters: pieces done, then the next piece of each part. All start at zero."""
    return LINE * (1 + parts)


@kernel
def next_piece(counters, total, part, parts):  # type: ignore[no-untyped-def]
    """A piece 0..total-1 for this part, or -1 when none is left."""
    for i in range(parts):
        owner = (part + i) % parts
        first, end = total * owner // parts, total * (owner + 1) // parts
        counter = counters + LINE * (1 + owner)
        if first + arrived(counter) < end:
            piece = first + arrive(counter)
            if piece < end:
                return piece
    return -1


@kernel
def finished(counters, total, parts, give_way_at):  # type: ignore[no-untyped-def]
    """Wait until all pieces are done; the counters of the phase after."""
    looks = 0
    while arrived(counters) < total:
        looks += 1
        if looks > PATIENCE:
            give_way(give_way_at)
    return counters + phase_bytes(parts)
