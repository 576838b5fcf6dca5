"""Weight matrices as a step reads them. A step on two rows costs what reading the weights costs.

fp32    torch's own linear: the matrix product reads float32 at the full rate of the memory bus
bf16    on a CPU, the matrix laid out once in the blocks that oneDNN reads; elsewhere plain
fp16    likewise
int8    weights only: expotion.backbone.engine.int8
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Mode = Literal["fp32", "bf16", "fp16", "int8"]
DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
ROWS_HINT = 2
"""Rows that the packed layouts are chosen for: one clip and its null text."""
EPS = 1e-5


class Linear(Protocol):
    """x [..., k] to x W^T [..., n]."""

    @property
    def n_bytes(self) -> int:
        """Bytes of weights that one call reads."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """In float32 or in the weights' type."""
        ...

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """total [..., n] += x W^T, in place."""
        ...


class Norm:
    """LayerNorm computed in float32: [..., d] of any type to float32."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.weight = norm.weight.detach().float()
        self.bias = norm.bias.detach().float()
        self.shape = (len(self.weight),)

    def __call__(self, x: Tensor) -> Tensor:
        """Float32."""
        return functional.layer_norm(x.float(), self.shape, self.weight, self.bias, EPS)


class PlainLinear:
    """torch's linear; the weight is shared with the model, not copied."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    @property
    def n_bytes(self) -> int:
        """Bytes of the weight."""
        return self.weight.numel() * self.weight.element_size()

    def __call__(self, x: Tensor) -> Tensor:
        """In the weight's type."""
        return functional.linear(x.to(self.weight.dtype), self.weight)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """In place."""
        if total.dtype == x.dtype == self.weight.dtype and total.is_contiguous():
            flat = total.view(-1, total.shape[-1])
            flat.addmm_(x.reshape(-1, x.shape[-1]), self.weight.t())
        else:
            total.add_(self(x))


class PrepackedLinear:
    """A bfloat16 or float16 weight in oneDNN's blocked layout."""

    def __init__(self, weight: Tensor) -> None:
        self.dtype = weight.dtype
        self.n_bytes = weight.numel() * weight.element_size()
        self.packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_HINT)

    def __call__(self, x: Tensor, then: str = "none") -> Tensor:
        """In the weight's type; `then`: none, or gelu (the exact one)."""
        result = torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.packed, None, then, [], "none")
        return cast(Tensor, result)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """In place."""
        total.add_(self(x))


def _prepacks(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies this type here."""
    if not torch._C._has_mkldnn:
        return False
    operators: Any = torch.ops.mkldnn
    if dtype == torch.bfloat16:
        return bool(operators._is_mkldnn_bf16_supported())
    return dtype == torch.float16 and bool(operators._is_mkldnn_fp16_supported())


class Pack(Protocol):
    """How an engine lays out a weight [n, k]; `head_in` (`head_out`): its inputs (outputs) are heads this wide."""

    def __call__(
        self, weight: Tensor, mode: Mode, *, head_in: int | None = None, head_out: int | None = None
    ) -> Linear:
        """On the weight's device."""
        ...


def pack(weight: Tensor, mode: Mode, *, head_in: int | None = None, head_out: int | None = None) -> Linear:
    """The layouts that torch's own operations read; they have no use for heads."""
    if mode == "int8":
        from expotion.backbone.engine.int8 import Int8Linear  # noqa: PLC0415 - it builds on this file

        return Int8Linear(weight)
    weight = weight.detach().to(DTYPES[mode])
    if weight.device.type == "cpu" and _prepacks(weight.dtype):
        return PrepackedLinear(weight)
    return PlainLinear(weight)


def pack_normed(norm: Norm, linear: Linear, *, gelu: bool = False) -> Callable[[Tensor], Tensor]:
    """x [..., d] to W LN(x), or GELU of it, in as few operations as the matrix allows."""
    from expotion.backbone.engine.int8 import Int8Linear, NormedInt8  # noqa: PLC0415

    if isinstance(linear, PrepackedLinear):
        packed, then = linear, "gelu" if gelu else "none"
        return lambda x: packed(norm(x), then)
    normed = NormedInt8(norm, linear) if isinstance(linear, Int8Linear) else lambda x: linear(norm(x))
    return (lambda x: functional.gelu(normed(x))) if gelu else normed
