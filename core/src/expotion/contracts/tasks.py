"""Tasks: recipes of another kind, whose stages are a plugin's and whose run folder and training loop are core's.

A recipe file that says `task: NAME` is run by that task's stages, not by those of music that follows a video.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from expotion.contracts.base import Options
from expotion.contracts.clips import Clip
from expotion.contracts.metrics import Scored
from expotion.errors import Problem

if TYPE_CHECKING:
    from torch import Tensor, dtype, nn


class Workers(Protocol):
    """Who else computes a step: `rank` of `size`."""

    rank: int
    size: int

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 tensors by their sums over all workers, in place. Every worker must call it."""
        ...


class Objective(Protocol):
    """What the training loop minimises: all that it knows of what is learned.

    Everything random is drawn in `draw`, from the seed and the step alone: then a resumed run is the uninterrupted
    one, and several workers, which make the same draw and compute their parts of it, are one with a larger batch.
    """

    @property
    def trained(self) -> nn.Module:
        """All parameters of it that ask for gradients are trained, in float32; checkpoints hold its state."""
        ...

    @property
    def computed_in(self) -> dtype:
        """What the model computes in: the loss is scaled where that is float16."""
        ...

    def rate_groups(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """Name of a learning rate of the recipe's `train` -> the parameters that have it."""
        ...

    def draw(self, step: int) -> Any:
        """What is random in a step, for all its parts."""
        ...

    def part_loss(self, draw: Any, number: int) -> Tensor:
        """Loss of part `number` of a step, a scalar; the parts of a step add up to its mean."""
        ...

    def validate(self, world: Workers) -> Mapping[str, float]:
        """`validation_loss` and what else is measured; nothing where there is nothing to validate with."""
        ...

    def record(self) -> Mapping[str, Any]:
        """What else stands in a step's record."""
        ...


class TaskRun(Protocol):
    """What core gives to the stages of a task."""

    folder: Path
    seed: int
    settings: Any
    """The recipe's `train`."""

    def clips(self, split: Literal["train", "validation", "test"]) -> Sequence[Clip]:
        """Clips of the recipe's `data`. Raises RecipeError where it names none."""
        ...

    def progress(self, stage: str, done: int, total: int, what: str = "") -> None:
        """Say how far a stage is."""
        ...

    def note(self, text: str) -> None:
        """Say something that stands in the report, too."""
        ...

    def train(self, objective: Objective) -> nn.Module:
        """Train to the end, or go on from the newest checkpoint; what is trained, as it is at the end.

        Steps are logged to `training.jsonl`, checkpoints are kept in the run folder. Raises ExpotionError.
        """
        ...

    def score(self, rows: Mapping[str, Sequence[Scored]]) -> Mapping[str, Mapping[str, Any]]:
        """Row -> metric of the recipe -> {mean, ci_low, ci_high, n}, which the report shows, too."""
        ...


@dataclass(frozen=True)
class Stage:
    """A stage: its name, what it does, and the keys of the task's options that its result depends on.

    It is skipped where it was finished with the same values of these, of `train` and of the stages before it; one
    that `scores`, of the metrics, too.
    """

    name: str
    run: Callable[[TaskRun], None]
    depends_on: Sequence[str] = ()
    scores: bool = False


@dataclass(frozen=True)
class TaskCost:
    """What training takes at the real sizes, counted without computing it.

    Parameters that are frozen (16 bits each) and trained; bytes that the backward pass of one clip keeps;
    operations of one clip, forward and backward.
    """

    n_frozen: int
    n_trained: int
    clip_bytes: int
    clip_flop: float


@dataclass(frozen=True)
class TaskSpec:
    """A kind of recipe. `options` are the keys under `options`; `stages(options)` gives what is run, in order.

    `metrics` are those of a recipe that names none. `missing(options)` says what a run needs and does not find;
    `cost(options)` is what `recipe rehearse` tells of.
    """

    name: str
    description: str
    stages: Callable[[Any], Sequence[Stage]]
    options: type[Options] = Options
    metrics: Sequence[str] = ()
    missing: Callable[[Any], Sequence[Problem]] = lambda options: ()
    cost: Callable[[Any], TaskCost] | None = None
