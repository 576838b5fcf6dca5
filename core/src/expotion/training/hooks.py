"""What core's training announces, through the same hook as any plugin: TensorBoard, wandb, Trackio."""

from __future__ import annotations

from expotion.contracts import CallbackSpec, TrainingCallback, hookimpl


def _tensorboard() -> TrainingCallback:
    from expotion.training.tensorboard import TensorBoard  # noqa: PLC0415 - only where a recipe asks for it

    return TensorBoard()


def _wandb() -> TrainingCallback:
    from expotion.training.trackers import Tracker  # noqa: PLC0415

    return Tracker("wandb")


def _trackio() -> TrainingCallback:
    from expotion.training.trackers import Tracker  # noqa: PLC0415

    return Tracker("trackio")


@hookimpl
def expotion_training_callbacks() -> list[CallbackSpec]:
    """Callbacks that core brings along."""
    return [
        CallbackSpec(
            "tensorboard", "curves for TensorBoard, in the run folder's `tensorboard`", _tensorboard
        ),
        CallbackSpec("wandb", "curves on Weights & Biases (project expotion); pip install wandb", _wandb),
        CallbackSpec("trackio", "curves in Trackio (project expotion); pip install trackio", _trackio),
    ]
