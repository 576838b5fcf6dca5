"""The prefix of a batch with several branches of guidance: each branch sees some of the controls.

Branch j of n is a block of B rows of the decoder's batch and sees the controls `seen[j]`: a set of names, whose
other controls are dropped; the empty set, the prefix of dropped controls with its gate open; or None, no prefix at
all. What the null branch sees is the config's `null_branch`: `none` gives it no prefix, so guidance acts on text
and controls together; `full` gives it the same prefix, so guidance acts on text alone (released code);
`null_vectors` the empty set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.prefix import FrozenLM
from expotion.adaptor.project import TrackInput
from expotion.musicgen.gate import Prefix
from expotion.recipe.schema import NullBranch

Seen = frozenset[str] | None


def branches_prefix(
    adaptor: Adaptor,
    lm: FrozenLM,
    inputs: Mapping[str, TrackInput],
    seen: Sequence[Seen],
    *,
    row_limit: int | None = None,
) -> Prefix | None:
    """Prefix of n = len(seen) blocks of B rows, or None where no branch has one. Equal sets are computed once."""
    if not inputs:
        return None
    batch, n_rows = next(iter(inputs.values())).values.shape[:2]
    made: dict[frozenset[str], Prefix | None] = {}
    joined: Prefix | None = None
    for block, names in enumerate(seen):
        if names is None:
            continue
        if names not in made:
            some = {name: track for name, track in inputs.items() if name in names}
            made[names] = None
            if some:
                made[names] = adaptor.prefix(lm, some, for_generation=True, row_limit=row_limit)
            elif not names and joined is not None:  # beside a branch that sees controls, for the same clips
                dropped = adaptor.prefix(
                    lm, {}, row_limit=joined.row_limit, force_active=True, batch=joined.n_clips, n_rows=n_rows
                )
                assert dropped is not None  # force_active computes one whatever was dropped
                made[names] = replace(dropped, rows=joined.rows)
        prefix = made[names]
        if prefix is None:
            continue
        rows = torch.arange(batch, device=prefix.k[0].device) if prefix.rows is None else prefix.rows
        placed = replace(prefix, rows=rows + block * batch)
        joined = placed if joined is None else joined.joined(placed)
    return joined


def seen_at_one_scale(everything: frozenset[str], null_branch: NullBranch, n_null: int = 1) -> list[Seen]:
    """What branches see where text and controls have one scale: the first everything, the others as configured."""
    of_null: dict[NullBranch, Seen] = {"none": None, "full": everything, "null_vectors": frozenset()}
    return [everything, *[of_null[null_branch]] * n_null]


def guided_prefix(
    adaptor: Adaptor,
    lm: FrozenLM,
    inputs: Mapping[str, TrackInput],
    *,
    row_limit: int | None = None,
    null_branch: NullBranch | None = None,
) -> Prefix | None:
    """Prefix of the doubled batch [B conditional; B null], or None where nothing is active.

    `null_branch` overrides the config's.
    """
    seen = seen_at_one_scale(frozenset(inputs), null_branch or adaptor.config.null_branch)
    return branches_prefix(adaptor, lm, inputs, seen, row_limit=row_limit)
