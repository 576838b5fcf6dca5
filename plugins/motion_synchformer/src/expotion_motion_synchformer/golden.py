"""Golden files of the visual encoder (`expotion verify`)."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import torch

from expotion.contracts import GoldenFile
from expotion.errors import Problem, WeightsError
from expotion_motion_synchformer import loader
from expotion_motion_synchformer.model import scale_pixels
from expotion_motion_synchformer.options import Geometry

TOLERANCE = 1e-5


def check(golden: GoldenFile) -> None:
    """Tokens before the last norm and features; the weights pass through an official layout and our loader."""
    state = {name: torch.from_numpy(value) for name, value in golden.under("vfeat/").items()}
    pixels = torch.from_numpy(golden.array("in/segments_u8"))  # [B, S, F, 3, H, W]
    geometry = _geometry(golden, state, tuple(pixels.shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sync.pt"
        torch.save({"model": {f"vfeat_extractor.{name}": value for name, value in state.items()}}, path)
        model = loader.load(path, geometry).model.eval()
    segments = pixels.flatten(0, 1)  # segments do not know each other
    video = scale_pixels(segments.movedim(2, -1)).transpose(1, 2)
    with torch.inference_mode():
        tokens, rows = model.tokens(video), model(video)
    golden.compare("tokens before the norm", tokens, "out/tokens_before_norm", TOLERANCE)
    golden.compare("features", rows.unflatten(0, tuple(pixels.shape[:2])), "out/features", TOLERANCE)


def _geometry(golden: GoldenFile, state: dict[str, torch.Tensor], shape: tuple[int, ...]) -> Geometry:
    """Sizes from the shapes; the heads, which none shows, from the JSON."""
    kernel = state.get("patch_embed_3d.proj.weight")
    if kernel is None or kernel.ndim != 5:
        raise WeightsError(Problem("vfeat/ patch_embed_3d.proj.weight", "a kernel [D, 3, z, p, p]"))
    dim, _, tubelet, patch, _ = kernel.shape
    hidden = state.get("blocks.0.mlp.fc1.weight")
    return Geometry(
        image=shape[-1],
        patch=patch,
        frames=shape[2],
        tubelet=tubelet,
        dim=dim,
        depth=len({match[1] for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}),
        heads=int(golden.setting("config", "heads")),
        mlp_ratio=4 if hidden is None else hidden.shape[0] // dim,
    )
