"""What this machine has: cores, memory, and the number types that it multiplies fast and right.

The one place that answers these; plugins may ask too.

system.py    cores, memory, the processor: a container's limits count, not what its host has
auto.py      what `auto` stands for: decided once for a command, written down, handed on
probe.py     how that is measured
gpus.py      GPUs by name, for what is computed and not measured
"""

from expotion.machine.auto import (
    AUTO,
    SETTINGS,
    Choice,
    Chosen,
    Use,
    adopt,
    auto_precision,
    best_of,
    choice,
    chosen,
    computes_bfloat16,
    decide,
    forget,
    kept,
    multiplies_bfloat16,
    packs,
    products,
    take,
)
from expotion.machine.system import (
    HEAP_GROWTH_BYTES,
    Heap,
    cores,
    free_bytes,
    helpers,
    in_parts,
    peak_bytes,
    processor,
    resident_bytes,
    steady,
    threads,
)

__all__ = [
    "AUTO",
    "HEAP_GROWTH_BYTES",
    "SETTINGS",
    "Choice",
    "Chosen",
    "Heap",
    "Use",
    "adopt",
    "auto_precision",
    "best_of",
    "choice",
    "chosen",
    "computes_bfloat16",
    "cores",
    "decide",
    "forget",
    "free_bytes",
    "helpers",
    "in_parts",
    "kept",
    "multiplies_bfloat16",
    "packs",
    "peak_bytes",
    "processor",
    "products",
    "resident_bytes",
    "steady",
    "take",
    "threads",
]
