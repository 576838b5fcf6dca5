"""The numbers of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from expotion.training.augment import ContextSwap


@dataclass(frozen=True)
class EarlyStopping:
    """End when the validation loss has not fallen by `min_improvement` (nats) for `patience_steps` steps."""

    patience_steps: int
    min_improvement: float = 0.0


@dataclass(frozen=True)
class TrainingSettings:
    """Numbers of the loop. Rates per step; `learning_rate` by parameter group (project, gates, other).

    A step sees batch_size * n_parts clips: `n_parts` batches, one after the other on one worker (gradients are
    added up) or shared out over several. The result is the same to float tolerance.
    """

    n_steps: int
    batch_size: int
    learning_rate: dict[str, float]
    warmup_steps: int
    weight_decay: float
    betas: tuple[float, float]
    clip_norm: float | None
    swap: ContextSwap
    condition_dropout: dict[str, float]
    text_dropout: float
    seed: int
    n_parts: int = 1
    final_ratio: float = 0.0
    constant: bool = False
    ema: float | None = None
    early_stopping: EarlyStopping | None = None
    recompute_activations: bool = False
    checkpoint_every_steps: int = 50
    validate_every_steps: int = 20

    @property
    def clips_per_step(self) -> int:
        """Clips of one optimisation step, over all parts."""
        return self.batch_size * self.n_parts
