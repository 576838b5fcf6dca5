"""GPUs by name, and what a number of operations and bytes takes on one: computed, not measured.

    seconds = max(FLOP / (peak x fraction), bytes / (bandwidth x fraction))

The fraction is what is assumed to be left of the makers' dense bfloat16 peak (without sparsity) and of the memory's
bandwidth in a decoder of this kind. `read_gpus` takes a file of more, or of other numbers:

    "RTX 6000 Ada": {tflops: 364, gb_s: 960, memory_gb: 48, fraction: 0.35}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from expotion.errors import ExpotionError, Problem, first_line


@dataclass(frozen=True)
class Gpu:
    """A GPU: peak in TFLOP/s of bfloat16, bandwidth in GB/s, memory in GB, the fraction of both that is assumed."""

    name: str
    tflops: float
    gb_s: float
    memory_gb: float
    fraction: float = 0.35

    def seconds(self, flops: float, n_bytes: float = 0.0) -> float:
        """Seconds for as many operations and bytes read, whichever takes longer."""
        return max(flops / (self.tflops * 1e12), n_bytes / (self.gb_s * 1e9)) / self.fraction


GPUS = (
    Gpu("RTX 4090", 165, 1008, 24),
    Gpu("L40S", 362, 864, 48),
    Gpu("A100 80GB", 312, 2039, 80),
    Gpu("H100", 989, 3350, 80),
    Gpu("H200", 989, 4800, 141),
)
"""The makers' numbers for the SXM form where there are several."""
NAMED = GPUS[2]
"""The one that an estimate is for where nothing else is said."""
_FIELDS = ("tflops", "gb_s", "memory_gb", "fraction")


def read_gpus(path: Path) -> tuple[Gpu, ...]:
    """The table with a file's GPUs in it; one of a known name replaces it. Raises ExpotionError."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExpotionError(Problem(str(path), "a YAML file of GPUs", first_line(error))) from None
    table = {gpu.name: gpu for gpu in GPUS}
    wanted = "NAME: {tflops: 364, gb_s: 960, memory_gb: 48, fraction: 0.35}, the fraction optional"
    if not isinstance(content, dict):
        raise ExpotionError(Problem(str(path), wanted, type(content).__name__))
    for name, given in content.items():
        numbers = given if isinstance(given, dict) else {}
        good = all(isinstance(value, (int, float)) and value > 0 for value in numbers.values())
        if not good or not {*_FIELDS[:3]} <= {*numbers} <= {*_FIELDS} or numbers.get("fraction", 0.5) > 1:
            raise ExpotionError(Problem(f"{path} {name}", wanted, str(given)))
        table[str(name)] = Gpu(str(name), **numbers)
    return tuple(table.values())
