"""`expotion_adaptor`: the authors' single-stream class, forward, backward and generating."""

from __future__ import annotations

from expotion.adaptor.project import TrackInput
from expotion.contracts import GoldenFile
from expotion_verify.adaptor_check import check_adaptor
from expotion_verify.tensors import tensor


def check(golden: GoldenFile) -> None:
    """One stream of features [B, T + 1, C]."""
    check_adaptor(golden, {"features": TrackInput(tensor(golden, "in/features"))})
