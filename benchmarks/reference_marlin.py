"""The procedure that published MARLIN features are made with, written out plainly, to compare against.

Re-encode to 80 fps, then one window of 16 frames at a time through the network in float32, attention as
softmax(q k^T / sqrt(d)) v with the whole matrix in memory. Re-encoding is lossless (x264, qp 0) so that both sides
see the same pixels; it runs in this process through PyAV, with FFmpeg's own `fps` filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

RATE_HZ = 80
WINDOW = 16
LAYER_NORM_EPS = 1e-5


def reencode(source: Path, target: Path) -> None:
    """The picture of a file at 80 fps, each frame as often as it is shown."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = given.streams.video[0]
        graph = av.filter.Graph()
        start = graph.add_buffer(template=stream)
        rate = graph.add("fps", f"fps={RATE_HZ}")
        end = graph.add("buffersink")
        start.link_to(rate)
        rate.link_to(end)
        graph.configure()
        coded = out.add_stream("libx264", rate=RATE_HZ, options={"qp": "0"})
        coded.width, coded.height, coded.pix_fmt = stream.width, stream.height, "yuv420p"
        coded.time_base = Fraction(1, RATE_HZ)

        def write_ready() -> None:
            while True:
                try:
                    frame = graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    return
                out.mux(coded.encode(frame))

        for frame in given.decode(stream):
            graph.push(frame)
            write_ready()
        graph.push(None)
        write_ready()
        out.mux(coded.encode())


def read_all(path: Path) -> NDArray[np.uint8]:
    """Every frame of a file, RGB uint8 [n, H, W, 3]."""
    with av.open(str(path)) as given:
        given.streams.video[0].thread_type = "AUTO"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in given.decode(video=0)])


def window_starts(n_frames: int) -> list[int]:
    """Starts 0, 16, ... strictly below n - 16; up to 16 frames are one window."""
    return list(range(0, max(n_frames - WINDOW, 1), WINDOW))


def features(frames: NDArray[np.uint8], start: int, state: Mapping[str, Tensor], heads: int) -> Tensor:
    """The vector [D] of the window that begins at a frame. `state` holds the encoder's official keys."""
    window = frames[start : start + WINDOW]
    window = np.concatenate([window, np.repeat(window[-1:], WINDOW - len(window), axis=0)])
    clip = torch.from_numpy(window).permute(3, 0, 1, 2)[None].float() / 255.0
    kernel = state["patch_embedding.projection.weight"]
    stride = tuple(kernel.shape[2:])
    x = functional.conv3d(clip, kernel, state["patch_embedding.projection.bias"], stride=stride)
    x = x.flatten(2).transpose(1, 2) + state["pos_embedding.emb"]
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    for index in range(depth):
        block = {
            name.removeprefix(f"blocks.{index}."): value
            for name, value in state.items()
            if name.startswith(f"blocks.{index}.")
        }
        x = x + _attention(_norm(x, block, "norm1"), block, heads)
        hidden = functional.gelu(_linear(_norm(x, block, "norm2"), block, "mlp.layers.0.linear"))
        x = x + _linear(hidden, block, "mlp.layers.1.linear")
    return _norm(x.mean(dim=1), state, "norm")[0]


def _attention(x: Tensor, block: Mapping[str, Tensor], heads: int) -> Tensor:
    batch, tokens, width = x.shape
    bias = torch.cat((block["attn.q_bias"], torch.zeros(width), block["attn.v_bias"]))
    qkv = functional.linear(x, block["attn.qkv.weight"], bias)
    q, k, v = qkv.reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    weights = torch.softmax((q * (width // heads) ** -0.5) @ k.transpose(-2, -1), dim=-1)
    return _linear((weights @ v).transpose(1, 2).reshape(batch, tokens, width), block, "attn.proj")


def _norm(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return functional.layer_norm(
        x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], LAYER_NORM_EPS
    )


def _linear(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
