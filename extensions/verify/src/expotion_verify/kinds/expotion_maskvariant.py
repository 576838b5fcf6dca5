"""`expotion_maskvariant`: the authors' class with face, body and vid, and learned stand-ins where masked."""

from __future__ import annotations

from expotion.adaptor.project import TrackInput
from expotion.contracts import GoldenFile
from expotion_verify.adaptor_check import check_adaptor
from expotion_verify.tensors import tensor


def check(golden: GoldenFile) -> None:
    """Channel 0 of the mask keeps body, channel 1 vid, where its value is above 0; the face is always kept."""
    kept = (tensor(golden, "in/cond_mask") > 0).float()  # (B, 2, T + 1)
    inputs = {
        "face": TrackInput(tensor(golden, "in/features")),
        "body": TrackInput(tensor(golden, "in/body"), keep=kept[:, 0]),
        "vid": TrackInput(tensor(golden, "in/vid"), keep=kept[:, 1]),
    }
    check_adaptor(golden, inputs)
