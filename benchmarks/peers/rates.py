"""How fast a linear layer on two rows can read its weights here: the ceiling for decoding."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from expotion.contracts import Mode
from expotion.musicgen.engine.weights import Pack
from expotion.musicgen.engine.weights import pack as plain_pack

SHAPES = ((4096, 1024), (1024, 4096))


def _rate(calls: list[Callable[[Tensor], Tensor]], width: int, n_bytes: int, like: Tensor) -> float:
    x = torch.randn(2, width).to(like)
    best = float("inf")
    for _ in range(4):
        _wait(like)
        started = time.perf_counter()
        for call in calls:
            call(x)
        _wait(like)
        best = min(best, time.perf_counter() - started)
    return n_bytes / best


def _wait(like: Tensor) -> None:
    if like.is_cuda:
        torch.cuda.synchronize()


def _tiles(mode: Mode, device: str) -> Pack | None:
    """The compiled step's matrices, where it can run."""
    try:
        from expotion_fast import can_run  # noqa: PLC0415
        from expotion_fast.linear import FusedLinear  # noqa: PLC0415
    except ImportError:
        return None
    return FusedLinear if can_run(mode, torch.device(device)) else None


@torch.inference_mode()
def linear_rates(modes: list[Mode], total_bytes: int, device: str) -> dict[str, float]:
    """Bytes of weights per second by precision, over `total_bytes` of them (more than the last-level cache).

    `fp32` and so on are torch's own linear; `packed_bf16` and so on oneDNN's layouts, `tiles_bf16` and so on those
    of the compiled step.
    """
    rates: dict[str, float] = {}
    for mode in modes:
        for kind, pack in (("plain", None), ("packed", plain_pack), ("tiles", _tiles(mode, device))):
            if (pack is None) != (kind == "plain") or (mode == "int8" and kind == "plain"):
                continue
            if kind == "packed" and (mode == "fp32" or device != "cpu"):
                continue  # fp32 is read as it is, so there is no packed kind of it
            name = mode if kind == "plain" else f"{kind}_{mode}"
            for n, k in SHAPES:
                weight = torch.randn(n, k, device=device) * 0.02
                if pack is not None:
                    one = pack(weight, mode)
                    copies = [one, *(pack(weight, mode) for _ in range(total_bytes // one.n_bytes))]
                    calls: list[Callable[[Tensor], Tensor]] = list(copies)
                    n_bytes, like = sum(copy.n_bytes for copy in copies), weight
                else:
                    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[mode]
                    like = weight.to(dtype)
                    count = total_bytes // (like.numel() * like.element_size()) + 1
                    tensors = [like.clone() for _ in range(count)]
                    calls = [lambda x, w=w: functional.linear(x, w) for w in tensors]  # type: ignore[misc]
                    n_bytes = count * like.numel() * like.element_size()
                rates[name] = max(rates.get(name, 0.0), _rate(calls, k, n_bytes, like))
    return rates
