"""Composing: requests in, codes out. Requests of one length share each step of the decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.guidance import branches_prefix, guided_prefix
from expotion.adaptor.prefix import Prefix
from expotion.adaptor.project import TrackInput
from expotion.backbone.generate import Decoding, decode
from expotion.backbone.sampling import Sampler
from expotion.backbone.step_model import StepModel
from expotion.errors import ExpotionError, Problem
from expotion.generation.guidance import Branch, plan
from expotion.generation.requests import Request, request_inputs, text_sources
from expotion.generation.windows import cover


@dataclass(frozen=True)
class ComposeSettings:
    """How to sample.

    Without `control_scale` one scale guides text and controls together; with it the controls have their own, and
    `scales` gives single controls theirs (`generation.guidance` has the formula and the cost).
    `window_frames`: the longest stretch decoded at once, the length trained on.
    """

    cfg_scale: float = 3.0
    control_scale: float | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    top_k: int = 250
    top_p: float = 0.0
    temperature: float = 1.0
    greedy: bool = False
    window_frames: int = 500
    overlap_frames: int | None = None
    """Frames continued from the window before; by default a third of a window."""

    @property
    def overlap(self) -> int:
        """Frames continued from the window before."""
        return self.window_frames // 3 if self.overlap_frames is None else self.overlap_frames


Progress = Callable[[int, int], None]


def compose(
    lm: StepModel,
    adaptor: Adaptor | None,
    requests: Sequence[Request],
    settings: ComposeSettings,
    *,
    on_step: Progress | None = None,
) -> list[Tensor]:
    """Codes int64 [K, n_frames] for each request; `on_step(frames done, frames in all)` reports progress.

    Requests of one length are decoded together, lengths one after the other. A request draws from a generator of
    its own, so what it yields does not depend on its neighbours. Without an adaptor, or with every strength 0, the
    codes are exactly those of the frozen model.
    """
    by_length: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        by_length.setdefault(request.n_frames, []).append(index)
    total, done = sum(by_length), 0
    found: dict[int, Tensor] = {}
    for n_frames, members in by_length.items():
        pieces = []
        for piece in compose_pieces(lm, adaptor, [requests[index] for index in members], settings):
            pieces.append(piece)
            done += piece.shape[-1]
            if on_step is not None:
                on_step(done, total)
        for index, codes in zip(members, torch.cat(pieces, dim=-1), strict=True):
            assert codes.shape[-1] == n_frames
            found[index] = codes
    return [found[index] for index in range(len(requests))]


def continue_codes(
    lm: StepModel,
    adaptor: Adaptor | None,
    request: Request,
    settings: ComposeSettings,
    known: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """One window of codes int64 [K, n_frames] that begins with the known ones [K, P], P < n_frames."""
    prompt = None if known is None else known[None]
    steps = _window(lm, adaptor, [request], settings, (0, request.n_frames), prompt, [generator])
    *_, (decoding, _) = steps
    return decoding.codes()[0]


def compose_pieces(
    lm: StepModel, adaptor: Adaptor | None, requests: Sequence[Request], settings: ComposeSettings
) -> Iterator[Tensor]:
    """Codes int64 [B, K, m] of requests of one length, piece by piece as frames are finished."""
    lengths = {request.n_frames for request in requests}
    if len(lengths) != 1 or min(lengths) < 1:
        raise ExpotionError(
            Problem("compose", "requests of one length, at least one frame", f"lengths {sorted(lengths)}")
        )
    windows = cover(lengths.pop(), settings.window_frames, settings.overlap)
    generators = [torch.Generator().manual_seed(request.seed) for request in requests]
    known: Tensor | None = None  # the codes of the window before
    started = 0
    for window in windows:
        prompt = None if known is None else known[:, :, window.start - started :]
        done = window.n_prompt
        decoding = None
        span = (window.start, window.stop)
        for decoding, step in _window(lm, adaptor, requests, settings, span, prompt, generators):
            finished = decoding.finished(step)
            if finished > done:
                yield decoding.frames(done, finished)
                done = finished
        assert decoding is not None
        known, started = decoding.codes(), window.start


def _window(
    lm: StepModel,
    adaptor: Adaptor | None,
    requests: Sequence[Request],
    settings: ComposeSettings,
    span: tuple[int, int],
    prompt: Tensor | None,
    generators: Sequence[torch.Generator],
) -> Iterator[tuple[Decoding, int]]:
    """Decode the frames `span` of requests of one length, the conditions being those of that stretch."""
    source, mask = text_sources(lm, [request.text for request in requests])
    inputs = {} if adaptor is None else request_inputs(adaptor, requests, *span)
    branches = plan(list(inputs), settings.cfg_scale, settings.control_scale, settings.scales)
    return decode(
        lm,
        branch_sources(lm, source, branches),
        span[1] - span[0],
        [branch.weight for branch in branches],
        prefix=_prefix(lm, adaptor, inputs, branches, settings),
        sampler=Sampler(
            greedy=settings.greedy,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
        ),
        generators=generators,
        prompt=prompt,
        source_mask=mask.repeat(len(branches), 1),
    )


def branch_sources(lm: StepModel, source: Tensor, branches: Sequence[Branch]) -> Tensor:
    """Text sources [n B, L, d]: a block for each branch, zeros where it does not see the text."""
    null = lm.null_text(*source.shape[:2])
    return torch.cat([source.to(lm.dtype) if branch.text else null for branch in branches])


@torch.inference_mode()
def _prefix(
    lm: StepModel,
    adaptor: Adaptor | None,
    inputs: Mapping[str, TrackInput],
    branches: Sequence[Branch],
    settings: ComposeSettings,
) -> Prefix | None:
    if adaptor is None or not inputs:
        return None
    together = settings.control_scale is None and not settings.scales
    if together and adaptor.config.null_branch != "none" and len(branches) == 2:
        return guided_prefix(adaptor, lm, inputs)
    return branches_prefix(adaptor, lm, inputs, [branch.controls for branch in branches])
