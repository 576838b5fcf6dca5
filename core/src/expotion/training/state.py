"""A training run as tensors and plain numbers: what a checkpoint holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from expotion.training.loss_scale import LossScale

if TYPE_CHECKING:
    from expotion.training.loop import TrainingRun

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class RunState:
    """Tensors by name and a JSON object. `of` and `into` are each other's reverse, bit for bit."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, numbers), as a keeper wants them."""
        return self.tensors, self.numbers

    @classmethod
    def of(cls, run: TrainingRun) -> RunState:
        """Everything that the next step depends on."""
        tensors = {f"adaptor.{name}": tensor for name, tensor in run.adaptor.state_dict().items()}
        for name, parameter in run.adaptor.named_parameters():
            for key, value in run.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        for prefix, copies in (("average", run.average), ("best", run.best)):
            tensors |= {f"{prefix}.{name}": tensor for name, tensor in (copies or {}).items()}
        numbers: dict[str, Any] = {"trace": run.trace, "records": run.records}
        if run.best is not None:
            numbers["best"] = {"loss": run.best_loss, "step": run.best_step, "stopped": run.stopped_early}
        if run.loss_scale is not None:
            numbers["loss_scale"] = asdict(run.loss_scale)
        return cls({name: tensor.detach().cpu() for name, tensor in tensors.items()}, numbers)

    def into(self, run: TrainingRun) -> None:
        """Put a run where this state was taken."""
        device = run.adaptor.gates.device
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        run.adaptor.load_state_dict(_below("adaptor.", tensors))
        for name, parameter in run.adaptor.named_parameters():
            state = {
                key: tensors[f"optimizer.{key}.{name}"].clone()
                for key in _MOMENTS
                if f"optimizer.{key}.{name}" in tensors
            }
            if state:
                state["step"] = state["step"].cpu()  # where AdamW keeps it
                run.optimizer.state[parameter] = state
        if run.average is not None:
            run.average = _below("average.", tensors)
        best = self.numbers.get("best")
        if best is not None:
            run.best = _below("best.", tensors)
            run.best_loss, run.best_step = float(best["loss"]), int(best["step"])
            run.stopped_early = bool(best["stopped"])
        if run.loss_scale is not None and "loss_scale" in self.numbers:
            run.loss_scale = LossScale(**self.numbers["loss_scale"])
        run.step_number = int(self.numbers["step"])
        run.records = list(self.numbers["records"])


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name[len(prefix) :]: tensor.clone() for name, tensor in tensors.items() if name.startswith(prefix)
    }
