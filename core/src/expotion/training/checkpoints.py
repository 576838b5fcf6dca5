"""Checkpoints of a training run: whole or absent, and the one before is kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from expotion.errors import OutputError, Problem
from expotion.files import WRITE_FIX

KEPT = 2
_DIGEST = "sha256.json"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Write `step_NNNNNN/` with tensors and JSON state; atomic by rename, checksummed; older ones are pruned.

    `step` is the number of steps done. Raises OutputError (a full disk) and then leaves nothing behind.
    """
    target = folder / f"step_{step:06d}"
    draft = folder / f".draft_{step:06d}_{os.getpid()}"
    try:
        for killed in folder.glob(".draft_*"):  # what a killed process left
            shutil.rmtree(killed, ignore_errors=True)
        draft.mkdir(parents=True)
        # Not save_file: its error on a full disk is no OSError.
        (draft / "tensors.safetensors").write_bytes(
            to_bytes({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
        )
        (draft / "state.json").write_text(json.dumps({"step": step, **state}, indent=1), encoding="utf-8")
        digests = {name: _digest(draft / name) for name in ("tensors.safetensors", "state.json")}
        (draft / _DIGEST).write_text(json.dumps(digests), encoding="utf-8")
        for name in [*digests, _DIGEST]:
            with (draft / name).open("rb+") as file:
                os.fsync(file.fileno())
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
    except OSError as error:
        raise OutputError(Problem(str(target), "could not be written", str(error), WRITE_FIX)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for old in sorted(folder.glob("step_*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def clear(folder: Path) -> None:
    """Remove every checkpoint: those of another run would outlive the new ones, whose steps are lower."""
    for old in folder.glob("step_*"):
        shutil.rmtree(old, ignore_errors=True)


def load_latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
    """(tensors, state, notes) of the newest checkpoint that is intact, or None.

    Each damaged checkpoint that was passed over is named in the notes.
    """
    notes: list[str] = []
    for path in sorted(folder.glob("step_*"), reverse=True):
        try:
            digests = json.loads((path / _DIGEST).read_text(encoding="utf-8"))
            damaged = [name for name, digest in digests.items() if _digest(path / name) != digest]
            if damaged:
                raise ValueError(f"checksum of {', '.join(damaged)} does not match")
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            return load_file(path / "tensors.safetensors"), state, notes
        except (OSError, ValueError) as error:
            notes.append(f"checkpoint {path.name} is damaged ({error}); trying the one before")
    return None


def flatten_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """AdamW's moments and step counts by parameter name, in the order of the optimiser's parameters."""
    flat: dict[str, Tensor] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, parameter in zip(names, parameters, strict=True):
        for key, value in optimizer.state.get(parameter, {}).items():
            flat[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    """The reverse of `flatten_optimizer`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, parameter in zip(names, parameters, strict=True):
        state = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            stored = tensors.get(f"optimizer.{key}.{name}")
            if stored is not None:
                state[key] = stored.clone()
        if state:
            optimizer.state[parameter] = state
