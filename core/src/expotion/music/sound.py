"""From codes to samples of the clip's length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.musicgen.codec import Codec, CodecStream
from expotion.video.audio import fit

AT_ONCE_FRAMES = 1500
"""Longer sounds are decoded piece by piece, so that memory does not grow with their length."""


@torch.inference_mode()
def to_sound(codec: Codec, codes: Tensor, n_samples: int) -> NDArray[np.float32]:
    """Codes [K, T] -> samples float32 [n_samples] or [n_samples, 2], cut or padded with silence to that length."""
    if codes.shape[-1] <= AT_ONCE_FRAMES:
        wave = codec.decode(codes).numpy().astype(np.float32)
    else:
        stream = CodecStream(codec)
        parts = [stream.push(part) for part in torch.split(codes, AT_ONCE_FRAMES // 3, dim=-1)]
        wave = np.concatenate([*parts, stream.finish()])
    return fit(wave, n_samples)


def stream_sound(
    codec: Codec, codes: Iterable[Tensor], n_samples: int, chunk_frames: int
) -> Iterator[NDArray[np.float32]]:
    """Samples float32 [m] or [m, 2], chunk by chunk, of codes [K, n] as they come; all together `n_samples`."""
    stream = CodecStream(codec)
    left = n_samples
    waiting: list[Tensor] = []
    for piece in codes:
        waiting.append(piece)
        if sum(part.shape[-1] for part in waiting) >= chunk_frames:
            samples = stream.push(torch.cat(waiting, dim=-1))[:left]
            waiting = []
            if len(samples):
                left -= len(samples)
                yield samples
    rest = [stream.push(torch.cat(waiting, dim=-1))] if waiting else []
    if left:
        yield fit(np.concatenate([*rest, stream.finish()]), left)
