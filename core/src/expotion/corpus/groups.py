"""Groups of clips that must stay together: connected components over shared recording, song, performer, sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from expotion.corpus.schema import Row

KEYS = ("recording", "song", "performer")
ALWAYS = ("file_sha256", "sound")
"""Two clips of one file, or of two files with the same sound, belong together whatever was asked."""


def tokens_of(row: Row, keys: Iterable[str]) -> list[tuple[str, str]]:
    """(field, value) pairs that tie a clip to others; a field that is not known ties nothing."""
    pairs = ((key, getattr(row, key)) for key in (*ALWAYS, *keys))
    return [(key, str(value).strip().casefold()) for key, value in pairs if value]


def components(rows: Sequence[Row], keys: Iterable[str]) -> list[list[int]]:
    """Positions of rows by connected component, largest first, then in the order of the rows (union-find)."""
    chosen = tuple(keys)
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        for token in tokens_of(row, chosen):
            parent[root(i)] = root(first.setdefault(token, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(rows)):
        groups.setdefault(root(i), []).append(i)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]))
