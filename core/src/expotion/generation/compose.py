"""Composing: requests in, codes and sound out. Batches of requests share each step of the decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.guidance import guided_prefix
from expotion.adaptor.project import TrackInput
from expotion.backbone.codec import Codec
from expotion.backbone.decoder import MusicGenLM
from expotion.backbone.generate import generate_codes
from expotion.backbone.sampling import Sampler
from expotion.backbone.text import pad_text
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.errors import ExpotionError, Problem
from expotion.generation.windows import FrameWindow, cover


@dataclass(frozen=True)
class Request:
    """Music for one clip: `n_frames` codec frames, a prompt, and smoothed tracks [n_frames + 1, D_i] by name.

    A modality without a track, or with strength 0, is dropped.
    """

    n_frames: int
    text: TokenFeatures | None
    tracks: Mapping[str, SmoothedTrack] = field(default_factory=dict)
    strengths: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class ComposeSettings:
    """How to sample.

    Without `control_scale` one scale guides text and controls together (two branches). With it, each has its
    own (three branches): null + cfg_scale (text - null) + control_scale (both - text).
    `window_frames`: the longest stretch decoded at once, the length trained on.
    """

    cfg_scale: float = 3.0
    control_scale: float | None = None
    top_k: int = 250
    top_p: float = 0.0
    temperature: float = 1.0
    greedy: bool = False
    window_frames: int = 500
    overlap_frames: int | None = None
    """Frames continued from the window before; by default a third of a window."""


Progress = Callable[[int, int], None]


@torch.inference_mode()
def compose(
    lm: MusicGenLM,
    adaptor: Adaptor | None,
    requests: Sequence[Request],
    settings: ComposeSettings,
    *,
    on_step: Progress | None = None,
) -> list[Tensor]:
    """Codes int64 [K, n_frames] for each request; all requests of one call are equally long.

    A request draws from a generator of its own, so what it yields does not depend on its neighbours. Without
    an adaptor, or with every strength 0, the codes are exactly those of the frozen model.
    """
    lengths = {request.n_frames for request in requests}
    if len(lengths) != 1:
        raise ExpotionError(
            Problem(
                where="compose", wanted="requests of one length per batch", got=f"lengths {sorted(lengths)}"
            )
        )
    n_frames = lengths.pop()
    longest = settings.window_frames
    overlap = longest // 3 if settings.overlap_frames is None else settings.overlap_frames
    windows = cover(n_frames, longest, overlap)
    source, source_mask = text_sources(lm, [request.text for request in requests])
    sampler = Sampler(
        greedy=settings.greedy, temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p
    )
    generators = [torch.Generator().manual_seed(request.seed) for request in requests]
    total = sum(window.n_frames - window.n_prompt for window in windows)
    done = 0
    codes: Tensor | None = None
    for window in windows:
        inputs = {} if adaptor is None else request_inputs(adaptor, requests, window.start, window.stop)
        prefix = None
        if adaptor is not None and inputs:
            if settings.control_scale is not None:
                prefix = guided_prefix(adaptor, lm, inputs, null_branch="none")
            elif settings.cfg_scale != 1.0:
                prefix = guided_prefix(adaptor, lm, inputs)
            else:
                prefix = adaptor(lm, inputs, for_generation=True)

        def step(at: int, of: int, done: int = done, window: FrameWindow = window) -> None:
            if on_step is not None:
                on_step(done + min(at, window.n_frames) - window.n_prompt, total)

        known = None if codes is None else codes[:, :, window.start : window.start + window.n_prompt]
        made = generate_codes(
            lm,
            source,
            window.n_frames,
            prefix=prefix,
            cfg_scale=settings.cfg_scale,
            control_scale=settings.control_scale,
            sampler=sampler,
            generators=generators,
            prompt=known,
            source_mask=source_mask,
            on_step=step,
        )
        codes = made if codes is None else torch.cat([codes, made[:, :, window.n_prompt :]], dim=-1)
        done += window.n_frames - window.n_prompt
    assert codes is not None
    return list(codes)


def text_sources(lm: MusicGenLM, texts: Sequence[TokenFeatures | None]) -> tuple[Tensor, Tensor]:
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
        keep = np.zeros(len(requests), dtype=np.float32)
        for i, request in enumerate(requests):
            track = request.tracks.get(name)
            if track is None:
                continue
            if track.values.shape != (request.n_frames + 1, width):
                raise ExpotionError(
                    Problem(
                        where=f"control '{name}'",
                        wanted=f"[{request.n_frames + 1}, {width}] rows",
                        got=str(list(track.values.shape)),
                        fix="use the encoder and options that the adaptor was trained with",
                    )
                )
            values[i] = track.values[start : stop + 1]
            valid[i] = track.valid[start : stop + 1]
            keep[i] = request.strengths.get(name, 1.0)
        if keep.any():
            inputs[name] = TrackInput(
                torch.from_numpy(values), torch.from_numpy(valid), torch.from_numpy(keep)
            )
    return inputs


@torch.inference_mode()
def to_sound(codec: Codec, codes: Tensor, n_samples: int) -> NDArray[np.float32]:
    """Codes [K, T] -> mono samples float32 [n_samples]: cut or padded with silence to the clip's length."""
    wave = codec.decode(codes).numpy().astype(np.float32)
    if len(wave) < n_samples:
        wave = np.pad(wave, (0, n_samples - len(wave)))
    return np.ascontiguousarray(wave[:n_samples])
