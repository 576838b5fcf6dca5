"""Weight matrices as a step reads them. A step on two rows costs what reading the weights costs.

fp32    torch's own linear: the matrix product reads float32 at the full rate of the memory bus
bf16    on a CPU, the matrix laid out once in the blocks that oneDNN reads; elsewhere plain
fp16    likewise
int8    weights only (`Int8Linear`)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion import machine
from expotion.contracts import Mode
from expotion.errors import ExpotionError, Problem
from expotion.musicgen.layer import EPS

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ROWS_HINT = 2
"""Rows that the packed layouts are chosen for: one clip and its null text."""


class Linear(Protocol):
    """x [..., k] to x W^T [..., n]. `packed` is W as it lies in memory."""

    packed: Tensor

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
        self.packed = weight
        self.n_bytes = weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """In the weight's type."""
        return functional.linear(x.to(self.packed.dtype), self.packed)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """In place."""
        if total.dtype == x.dtype == self.packed.dtype and total.is_contiguous():
            flat = total.view(-1, total.shape[-1])
            flat.addmm_(x.reshape(-1, x.shape[-1]), self.packed.t())
        else:
            total.add_(self(x))


class PrepackedLinear:
    """A bfloat16 or float16 weight in oneDNN's blocked layout."""

    def __init__(self, weight: Tensor) -> None:
        self.dtype = weight.dtype
        self.n_bytes = weight.nbytes
        self.packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_HINT)

    def __call__(self, x: Tensor, then: str = "none") -> Tensor:
        """In the weight's type; `then`: none, or gelu (the exact one)."""
        result = torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.packed, None, then, [], "none")
        return cast(Tensor, result)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """In place."""
        total.add_(self(x))


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
        return Int8Linear(weight)
    weight = weight.detach().to(DTYPES[mode])
    if weight.device.type == "cpu" and machine.packs(weight.dtype):
        return PrepackedLinear(weight)
    return PlainLinear(weight)


def pack_normed(norm: Norm, linear: Linear, *, gelu: bool = False) -> Callable[[Tensor], Tensor]:
    """x [..., d] to W LN(x), or GELU of it, in as few operations as the matrix allows."""
    if isinstance(linear, PrepackedLinear):
        packed, then = linear, "gelu" if gelu else "none"
        return lambda x: packed(norm(x), then)
    normed = NormedInt8(norm, linear) if isinstance(linear, Int8Linear) else lambda x: linear(norm(x))
    return (lambda x: functional.gelu(normed(x))) if gelu else normed


# Weight-only int8: the weights have 8 bits, what they are multiplied with keeps 16.
#
# Per output row n of W: s_n = max|W_n| / 127 and Q_n = round(W_n / s_n), made from the float weights on loading.
# An input x with |x| <= a becomes X = round(32512 x / a), two bytes X = 256 H + L, and
#
#     W x = s a / 32512 (256 Q H + Q L)
#
# H and L are two rows of one integer product: Q is read once and sums are exact, so the error is that of Q; the
# input's is at most a / 65024. After a LayerNorm, a = max_i(sqrt(d) |w_i| + |b_i|) holds whatever the input, so the
# scale is merged into the norm's own weights; elsewhere a = max|x| of each row.

STEPS = 32512.0
"""127 * 256: steps of the input on each side of zero."""
OFFSET = 128 * 256 + 128 + 0.5
"""Makes X + OFFSET a positive number whose two bytes, less 128 each, are H and L; the half rounds to nearest."""


class Int8Linear:
    """An int8 weight with a scale per output row, made from a float one; float32 out. CPU with oneDNN.

    It keeps room for its input, so one thread at a time can use it.
    """

    def __init__(self, weight: Tensor) -> None:
        weight = weight.detach().float()
        self.width = weight.shape[1]
        scale = weight.abs().amax(dim=1).clamp_(min=1e-20) / 127.0
        whole = (weight / scale[:, None]).round_().to(torch.int8)
        self.n_bytes = whole.numel()
        self.packed: Tensor = torch.ops.onednn.qlinear_prepack(whole, [2 * ROWS_HINT, self.width])
        self.scale = scale / STEPS
        self._zero = torch.zeros(len(scale), dtype=torch.int64)
        self._offset = torch.tensor(OFFSET)
        self._room: tuple[Tensor, Tensor] | None = None

    def product(self, steps: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """s Q L and s Q H, float32 [m, n] each, of X + OFFSET as floats [m, k]."""
        n_rows = steps.shape[0]
        if self._room is None or self._room[0].shape[0] != n_rows:
            with torch.inference_mode(False):  # usable in that mode and outside
                whole = torch.empty(n_rows, self.width, dtype=torch.int32)
            by_byte = whole.view(torch.uint8).view(n_rows, self.width, 4)
            self._room = whole, by_byte[:, :, :2].transpose(1, 2)  # (m, 2, k): low bytes, high bytes
        whole, halves = self._room
        whole.copy_(steps)
        low, high = torch.ops.onednn.qlinear_pointwise(
            halves, 1.0, 128, self.packed, scale, self._zero, None, 1.0, 0, torch.float32, "none", [], ""
        ).unbind(1)
        return low, high

    def _scaled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """W x / a and a [m, 1]; each row has an a of its own, so rows do not depend on each other."""
        rows = x.reshape(-1, self.width).float()
        largest = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-20)
        low, high = self.product(torch.add(self._offset, rows / largest, alpha=STEPS), self.scale)
        return torch.add(low, high, alpha=256.0), largest

    def __call__(self, x: Tensor) -> Tensor:
        """In float32."""
        product, largest = self._scaled(x)
        return product.mul_(largest).view(*x.shape[:-1], -1)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """In place."""
        product, largest = self._scaled(x)
        total.addcmul_(product.view(total.shape), largest.view(*total.shape[:-1], 1))


class NormedInt8:
    """W LN(x) with the input's scale inside the norm."""

    def __init__(self, norm: Norm, linear: Int8Linear) -> None:
        bound = float((norm.weight.abs() * linear.width**0.5 + norm.bias.abs()).max())
        self.linear = linear
        self.scale = linear.scale * bound
        self.weight = norm.weight * (STEPS / bound)
        self.bias = norm.bias * (STEPS / bound) + OFFSET
        self.shape = norm.shape

    def __call__(self, x: Tensor) -> Tensor:
        """[..., d] to [..., n], float32."""
        steps = functional.layer_norm(x.float(), self.shape, self.weight, self.bias, EPS)
        low, high = self.linear.product(steps.view(-1, self.linear.width), self.scale)
        return torch.add(low, high, alpha=256.0).view(*x.shape[:-1], -1)


def int8_fits(device: torch.device) -> bool:
    """Whether this machine has what `Int8Linear` calls, tried on a small product."""
    if device.type != "cpu":
        return False
    try:
        weight = torch.arange(-32.0, 32.0).view(4, 16)
        x = torch.linspace(-1.0, 1.0, 32).view(2, 16)
        got, wanted = Int8Linear(weight)(x), x @ weight.T
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    return bool((got - wanted).norm() < 0.02 * wanted.norm())


def check_mode(mode: Mode, device: torch.device) -> None:
    """ExpotionError where this machine cannot run the mode."""
    if mode == "int8" and not int8_fits(device):
        wanted = "a CPU on which torch multiplies int8 through oneDNN"
        got = "one without" if device.type == "cpu" else str(device)
        raise ExpotionError(Problem("precision int8", wanted, got, "use bf16 or fp32"))
