"""The prefix of a batch with several branches of guidance: each branch sees some of the controls.

Branch j of n is a block of B rows of the decoder's batch and sees the controls `seen[j]`: a set of names,
whose other controls are dropped, or None for a branch that has no prefix at all. What the null branch sees is
the config's `null_branch`: `none` gives it no prefix, so guidance acts on text and controls together; `full`
gives it the same prefix, so guidance acts on text alone (released code); `null_vectors` the prefix of dropped
controls, gate open.
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
    batch = next(iter(inputs.values())).values.shape[0]
    made: dict[frozenset[str], Prefix | None] = {}
    joined: Prefix | None = None
    for block, names in enumerate(seen):
        if not names:
            continue
        if names not in made:
            some = {name: track for name, track in inputs.items() if name in names}
            made[names] = adaptor.prefix(lm, some, for_generation=True, row_limit=row_limit) if some else None
        prefix = made[names]
        if prefix is None:
            continue
        rows = torch.arange(batch, device=prefix.k[0].device) if prefix.rows is None else prefix.rows
        placed = replace(prefix, rows=rows + block * batch)
        joined = placed if joined is None else joined.joined(placed)
    return joined


def guided_prefix(
    adaptor: Adaptor,
    lm: FrozenLM,
    inputs: Mapping[str, TrackInput],
    *,
    row_limit: int | None = None,
    null_branch: NullBranch | None = None,
    n_null: int = 1,
) -> Prefix | None:
    """Prefix of the doubled batch [B conditional; B null], or None where nothing is active.

    `null_branch` overrides the config's. `n_null`: blocks of a null branch, more than one beside a negative prompt.
    """
    everything = frozenset(inputs)
    branch = null_branch or adaptor.config.null_branch
    null: Seen = everything if branch == "full" else None
    seen: list[Seen] = [everything, *[null] * n_null]
    prefix = branches_prefix(adaptor, lm, inputs, seen, row_limit=row_limit)
    if prefix is None or branch != "null_vectors":
        return prefix
    assert prefix.rows is not None  # blocks are placed by rows
    batch, n_rows = next(iter(inputs.values())).values.shape[:2]
    dropped = adaptor.prefix(
        lm, {}, row_limit=prefix.row_limit, force_active=True, batch=prefix.n_clips, n_rows=n_rows
    )
    assert dropped is not None  # force_active computes one whatever was dropped
    joined = prefix
    for block in range(1, 1 + n_null):
        joined = joined.joined(replace(dropped, rows=prefix.rows + block * batch))
    return joined
