"""What core's training announces, through the same hook as any plugin: TensorBoard as a callback."""

from __future__ import annotations

from expotion.contracts import CallbackSpec, TrainingCallback, hookimpl


def _tensorboard() -> TrainingCallback:
    from expotion.training.tensorboard import TensorBoard  # noqa: PLC0415 - only where a recipe asks for it

    return TensorBoard()


@hookimpl
def expotion_training_callbacks() -> list[CallbackSpec]:
    """Callbacks that core brings along."""
    return [
        CallbackSpec("tensorboard", "curves for TensorBoard, in the run folder's `tensorboard`", _tensorboard)
    ]
