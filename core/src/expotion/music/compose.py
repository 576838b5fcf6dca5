"""Composing: requests in, codes out. Requests of any lengths share the steps of the decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.guidance import branches_prefix, guided_prefix
from expotion.adaptor.prefix import FrozenLM
from expotion.adaptor.project import TrackInput
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.errors import ExpotionError, Problem
from expotion.music.guidance import Branch, plan
from expotion.music.steering import Steering
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.gate import Prefix
from expotion.musicgen.generate import Decoding, Sampler, decode
from expotion.musicgen.text import pad_text
from expotion.recipe.schema import Sampling

# How a clip of any length is covered by windows that the model was trained for.


@dataclass(frozen=True)
class Windows:
    """The longest stretch decoded at once, in frames (the length trained on), and how many of it are continued.

    By default a window continues a third of the one before.
    """

    longest: int = 500
    continued: int | None = None

    @property
    def overlap(self) -> int:
        """Frames continued from the window before."""
        return self.longest // 3 if self.continued is None else self.continued


@dataclass(frozen=True)
class FrameWindow:
    """Frames `start..stop` are covered; the first `n_prompt` of them are already known."""

    start: int
    stop: int
    n_prompt: int

    @property
    def n_frames(self) -> int:
        """Frames in the window, known ones included."""
        return self.stop - self.start


def cover(n_frames: int, longest: int, overlap: int) -> list[FrameWindow]:
    """Windows of at most `longest` frames that cover `n_frames`, each continuing `overlap` frames of the last.

    The last window is moved back so that it is as long as the others (its prompt is then longer): a model
    that was trained on windows of one length is never asked for a short one, unless the clip itself is short.
    """
    if not 0 <= overlap < longest:
        raise ValueError(f"overlap must be in 0..{longest - 1}, got {overlap}")
    windows = [FrameWindow(0, min(n_frames, longest), 0)]
    while windows[-1].stop < n_frames:
        done = windows[-1].stop
        stop = min(n_frames, done - overlap + longest)
        start = stop - longest
        windows.append(FrameWindow(start, stop, done - start))
    return windows


# What is asked for: music for one clip, and how requests become a batch for the adaptor and the model.


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


def text_sources(lm: FrozenLM, texts: Sequence[TokenFeatures | None]) -> tuple[Tensor, Tensor]:
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


Progress = Callable[[int, int], None]


def compose(
    lm: Engine,
    adaptor: Adaptor | None,
    requests: Sequence[Request],
    steering: Steering,
    windows: Windows,
    *,
    on_step: Progress | None = None,
) -> list[Tensor]:
    """Codes int64 [K, n_frames] for each request; `on_step(frames done, frames in all)` reports progress.

    Of `steering`, which leaves nothing open (`Steering.over`), guidance and sampling count here; text, strengths
    and seeds are those of the requests.

    Requests of any lengths are decoded together, a window of each at a time. A request draws from a generator of
    its own, so what it yields does not depend on its neighbours. Without an adaptor, or with every strength 0, the
    codes are exactly those of the frozen model.
    """
    turns = _turns([_cover(request, windows) for request in requests])
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
            steering,
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


def _cover(request: Request, windows: Windows) -> list[FrameWindow]:
    if request.n_frames < 1:
        raise ExpotionError(Problem("compose", "at least one frame", str(request.n_frames)))
    return cover(request.n_frames, windows.longest, windows.overlap)


def _prompt(known: Sequence[Tensor | None], window: FrameWindow) -> Tensor | None:
    """The frames [B, K, n_prompt] that a window continues."""
    if window.n_prompt == 0:
        return None
    span = slice(window.start, window.start + window.n_prompt)
    return torch.stack([codes[:, span] for codes in known if codes is not None])


def continue_codes(
    lm: Engine,
    adaptor: Adaptor | None,
    request: Request,
    steering: Steering,
    known: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """One window of codes int64 [K, n_frames] that begins with the known ones [K, P], P < n_frames."""
    prompt = None if known is None else known[None]
    steps = _window(lm, adaptor, [request], steering, [(0, request.n_frames)], prompt, [generator])
    *_, (decoding, _) = steps
    return decoding.codes()[0]


def compose_pieces(
    lm: Engine, adaptor: Adaptor | None, request: Request, steering: Steering, windows: Windows
) -> Iterator[Tensor]:
    """Codes int64 [K, m] of one request, piece by piece as frames are finished."""
    generators = [torch.Generator().manual_seed(request.seed)]
    known: Tensor | None = None
    for window in _cover(request, windows):
        done = window.n_prompt
        spans = [(window.start, window.stop)]
        prompt = _prompt([known], window)
        for decoding, step in _window(lm, adaptor, [request], steering, spans, prompt, generators):
            finished = decoding.finished(step)
            if finished > done:
                yield decoding.frames(done, finished)[0]
                done = finished
        fresh = decoding.codes()[0, :, window.n_prompt :]
        known = fresh if known is None else torch.cat([known, fresh], dim=-1)


def _window(
    lm: Engine,
    adaptor: Adaptor | None,
    requests: Sequence[Request],
    steering: Steering,
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
    branches = plan(heard, steering.cfg_scale, steering.control_scale, steering.guidance)
    prefix: Prefix | None = None
    for tracks, own in inputs:
        made = _prefix(lm, adaptor, tracks, branches, steering)
        if made is not None:
            placed = _placed(made, own, len(requests))
            prefix = placed if prefix is None else prefix.joined(placed)
    return decode(
        lm,
        branch_sources(lm, source, branches),
        max(lengths),
        [branch.weight for branch in branches],
        prefix=prefix,
        sampler=sampler_of(steering),
        generators=generators,
        prompt=prompt,
        source_mask=mask.repeat(len(branches), 1),
        lengths=lengths,
    )


def sampler_of(sampling: Sampling) -> Sampler:
    """What draws tokens: the fields that settings and sampler both have."""
    own = [each.name for each in fields(Sampler)]
    return Sampler(**{name: getattr(sampling, name) for name in own if name in type(sampling).model_fields})


def _placed(prefix: Prefix, members: Sequence[int], batch: int) -> Prefix:
    """A prefix for blocks of `members` as one for blocks of the whole batch."""
    rows = prefix.rows if prefix.rows is not None else torch.arange(prefix.n_clips)
    n_own = len(members)
    index = torch.tensor(members, device=rows.device)
    return replace(prefix, rows=rows // n_own * batch + index[rows % n_own])


def branch_sources(lm: Engine, source: Tensor, branches: Sequence[Branch]) -> Tensor:
    """Text sources [n B, L, d]: a block for each branch, zeros where it does not see the text."""
    source = source.to(lm.dtype)
    return torch.cat([source if branch.text else torch.zeros_like(source) for branch in branches])


@torch.inference_mode()
def _prefix(
    lm: Engine,
    adaptor: Adaptor | None,
    inputs: Mapping[str, TrackInput],
    branches: Sequence[Branch],
    steering: Steering,
) -> Prefix | None:
    if adaptor is None or not inputs:
        return None
    together = steering.control_scale is None and not steering.guidance
    if together and adaptor.config.null_branch != "none" and len(branches) == 2:
        return guided_prefix(adaptor, lm, inputs)
    return branches_prefix(adaptor, lm, inputs, [branch.controls for branch in branches])
