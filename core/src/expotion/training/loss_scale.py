"""Dynamic scaling of the loss for half precision, whose gradients would otherwise vanish."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 2.0**24


@dataclass
class LossScale:
    """Factor on the loss before the backward pass; the gradients are divided by it afterwards.

    Halved after a step with infinite gradients, which is left out; doubled after `patience` good ones. Plain
    numbers, so that a checkpoint can hold them and a resumed run goes on exactly. (torch.amp.GradScaler is
    for one optimiser on one device and keeps its state there.)
    """

    value: float = 2.0**16
    patience: int = 200
    good_steps: int = 0

    def update(self, *, finite: bool) -> None:
        """Tell how a step ended."""
        if not finite:
            self.value, self.good_steps = max(1.0, self.value / 2.0), 0
            return
        self.good_steps += 1
        if self.good_steps >= self.patience:
            self.value, self.good_steps = min(LARGEST, self.value * 2.0), 0
