"""The networks: files from MediaPipe's wheel, checked by hash, run by LiteRT on one thread.

One thread, because a network of this size gains little from more and clips are extracted side by side.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import pulled_weights
from expotion.errors import PluginError, Problem, WeightsError
from expotion.weights import sha256
from expotion_person_landmarks import MODELS, WEIGHTS

PULL = f"expotion models pull {WEIGHTS.name}"


def model_folder() -> Path:
    """Where the pulled files lie. Raises WeightsError that names the command which brings them."""
    first = pulled_weights(WEIGHTS.name)
    if first is None:
        where = f"the models {WEIGHTS.name} ({WEIGHTS.licence})"
        raise WeightsError(Problem(where, "five files of MediaPipe's wheel in the cache", "not pulled", PULL))
    return first.parent


def model_file(name: str) -> Path:
    """One pulled file, whole. Raises WeightsError: missing, truncated or another file."""
    path = model_folder() / name
    wanted = MODELS[name]
    if not path.is_file():
        raise WeightsError(Problem(str(path), "a pulled model", "no file", PULL))
    got = sha256(path)
    if got != wanted:
        told = f"{got[:16]}, {path.stat().st_size} bytes: truncated or another file"
        raise WeightsError(Problem(str(path), f"a file whose SHA-256 begins with {wanted[:16]}", told, PULL))
    return path


class Network:
    """One network: a picture in, its outputs by their own order out."""

    def __init__(self, name: str) -> None:
        self._interpreter = _interpreter(model_file(name))
        self._input = int(self._interpreter.get_input_details()[0]["index"])
        self._outputs = [int(output["index"]) for output in self._interpreter.get_output_details()]

    def __call__(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """A picture float32 [1, H, W, 3] to all outputs, each a copy."""
        self._interpreter.set_tensor(self._input, picture)
        self._interpreter.invoke()
        return [np.asarray(self._interpreter.get_tensor(index), np.float32) for index in self._outputs]


def _interpreter(path: Path) -> Any:
    interpreter_class = _runtime()
    try:
        with _quiet():
            made = interpreter_class(model_path=str(path), num_threads=1)
            made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise WeightsError(Problem(str(path), "a model that LiteRT runs", str(error), PULL)) from error
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep from the terminal what LiteRT's C++ part says about itself; its errors come as exceptions."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@lru_cache(maxsize=1)
def _runtime() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - only where a network runs
    except ImportError as error:
        fix = "install it: uv pip install 'ai-edge-litert>=2.3,<3'"
        raise PluginError(Problem("person_landmarks", "ai-edge-litert", str(error), fix)) from error
    return Interpreter
