"""Sinusoidal positions of MusicGen: [cos(p w_j) for all j, sin(p w_j) for all j], cosines first.

w_j = 10000^(-j / (m - 1)) for j = 0..m-1 with m = d / 2: the denominator is m - 1, not m.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoid(start: int, n: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows start..start+n-1 of the table: [n, width] in `dtype`, computed in float32.

    For float16 the exponents j / (m - 1) are rounded to half precision first, as audiocraft does with half
    weights; its table therefore differs slightly from the float32 one.
    """
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32) / max(half - 1, 1)
    if dtype == torch.float16:
        exponent = exponent.half().float()
    position = torch.arange(start, start + n, dtype=torch.float32)
    phase = position[:, None] / 10000.0 ** exponent[None, :]  # (n, d/2)
    return torch.cat([phase.cos(), phase.sin()], dim=1).to(dtype)
