"""The workers of a training run, as the loop sees them: who I am, and sums over everybody."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from expotion.errors import ExpotionError, Problem
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.layer import DecoderLayer


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


# A frozen backbone spread over the workers, for models that no single device holds.
#
# Each worker keeps 1/n of every layer's weights. A layer is put together (one all-gather) where it is used
# and goes away again when another one is: forward, and once more in the backward pass, where its activations
# are computed again (`recompute_activations`). As the weights are frozen there is no gradient to scatter:
# this is what is left of fully sharded data parallelism (FSDP, ZeRO stage 3) without an optimiser for what is
# sharded.
#
# Every worker must use the layers in the same order, so in a sharded run each one computes as many parts, and
# the prefix of all of its clips, also where nothing is active.

RESIDENT = 2
"""Layers that are whole at a time: the one in use, and the one before, whose work may still be under way."""


class ShardedLayers:
    """The layers of `lm`, spread over torch.distributed's default group; hooks itself into `lm.block`.

    `device` is where the shards live; what is not a layer stays whole and is moved there too.
    """

    def __init__(self, lm: MusicGenLM, world: World, device: torch.device | str = "cpu") -> None:
        self.world, self.device = world, torch.device(device)
        self._layers = [lm.block(index) for index in range(lm.n_layers)]
        self._shapes = [[p.shape for p in layer.parameters()] for layer in self._layers]
        self._shards = [self._shard(layer) for layer in self._layers]
        self._resident: OrderedDict[int, None] = OrderedDict()
        lm.to(self.device)
        lm.on_use = self.gather

    def _shard(self, layer: DecoderLayer) -> Tensor:
        flat = torch.cat([parameter.data.reshape(-1) for parameter in layer.parameters()])
        size = -(-flat.numel() // self.world.size)
        flat = torch.nn.functional.pad(flat, (0, size * self.world.size - flat.numel()))
        for parameter in layer.parameters():
            parameter.data = parameter.data.new_empty(0)
        return flat[self.world.rank * size : (self.world.rank + 1) * size].clone().to(self.device)

    @property
    def shard_bytes(self) -> int:
        """What this worker holds of the layers for good."""
        return sum(shard.numel() * shard.element_size() for shard in self._shards)

    def gather(self, index: int) -> None:
        """Make layer `index` whole. Every worker must call it for the same layers in the same order."""
        if index in self._resident:
            self._resident.move_to_end(index)
            return
        while len(self._resident) >= RESIDENT:
            self._release(self._resident.popitem(last=False)[0])
        shard = self._shards[index]
        whole = shard.new_empty(shard.numel() * self.world.size)
        torch.distributed.all_gather_into_tensor(whole, shard)
        at = 0
        for parameter, shape in zip(self._layers[index].parameters(), self._shapes[index], strict=True):
            parameter.data = whole[at : at + shape.numel()].view(shape)
            at += shape.numel()
        self._resident[index] = None

    def _release(self, index: int) -> None:
        for parameter in self._layers[index].parameters():
            parameter.data = parameter.data.new_empty(0)


def check_sharded(n_parts: int, world: World) -> None:
    """ExpotionError unless every worker gets as many parts of a step."""
    if n_parts % world.size:
        raise ExpotionError(
            Problem(
                "train.shard_backbone",
                f"batches that divide evenly over {world.size} workers",
                f"{n_parts} batches per step",
                "leave out cluster.min_workers, or set train.accumulate to a multiple",
            )
        )
