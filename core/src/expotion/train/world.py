"""The workers of a training run, as the loop sees them: who I am, and sums over everybody."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from expotion.contracts import Workers


class World:
    """One worker alone, in this process. Worker 0 writes what is written once."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 tensors by their sums over all workers, in place. Every worker must call it."""


class ProcessGroup(World):
    """The workers of torch.distributed's default group (gloo on processors, nccl on GPUs).

    An adaptor's gradients are a few megabytes, so they travel as one flat tensor per step: what
    DistributedDataParallel would do with a single bucket, without its assumption that every parameter takes
    part in every step (a dropped modality does not).
    """

    def __init__(self) -> None:
        super().__init__(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """One all-reduce of everything."""
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))


def share(n_parts: int, world: Workers) -> range:
    """The parts of a step that a worker computes: a contiguous run; all together cover 0..n_parts-1 once."""
    return range(world.rank * n_parts // world.size, (world.rank + 1) * n_parts // world.size)
