"""A clip's own sound as a track of codec codes, so that codes are made, cached and counted like any feature."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, Encoder, EncoderSpec, Options, TimedFeatures
from expotion.errors import MediaError, Problem
from expotion.musicgen.codec import Codec
from expotion.weights import tensors_hash


class CodesEncoder(Encoder):
    """EnCodec codes of a clip: values [T, K] (whole numbers), one row per codec frame, at the frame's start."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.options = Options()
        self.spec = EncoderSpec(
            name="codec_codes",
            description="codes of the clip's own sound",
            needs=frozenset({"audio"}),
            build=lambda options: self,
            width=lambda options: codec.n_codebooks,
            rate_hz=lambda options: codec.frame_rate_hz,
            smoother="hold",
        )

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the codec's encoder and codebooks: codes do not depend on the decoder."""
        tensors = self.codec.model.state_dict()
        return tensors_hash({name: t for name, t in tensors.items() if not name.startswith("decoder.")})

    def extract(self, clip: Clip) -> TimedFeatures:
        """Codes of the whole clip. Raises MediaError for a clip without sound."""
        samples = clip.audio(self.codec.sample_rate_hz)
        if samples is None:
            problem = Problem(clip.id, "a clip with sound", "no audio stream", "leave the clip out")
            raise MediaError(problem)
        with torch.inference_mode():
            codes = self.codec.encode(torch.from_numpy(np.ascontiguousarray(samples))).numpy()
        n_frames = codes.shape[1]
        return TimedFeatures(
            values=np.ascontiguousarray(codes.T, dtype=np.float32),
            times_s=timeline.step_times_s(n_frames - 1, self.codec.frame_rate_hz),
            valid=np.ones(n_frames, dtype=bool),
        )


def codes_of(track: TimedFeatures) -> NDArray[np.int64]:
    """Codes int64 [K, T] of a track that `CodesEncoder` made."""
    return np.ascontiguousarray(track.values.T.astype(np.int64))
