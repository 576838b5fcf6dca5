"""What the compiler compiles for: the processor that numba was told, else the one at hand."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def features() -> frozenset[str]:
    """Names of the instruction sets of the target, as LLVM calls them: "avx2", "avx512vnni", "neon"."""
    from numba.core import codegen, config

    numba_config: Any = config
    host: Any = codegen.get_host_cpu_features
    asked: str | None = numba_config.CPU_FEATURES  # NUMBA_CPU_FEATURES
    told: str = host() if asked is None else asked
    return frozenset(one.removeprefix("+") for one in told.split(",") if one.startswith("+"))


def multiplies_bytes() -> bool:
    """Whether the target sums products of bytes in vectors of 64 (AVX-512 VNNI), as the int8 product does."""
    return "avx512vnni" in features()
