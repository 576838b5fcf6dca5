"""What is asked for: music for one clip, and how requests become a batch for the adaptor and the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.project import TrackInput
from expotion.backbone.step_model import StepModel
from expotion.backbone.text import pad_text
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.errors import ExpotionError, Problem


@dataclass(frozen=True)
class Request:
    """Music for one clip: `n_frames` codec frames, a prompt, and smoothed tracks [n_frames + 1, D_i] by name.

    A strength is a number or one for each row, float [n_frames + 1]. A modality without a track, or with strength 0
    throughout, is dropped.
    """

    n_frames: int
    text: TokenFeatures | None
    tracks: Mapping[str, SmoothedTrack] = field(default_factory=dict)
    strengths: Mapping[str, float | NDArray[np.floating]] = field(default_factory=dict)
    seed: int = 0


def text_sources(lm: StepModel, texts: Sequence[TokenFeatures | None]) -> tuple[Tensor, Tensor]:
    """Projected prompts [B, L, d], padded to the longest, and which rows are a prompt's own, bool [B, L].

    audiocraft attends to the padding, which makes what a prompt says depend on the longest of its batch; here
    the padding is hidden, so that each prompt means what it means alone. No prompt is one row of zeros.
    """
    width = lm.geometry.text_width or lm.geometry.width
    pairs = [
        (torch.zeros(1, width), torch.zeros(1, dtype=torch.bool))
        if text is None
        else (torch.from_numpy(text.values), torch.from_numpy(text.mask))
        for text in texts
    ]
    hidden, mask = pad_text(pairs)
    lengths = torch.tensor([len(own) for _, own in pairs])
    own_rows = torch.arange(mask.shape[1])[None, :] < lengths[:, None]
    return lm.project_text(hidden, mask), own_rows


def request_inputs(
    adaptor: Adaptor, requests: Sequence[Request], start: int, stop: int
) -> dict[str, TrackInput]:
    """Rows start..stop of every modality that some request has; the others of the batch drop it."""
    inputs: dict[str, TrackInput] = {}
    n_rows = stop - start + 1
    for modality in adaptor.config.modalities:
        name, width = modality.name, modality.d_in
        values = np.zeros((len(requests), n_rows, width), dtype=np.float32)
        valid = np.zeros((len(requests), n_rows), dtype=bool)
        keep = np.zeros((len(requests), n_rows), dtype=np.float32)
        for i, request in enumerate(requests):
            track = request.tracks.get(name)
            if track is None:
                continue
            _check(name, track, request.n_frames + 1, width)
            values[i] = track.values[start : stop + 1]
            valid[i] = track.valid[start : stop + 1]
            strength = np.asarray(request.strengths.get(name, 1.0), dtype=np.float32)
            keep[i] = strength if strength.ndim == 0 else strength[start : stop + 1]
        if keep.any():
            inputs[name] = TrackInput(
                torch.from_numpy(values), torch.from_numpy(valid), torch.from_numpy(keep)
            )
    return inputs


def _check(name: str, track: SmoothedTrack, n_rows: int, width: int) -> None:
    """Shape and finiteness of a track; the rows that are not finite are named by their times."""
    if track.values.shape != (n_rows, width):
        raise ExpotionError(
            Problem(
                where=f"control '{name}'",
                wanted=f"[{n_rows}, {width}] rows",
                got=str(list(track.values.shape)),
                fix="use the encoder and options that the adaptor was trained with",
            )
        )
    bad = np.flatnonzero(~np.isfinite(track.values).all(axis=1) & track.valid)
    if len(bad):
        raise ExpotionError(
            Problem(
                where=f"control '{name}'",
                wanted="finite features",
                got=f"NaN or infinity in {len(bad)} of {n_rows} rows, the first at row {bad[0]}",
                fix="mark such samples valid=False in the encoder, or extract the clip's features again",
            )
        )
