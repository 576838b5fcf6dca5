"""The prefix of a doubled batch [B conditional; B null] for classifier-free guidance.

What the null half sees is `null_branch`: `none` gives it no prefix, so guidance acts on text and controls
together; `full` gives it the same prefix, so guidance acts on text alone (released code); `null_vectors` gives
it the prefix of dropped controls with the gate open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import NullBranch
from expotion.adaptor.frozen import FrozenLM
from expotion.adaptor.prefix import Prefix
from expotion.adaptor.project import TrackInput


def guided_prefix(
    adaptor: Adaptor,
    lm: FrozenLM,
    inputs: Mapping[str, TrackInput],
    *,
    row_limit: int | None = None,
    null_branch: NullBranch | None = None,
) -> Prefix | None:
    """Prefix for generation with guidance, or None where nothing is active.

    `null_branch` overrides the config's.
    """
    prefix = adaptor.prefix(lm, inputs, for_generation=True, row_limit=row_limit)
    if prefix is None:
        return None
    batch, n_rows = next(iter(inputs.values())).values.shape[:2]
    rows = torch.arange(batch, device=prefix.k[0].device) if prefix.rows is None else prefix.rows
    branch = null_branch or adaptor.config.null_branch
    if branch == "none":
        return replace(prefix, rows=rows)
    doubled = torch.cat([rows, rows + batch])
    if branch == "full":
        return prefix.joined(prefix, doubled)
    null = adaptor.prefix(
        lm, {}, row_limit=prefix.row_limit, force_active=True, batch=prefix.n_clips, n_rows=n_rows
    )
    assert null is not None  # force_active computes one whatever was dropped
    return prefix.joined(null, doubled)
