"""How fast and how right this machine computes in each number type: measured, in well under a second.

Three products stand for what is computed here:

square        encoders and training: a square matrix product, and the one of its backward pass two rows      a
decoding step: two rows times more weights than the last cache holds; every type reads as many bytes,
              and its seconds are for the same number of weights
convolution   the codec: a strided convolution

Each type is tried on small numbers first, against float32: one that is wrong there, or many times slower, is not
tried on large ones. Timed tries take turns, so that a load from outside meets all types alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from expotion.contracts import Mode, Probed

TRIES = 3
FASTER = 1.2
"""A type other than float32 is taken only where it is this many times as fast in every try."""
RIGHT = {"square": 0.02, "two rows": 0.02, "convolution": 0.001}
"""Largest error with which a type may be taken. Rounding to bfloat16 alone is 0.002; the codec's sound, whose noise
would be 50 dB below it, is to stay clear of that."""
HOPELESS, HOPELESS_S = 3.0, 1e-3
"""A type that takes this many times as long as float32 on small numbers, and this long, is not tried on large
ones."""
SQUARE, CONVOLVED, WIDTH = 768, 8000, 2048
SMALL_SQUARE, SMALL_CONVOLVED, SMALL_WIDTH = 128, 2000, 1024
LEAST_BYTES, MOST_BYTES = 64 * 2**20, 384 * 2**20
DTYPES: dict[Mode, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Run = Callable[[], object]
Make = Callable[[int, torch.dtype, str], Callable[[], Tensor]]


def products(device: str = "cpu") -> dict[str, dict[Mode, Probed]]:
    """Kind of product -> number type -> what it took, on `cpu` or `cuda`; no `seconds` for what is hopeless."""
    return {
        "square": _probe(_square, SMALL_SQUARE, SQUARE, device),
        "two rows": _two_rows(device),
        "convolution": _probe(_convolution, SMALL_CONVOLVED, CONVOLVED, device),
    }


def error_of(precision: Mode, kind: str, device: str = "cpu") -> float:
    """The error of a type on small numbers, in a few milliseconds. Infinite where it cannot be run."""
    make, size = {"square": (_square, SMALL_SQUARE), "convolution": (_convolution, SMALL_CONVOLVED)}[kind]
    return _errors(make, size, device, [precision])[precision]


def in_turns(
    runs: Mapping[Mode, Run], device: str = "cpu", *, before: Run = lambda: None
) -> dict[Mode, tuple[float, ...]]:
    """Seconds of each run in each try, after one to warm up. Each try does all runs, each after `before`."""
    wait: Run = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    found: dict[Mode, list[float]] = {name: [] for name in runs}
    for attempt in range(TRIES + 1):
        for name, run in runs.items():
            before()
            wait()
            started = time.perf_counter()
            run()
            wait()
            if attempt:
                found[name].append(time.perf_counter() - started)
    return {name: tuple(seconds) for name, seconds in found.items()}


def ratios(probed: Mapping[Mode, Probed], mode: Mode) -> list[float]:
    """How many times as fast as float32 a type was in each try; [] where it was not timed."""
    return [a / b for a, b in zip(probed["fp32"].seconds, probed[mode].seconds, strict=False)]


def judged(probed: Mapping[Mode, Probed], mode: Mode, right: float) -> tuple[bool, str]:
    """Whether a type may be taken in place of float32, and why in a few words."""
    if mode not in probed:
        return False, f"{mode} was not tried"
    error, times = probed[mode].error, ratios(probed, mode)
    if not error <= right:
        return False, f"{mode} is wrong here: its error is {error:.2g}, {right:g} is allowed"
    if not times:
        return False, f"{mode} is many times slower than fp32"
    if min(times) < FASTER:
        return False, f"{mode} is only {min(times):.2f} to {max(times):.2f} times as fast as fp32"
    return True, f"{mode} is {min(times):.2f} to {max(times):.2f} times as fast as fp32, its error {error:.1g}"


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """|got - wanted| / |wanted|."""
    return float((got.float() - wanted).norm() / wanted.norm())


# What is multiplied. Each gives, for a size and a type, a function that returns one tensor.


def _drawn(shape: Sequence[int], device: str, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def _square(n: int, dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    x, w = _drawn((n, n), device, 0).to(dtype), _drawn((n, n), device, 1).to(dtype)
    return lambda: torch.cat([functional.linear(x, w), x @ w])


def _pair(n: int, dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    x, w = _drawn((2, n), device, 0).to(dtype), _drawn((n, n), device, 1).to(dtype)
    return lambda: functional.linear(x, w)


def _convolution(n: int, dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    """As the codec's: with torch 2.14 and AMX it is wrong in bfloat16, where linear layers are right."""
    x, w = _drawn((1, 24, n), device, 0).to(dtype), _drawn((48, 24, 8), device, 1).to(dtype)
    return lambda: functional.conv1d(x, w, stride=4)


