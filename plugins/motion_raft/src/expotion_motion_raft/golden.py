"""Golden files of princeton's RAFT, small and large (`expotion verify`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from expotion.contracts import GoldenFile
from expotion.weights import fill
from expotion_motion_raft import loader
from expotion_motion_raft.model import build_raft, consecutive_flow, scale_pixels
from expotion_motion_raft.options import GEOMETRIES

LOW_FLOW = 1e-3
"""On the float32 flow at an eighth of the resolution, in its pixels."""
STORED_FLOW = 2e-2
"""On the upsampled flow, which is stored in half precision."""
MAPS = 1e-3
"""Relative to the largest value. The stored slices of the encoders' maps are 1e-4 of their range off a float64
computation on the same weights and pictures, while the flows made from the maps agree to 5e-6: so they tell a wrong
layer, not the last digits."""


def checker(size: str) -> Callable[[GoldenFile], None]:
    """The check of `small` or `large`."""
    return lambda golden: check(golden, size)


def check(golden: GoldenFile, size: str) -> None:
    """Feature maps, flow after the first and the last update, through princeton's names and our loader."""
    state = weights(golden)
    for name, value in state.items():
        twin = doubled_name(name, size)
        if twin is not None:
            golden.compare("norms under two names", value, state[twin].numpy(), 0.0)
    model = build_raft(GEOMETRIES[size]).eval()
    fill(model, loader.to_torchvision({f"module.{name}": value for name, value in state.items()}), "w/")
    first, second = (
        scale_pixels(torch.from_numpy(golden.array(f"in/image{number}_u8")).movedim(1, -1)) for number in (1, 2)
    )
    low: list[Tensor] = []
    hook = model.update_block.register_forward_hook(
        lambda module, inputs, outputs: low.append(inputs[3] + outputs[1])
    )
    with torch.inference_mode():
        maps, context = model.feature_encoder(first), model.context_encoder(first)
        flows = model(first, second, num_flow_updates=int(golden.setting("config", "iters")))
        hook.remove()
        # The encoder goes through one sequence of pictures; each row of the file is a sequence of two.
        pairs = zip(first, second, strict=True)
        last = torch.cat([consecutive_flow(model, torch.stack(pair), len(flows)) for pair in pairs])
    for quantity, found, name in (
        ("feature map", maps, "out/fmap1_ch0_8"),
        ("context map", context, "out/cnet_ch0_8"),
    ):
        golden.compare(quantity, found[:, : golden.array(name).shape[1]], name, MAPS, relative=True)
    golden.compare("flow at 1/8", low[-1], "out/flow_low_final", LOW_FLOW)
    for quantity, found, name in (
        ("first flow", flows[0], "out/flow_up_first"),
        ("last flow", flows[-1], "out/flow_up_final"),
        ("last flow as the encoder computes it", last, "out/flow_up_final"),
    ):
        golden.compare(quantity, found, name, _tolerance(golden.array(name)))


def weights(golden: GoldenFile) -> dict[str, Tensor]:
    """Tensors by princeton's names; those stored as `NAME|q` and `NAME|scale` are q times scale, exactly."""
    stored = golden.under("w/")
    state = {}
    for key, value in stored.items():
        name, _, part = key.partition("|")
        if part == "q":
            state[name] = torch.from_numpy(value.astype(np.float32)) * float(stored[f"{name}|scale"])
        elif not part:
            state[name] = torch.from_numpy(value)
    return state


def doubled_name(name: str, size: str) -> str | None:
    """`downsample.1` of a strided block for the norm that is the same tensor under another name, else None."""
    block, found, rest = name.partition(".norm4." if size == "small" else ".norm3.")
    return f"{block}.downsample.1.{rest}" if found else None


def _tolerance(stored: np.ndarray) -> float:
    """Half a step of half precision at the largest flow can be more than the usual tolerance."""
    largest = np.abs(stored).max()
    return max(STORED_FLOW, 0.5 * float(np.spacing(largest.astype(np.float16))) + LOW_FLOW)
