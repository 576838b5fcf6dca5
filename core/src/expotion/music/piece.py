"""A piece: what is ready to be decoded for a clip, and the music that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion import machine, timeline
from expotion.contracts import SmoothedTrack
from expotion.music.parts import Span, laid_into
from expotion.music.request import Request
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen.codec import Codec
from expotion.musicgen.engine import memory
from expotion.musicgen.engine.step import Engine


@dataclass(frozen=True)
class Music:
    """A composed piece: `samples` float32 [n], of a stereo model [n, 2], decoded from `codes` int64 [K, T].

    `controls` of the whole clip steered it, by name; `notes` are plain values that say how it was made. Where parts
    were asked for, `codes` are theirs one after the other, and `samples` those of the whole clip.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    codes: NDArray[np.int64]
    controls: Mapping[str, SmoothedTrack]
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class MusicChunk:
    """The next stretch of a piece while it is made: `samples` float32 [n] from `start_s` on."""

    samples: NDArray[np.float32]
    start_s: float
    sample_rate_hz: int


@dataclass(frozen=True)
class Piece:
    """Requests ready to be decoded, one for all of a clip or for each part, and what will be said about them.

    `around`: samples of the clip's length that parts are laid into; None where all of it gets music.
    """

    lm: Engine
    requests: list[Request]
    steering: Steering
    windows: Windows
    spans: list[Span]
    n_samples: int
    around: NDArray[np.float32] | None
    tracks: Mapping[str, SmoothedTrack]
    notes: dict[str, Any]

    def at_once(self, n_takes: int) -> int:
        """How many of these takes are decoded together: what half of the free memory holds.

        One at a time where a row's last bits depend on the rows beside it, which a compiled step's do not.
        """
        free = machine.free_bytes() if self.lm.steady else 0
        if free is None:
            return n_takes
        return max(1, min(n_takes, free // 2 // self.take_bytes))

    @property
    def take_bytes(self) -> int:
        """Bytes that decoding a take holds, at most."""
        geometry, n_branches = self.lm.geometry, len(self.tracks) + 3
        longest = min(self.windows.longest, max(request.n_frames for request in self.requests))
        said = [text for each in self.requests for text in (each.text, each.negative, *(t for _, t in each.later))]
        text = max(1 if each is None else len(each.mask) for each in said)
        rows, positions = n_branches * len(self.requests), longest + max(geometry.delays) + 1
        prefix_rows = rows * positions if self.tracks else 0
        state = memory.state_bytes(geometry, self.lm.dtype, rows, positions, text, prefix_rows)
        sound = sum(request.n_frames for request in self.requests) * geometry.n_codebooks * 8
        return state + sound + rows * geometry.n_codebooks * geometry.card * 16

    def music(self, codes: Sequence[Tensor], seed: int, codec: Codec) -> Music:
        """The sound of codes [K, T], one for each request."""
        rate_hz, frame_rate_hz = codec.sample_rate_hz, codec.frame_rate_hz
        with machine.steady():
            if self.around is None:
                samples = to_sound(codec, codes[0], self.n_samples)
            else:
                hop = timeline.samples_per_frame(rate_hz, frame_rate_hz)
                sounds = [to_sound(codec, each, each.shape[-1] * hop) for each in codes]
                spans = list(zip(self.spans, sounds, strict=True))
                samples = laid_into(self.around, spans, rate_hz, frame_rate_hz)
        whole = torch.cat(list(codes), dim=-1)
        return Music(samples, rate_hz, whole.numpy(), self.tracks, {**self.notes, "seed": seed})
