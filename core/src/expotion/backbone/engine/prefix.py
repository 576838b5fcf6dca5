"""The gated prefix as a step reads it: g S' = SDPA(q + q^p, k^p, g v^p), the gate inside the values.

Keys, values and queries are laid out once per clip in the type of attention. Where nothing is active at a step
the whole term is skipped, which leaves the model's own arithmetic untouched.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from expotion.backbone.decoder import GatedPrefix, prefix_mask
from expotion.backbone.engine.cache import Cursor, Slice
from expotion.backbone.engine.text import Rows, add_rows, row_selection


class PrefixState:
    """q, k, v per adapted layer [Bp, h, R, c]; v already times its gate."""

    def __init__(self, prefix: GatedPrefix, dtype: torch.dtype, device: torch.device) -> None:
        def held(tensor: Tensor) -> Tensor:
            return tensor.detach().to(device, dtype).contiguous()

        self.first_layer = prefix.first_layer
        self.row_limit = prefix.row_limit
        self.rows: Rows = row_selection(None if prefix.rows is None else prefix.rows.to(device))
        self.q = [held(q) for q in prefix.q]
        self.k = [held(k) for k in prefix.k]
        gated = (
            v.detach().float() * gate.detach().float() for v, gate in zip(prefix.v, prefix.gates, strict=True)
        )
        self.v = [held(v) for v in gated]
        mask = prefix_mask(prefix)
        self.mask = None if mask is None else mask.to(device)
        self.open: Tensor | None = None
        self._silent: list[bool] = []
        if prefix.active is not None:
            self.open = prefix.active.to(device, dtype)[:, None, :, None]  # (Bp, 1, R, 1)
            self._silent = (~prefix.active.any(dim=0)).tolist()

    def tensors(self) -> list[Tensor]:
        """What a step reads."""
        return [*self.q, *self.k, *self.v, *(part for part in (self.open, self.mask) if part is not None)]

    def is_silent(self, cursor: Slice) -> bool:
        """Whether no clip has anything active at the positions at hand."""
        last = self.row_limit - 1
        return bool(self._silent) and all(self._silent[min(p, last)] for p in range(cursor.start, cursor.end))

    def add_to(self, attended: Tensor, q: Tensor, layer: int, cursor: Cursor) -> None:
        """attended [B, h, S, c] += the gated term of layer `layer`, in place; q [B, h, S, c]."""
        index = layer - self.first_layer
        if index < 0:
            return
        own = q if self.rows is None else q[self.rows]
        own = own + cursor.prefix_rows(self.q[index], self.row_limit)
        term = functional.scaled_dot_product_attention(own, self.k[index], self.v[index], attn_mask=self.mask)
        if self.open is not None:
            term = term * cursor.prefix_rows(self.open, self.row_limit)
        add_rows(attended, self.rows, term)
