"""The workers of a training run, as the loop sees them: who I am, and sums over everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class World(Protocol):
    """Rank of this worker, number of workers, and the one collective operation that the loop needs."""

    @property
    def rank(self) -> int:
        """This worker, 0..size-1. Worker 0 writes what is written once."""
        ...

    @property
    def size(self) -> int:
        """Number of workers."""
        ...

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 tensors by their sums over all workers, in place. Every worker must call it."""
        ...


class Alone:
    """One worker, in this process."""

    rank = 0
    size = 1

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """A sum over one."""


class ProcessGroup:
    """The workers of torch.distributed's default group (gloo on processors, nccl on GPUs).

    An adaptor's gradients are a few megabytes, so they travel as one flat tensor per step: what
    DistributedDataParallel would do with a single bucket, without its assumption that every parameter takes
    part in every step (a dropped modality does not).
    """

    def __init__(self) -> None:
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """One all-reduce of everything."""
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        at = 0
        for tensor in tensors:
            tensor.copy_(flat[at : at + tensor.numel()].view_as(tensor))
            at += tensor.numel()


def share(n_parts: int, world: World) -> range:
    """The parts of a step that a worker computes: a contiguous run; all together cover 0..n_parts-1 once."""
    return range(world.rank * n_parts // world.size, (world.rank + 1) * n_parts // world.size)