def _errors(make: Make, size: int, device: str, modes: Sequence[Mode]) -> dict[Mode, float]:
    wanted = make(size, torch.float32, device)()
    found: dict[Mode, float] = {}
    for mode in modes:
        try:
            found[mode] = relative_error(make(size, DTYPES[mode], device)(), wanted)
        except (RuntimeError, NotImplementedError):  # this build of torch has no such kernel
            found[mode] = float("inf")
    return found


def _hopeful(make: Make, size: int, device: str, errors: Mapping[Mode, float]) -> list[Mode]:
    """Types that work and are not many times slower than float32 on small numbers."""
    runs = {mode: make(size, DTYPES[mode], device) for mode in errors if errors[mode] < 1e9}
    best = {mode: min(seconds) for mode, seconds in in_turns(runs, device).items()}
    return [mode for mode in runs if best[mode] <= max(HOPELESS * best["fp32"], HOPELESS_S)]


@torch.inference_mode()
def _probe(make: Make, small: int, size: int, device: str) -> dict[Mode, Probed]:
    errors = _errors(make, small, device, list(DTYPES))
    hopeful = _hopeful(make, small, device, errors)
    seconds = in_turns({mode: make(size, DTYPES[mode], device) for mode in hopeful}, device)
    return {mode: Probed(seconds.get(mode, ()), error) for mode, error in errors.items()}


@torch.inference_mode()
def _two_rows(device: str) -> dict[Mode, Probed]:
    errors = _errors(_pair, SMALL_WIDTH, device, list(DTYPES))
    memory = weights_beyond_cache(device)

    def run(dtype: torch.dtype) -> Run:
        matrices, x = memory.view(dtype).view(-1, WIDTH, WIDTH), torch.ones(2, WIDTH, dtype=dtype, device=device)

        def multiply() -> None:
            for matrix in matrices:
                functional.linear(x, matrix)

        return multiply

    seconds = in_turns({mode: run(DTYPES[mode]) for mode in _hopeful(_pair, SMALL_WIDTH, device, errors)}, device)
    same = {mode: DTYPES[mode].itemsize / 4 for mode in errors}  # a narrower type has read more weights
    return {m: Probed(tuple(s * same[m] for s in seconds.get(m, ())), error) for m, error in errors.items()}


def weights_beyond_cache(device: str = "cpu") -> Tensor:
    """Bytes of whole matrices, more than the last cache holds, that are plain numbers in every type."""
    n_bytes = min(MOST_BYTES, max(LEAST_BYTES, cache_bytes() * 5 // 4))
    matrix = 4 * WIDTH * WIDTH
    words = -(-n_bytes // matrix) * matrix // 4
    return torch.empty(words, dtype=torch.int32, device=device).fill_(0x3C003C00).view(torch.uint8)


def cache_bytes() -> int:
    """The last-level cache, as the system tells it; 32 MiB where it does not."""
    try:
        return os.sysconf("SC_LEVEL3_CACHE_SIZE") or 32 * 2**20
    except (AttributeError, ValueError, OSError):
        return 32 * 2**20
