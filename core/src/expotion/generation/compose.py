"""Composing: requests in, codes out. Requests of any lengths share the steps of the decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
from expotion.generation.windows import FrameWindow, cover


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

    Requests of any lengths are decoded together, a window of each at a time. A request draws from a generator of
    its own, so what it yields does not depend on its neighbours. Without an adaptor, or with every strength 0, the
    codes are exactly those of the frozen model.
    """
    turns = _turns([_windows(request, settings) for request in requests])
    generators = [torch.Generator().manual_seed(request.seed) for request in requests]
    found: list[Tensor | None] = [None] * len(requests)
    total, before = sum(turn.n_new for turn in turns), 0
    for turn in turns:
        known = [found[index] for index in turn.members]
        spans = [(window.start, window.stop) for window in turn.windows]
        steps = _window(
            lm,
            adaptor,
            [requests[index] for index in turn.members],
            settings,
            spans,
            _prompt(known, turn.windows[0]),
            [generators[index] for index in turn.members],
        )
        for decoding, step in steps:
            if on_step is not None:
                on_step(before + max(0, decoding.finished(step) - turn.n_prompt), total)
        before += turn.n_new
        for index, window, codes in zip(turn.members, turn.windows, decoding.codes(), strict=True):
            fresh = codes[:, window.n_prompt : window.n_frames]
            own = found[index]
            found[index] = fresh if own is None else torch.cat([own, fresh], dim=-1)
    return [codes for codes in found if codes is not None]


@dataclass(frozen=True)
class _Turn:
    """Windows of several requests that are decoded together: same start, same prompt, not the same end."""

    members: tuple[int, ...]
    windows: tuple[FrameWindow, ...]

    @property
    def n_prompt(self) -> int:
        return self.windows[0].n_prompt

    @property
    def n_new(self) -> int:
        return max(window.n_frames for window in self.windows) - self.n_prompt


def _turns(schedules: Sequence[Sequence[FrameWindow]]) -> list[_Turn]:
    """The first windows of all requests, then the second ones; the last of a long clip has a prompt of its own."""
    turns = []
    for number in range(max(map(len, schedules), default=0)):
        together: dict[tuple[int, int], list[int]] = {}
        for index, windows in enumerate(schedules):
            if number < len(windows):
                together.setdefault((windows[number].start, windows[number].n_prompt), []).append(index)
        turns += [
            _Turn(tuple(members), tuple(schedules[index][number] for index in members))
            for members in together.values()
        ]
    return turns


def _windows(request: Request, settings: ComposeSettings) -> list[FrameWindow]:
    if request.n_frames < 1:
        raise ExpotionError(Problem("compose", "at least one frame", str(request.n_frames)))
    return cover(request.n_frames, settings.window_frames, settings.overlap)


def _prompt(known: Sequence[Tensor | None], window: FrameWindow) -> Tensor | None:
    """The frames [B, K, n_prompt] that a window continues."""
    if window.n_prompt == 0:
        return None
    span = slice(window.start, window.start + window.n_prompt)
    return torch.stack([codes[:, span] for codes in known if codes is not None])


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
    steps = _window(lm, adaptor, [request], settings, [(0, request.n_frames)], prompt, [generator])
    *_, (decoding, _) = steps
    return decoding.codes()[0]


def compose_pieces(
    lm: StepModel, adaptor: Adaptor | None, request: Request, settings: ComposeSettings
) -> Iterator[Tensor]:
    """Codes int64 [K, m] of one request, piece by piece as frames are finished."""
    generators = [torch.Generator().manual_seed(request.seed)]
    known: Tensor | None = None
    for window in _windows(request, settings):
        done = window.n_prompt
        spans = [(window.start, window.stop)]
        prompt = _prompt([known], window)
        for decoding, step in _window(lm, adaptor, [request], settings, spans, prompt, generators):
            finished = decoding.finished(step)
            if finished > done:
                yield decoding.frames(done, finished)[0]
                done = finished
        fresh = decoding.codes()[0, :, window.n_prompt :]
        known = fresh if known is None else torch.cat([known, fresh], dim=-1)


def _window(
    lm: StepModel,
    adaptor: Adaptor | None,
    requests: Sequence[Request],
    settings: ComposeSettings,
    spans: Sequence[tuple[int, int]],
    prompt: Tensor | None,
    generators: Sequence[torch.Generator],
) -> Iterator[tuple[Decoding, int]]:
    """Decode frames start..stop of each request, the conditions being those of that stretch."""
    source, mask = text_sources(lm, [request.text for request in requests])
    lengths = [stop - start for start, stop in spans]
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    inputs = [
        ({} if adaptor is None else request_inputs(adaptor, [requests[i] for i in own], *spans[own[0]]), own)
        for own in by_length.values()
    ]
    modalities = () if adaptor is None else adaptor.config.modalities
    heard = [m.name for m in modalities if any(m.name in tracks for tracks, _ in inputs)]
    branches = plan(heard, settings.cfg_scale, settings.control_scale, settings.scales)
    prefix: Prefix | None = None
    for tracks, own in inputs:
        made = _prefix(lm, adaptor, tracks, branches, settings)
        if made is not None:
            placed = _placed(made, own, len(requests))
            prefix = placed if prefix is None else prefix.joined(placed)
    return decode(
        lm,
        branch_sources(lm, source, branches),
        max(lengths),
        [branch.weight for branch in branches],
        prefix=prefix,
        sampler=Sampler(
            greedy=settings.greedy,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
        ),
        generators=generators,
        prompt=prompt,
        source_mask=mask.repeat(len(branches), 1),
        lengths=lengths,
    )


def _placed(prefix: Prefix, members: Sequence[int], batch: int) -> Prefix:
    """A prefix for blocks of `members` as one for blocks of the whole batch."""
    rows = prefix.rows if prefix.rows is not None else torch.arange(prefix.n_clips)
    n_own = len(members)
    index = torch.tensor(members, device=rows.device)
    return replace(prefix, rows=rows // n_own * batch + index[rows % n_own])


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
