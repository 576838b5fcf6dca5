"""Linear layers whose matrices are stored in the order in which oneDNN multiplies them (x86 processors).

A plain linear layer reorders its matrix in every call, and GELU writes the hidden layer a second time; a packed
one does neither. Where this build of PyTorch has no such kernels, `pack` returns None and plain layers are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """A reordered matrix [d_out, d_in], its bias [d_out] or None, and whether exact GELU follows."""

    matrix: Tensor
    bias: Tensor | None
    gelu: bool

    def __call__(self, x: Tensor) -> Tensor:
        """[.., d_in] -> [.., d_out]."""
        after: tuple[str, list[float], str] = ("gelu", [], "none") if self.gelu else ("none", [], "")
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.matrix, self.bias, *after)
        return out


def pack(matrix: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Packed | None:
    """Reorder a matrix for inference, after a trial against the plain layer; None where that is not possible."""
    if matrix.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return None
    try:
        packed = Packed(torch.ops.mkldnn._reorder_linear_weight(matrix.detach()), bias, gelu)
        x = torch.linspace(-1, 1, 3 * matrix.shape[1]).view(1, 3, -1).to(matrix.dtype)
        wanted = F.linear(x, matrix, bias)
        wanted = F.gelu(wanted) if gelu else wanted
        return packed if torch.allclose(packed(x).float(), wanted.float(), rtol=2e-2, atol=2e-2) else None
    except (AttributeError, RuntimeError):
        return None
