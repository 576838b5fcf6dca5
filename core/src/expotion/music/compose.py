"""Composing: requests in, codes out. Requests of any lengths share the steps of the decoder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.guidance import branches_prefix
from expotion.music.guidance import Branch, steered
from expotion.music.request import Request, chroma_rows, request_inputs, told_texts
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.gate import Prefix
from expotion.musicgen.generate import Decoding, Sampler, decode
from expotion.recipe.schema import Sampling
from expotion.timeline import CODEC_RATE_HZ

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
    work = _Work(lm, adaptor, requests, steering, windows)
    turns = work.turns()
    total, before = sum(turn.n_new for turn in turns), 0
    for turn in turns:
        for decoding, step in work.decode(turn):
            if on_step is not None:
                on_step(before + max(0, decoding.finished(step) - turn.n_prompt), total)
        before += turn.n_new
    return work.codes


def compose_pieces(
    lm: Engine, adaptor: Adaptor | None, request: Request, steering: Steering, windows: Windows
) -> Iterator[Tensor]:
    """Codes int64 [K, m] of one request, piece by piece as frames are finished."""
    work = _Work(lm, adaptor, [request], steering, windows)
    if request.known is not None:
        yield request.known
    for turn in work.turns():
        done = turn.n_prompt
        for decoding, step in work.decode(turn):
            finished = decoding.finished(step)
            if finished > done:
                yield decoding.frames(done, finished)[0]
                done = finished


def no_codes(lm: Engine) -> Tensor:
    """Codes int64 [K, 0]: what is known of a piece before it is begun."""
    return torch.empty(lm.geometry.n_codebooks, 0, dtype=torch.int64)


def sampler_of(sampling: Sampling) -> Sampler:
    """What draws tokens: the fields that settings and sampler both have."""
    return Sampler(**sampling.model_dump(include={each.name for each in fields(Sampler)}))


@dataclass(frozen=True)
class _Turn:
    """Windows of several requests, decoded together: one start, one number of known frames, an end by index.

    A window stops where its controls end, and is decoded as far as `ends`: up to where its text changes.
    """

    start: int
    n_prompt: int
    stops: dict[int, int]
    ends: dict[int, int]

    @property
    def first(self) -> int:
        """The first frame that is decoded."""
        return self.start + self.n_prompt

    @property
    def n_new(self) -> int:
        return max(self.ends.values()) - self.first


class _Work:
    """Requests on their way: the `codes` int64 [K, T] made of each so far, and what each draws from."""

    def __init__(
        self, lm: Engine, adaptor: Adaptor | None, requests: Sequence[Request], steering: Steering, windows: Windows
    ) -> None:
        self.lm, self.adaptor, self.requests = lm, adaptor, requests
        self.steering, self.windows = steering, windows
        self.codes = [no_codes(lm) if request.known is None else request.known for request in requests]
        self.generators = [torch.Generator().manual_seed(request.seed) for request in requests]

    def turns(self) -> list[_Turn]:
        """The first windows of all requests, then the second ones; the last of a long clip has a prompt of its own.

        Where the text changes inside a window it is left, and taken up again under the new text with all that was
        made of it as its prompt: codes before the change are drawn under the old text, those from it on under the
        new. Where the text stands in front of the music, requests of one turn have texts of one length: none is
        padded.
        """
        apart = self.lm.geometry.chroma is not None
        turns: dict[tuple[int, int, int, int, int, int], _Turn] = {}
        for index, request in enumerate(self.requests):
            for number, window in enumerate(self.windows.cover(request.n_frames, request.n_known)):
                begin = window.start + window.n_prompt
                changes = [frame for frame, _ in request.later if begin < frame < window.stop]
                for part, (first, end) in enumerate(itertools.pairwise([begin, *changes, window.stop])):
                    text = request.text_at(first) if apart else None
                    length = 0 if text is None else len(text.mask)
                    new = _Turn(window.start, first - window.start, {}, {})
                    left = end if end < window.stop else 0  # it goes on: its draws must not depend on who is longer
                    turn = turns.setdefault((number, part, window.start, new.n_prompt, length, left), new)
                    turn.stops[index], turn.ends[index] = window.stop, end
        return [turns[key] for key in sorted(turns, key=lambda key: key[:2])]

    def decode(self, turn: _Turn) -> Iterator[tuple[Decoding, int]]:
        """Decode a turn step by step, and at its end add the new frames to the codes of its requests."""
        own, which = _but_for_seeds([self.requests[index] for index in turn.stops])
        melody = chroma_rows(self.lm, own, turn.start / CODEC_RATE_HZ)
        texts = [request.text_at(turn.first) for request in own]
        spoken = told_texts(self.lm, texts, [request.negative for request in own], melody)
        stops = dict(zip(which.tolist(), turn.stops.values(), strict=True))
        branches, prefix = self._conditions(own, turn.start, list(stops.values()))
        if prefix is not None and len(own) < len(which):
            prefix = _for_takes(prefix, len(own), which)
        known = slice(turn.start, turn.first)
        lengths = [end - turn.start for end in turn.ends.values()]
        for decoding, step in decode(
            self.lm,
            torch.cat([spoken[branch.says][0][which] for branch in branches]),
            max(lengths),
            [branch.weight for branch in branches],
            prefix=prefix,
            sampler=sampler_of(self.steering),
            generators=[self.generators[index] for index in turn.stops],
            prompt=torch.stack([self.codes[index][:, known] for index in turn.stops]),
            source_mask=torch.cat([spoken[branch.says][1][which] for branch in branches]),
            lengths=lengths,
        ):
            yield decoding, step
        for index, length, made in zip(turn.stops, lengths, decoding.codes(), strict=True):
            self.codes[index] = torch.cat([self.codes[index], made[:, turn.n_prompt : length]], dim=-1)

    @torch.inference_mode()
    def _conditions(
        self, requests: Sequence[Request], start: int, stops: Sequence[int]
    ) -> tuple[list[Branch], Prefix | None]:
        """The branches of guidance, and the prefix that the controls of frames start..stop give to the batch."""
        adaptor, against = self.adaptor, any(request.negative is not None for request in requests)
        if adaptor is None:
            return steered((), self.steering, "none", negative=against)[0], None
        members: dict[int, list[int]] = {}
        for place, stop in enumerate(stops):
            members.setdefault(stop, []).append(place)
        inputs = {
            stop: request_inputs(adaptor, [requests[place] for place in own], start, stop)
            for stop, own in members.items()
        }
        heard = [m.name for m in adaptor.config.modalities if any(m.name in tracks for tracks in inputs.values())]
        branches, seen = steered(heard, self.steering, adaptor.config.null_branch, negative=against)
        whole: Prefix | None = None
        for stop, tracks in inputs.items():
            prefix = branches_prefix(adaptor, self.lm, tracks, seen)
            if prefix is None:
                continue
            assert prefix.rows is not None  # blocks are placed by rows
            # From rows of blocks of these requests to rows of blocks of the whole batch.
            n_own, places = len(members[stop]), torch.tensor(members[stop], device=prefix.rows.device)
            rows = prefix.rows // n_own * len(requests) + places[prefix.rows % n_own]
            placed = replace(prefix, rows=rows)
            whole = placed if whole is None else whole.joined(placed)
        return branches, whole


def _but_for_seeds(requests: Sequence[Request]) -> tuple[list[Request], Tensor]:
    """Requests of which no two differ in their seed alone, and which of them stands for each, int64 [B].

    What does not depend on the seed is computed for these, so that a take's last bits do not depend on how many
    there are beside it.
    """
    own: dict[tuple[object, ...], int] = {}
    firsts, which = [], []
    for request in requests:
        parts = (getattr(request, each.name) for each in fields(Request) if each.name not in ("seed", "n_frames"))
        key = (request.n_frames, *map(id, parts))
        if key not in own:
            firsts.append(request)
        which.append(own.setdefault(key, len(own)))
    return firsts, torch.tensor(which)


def _for_takes(prefix: Prefix, n_own: int, which: Tensor) -> Prefix:
    """The prefix of blocks of `n_own` rows for blocks in which row i is like row `which[i]` of those."""
    assert prefix.rows is not None  # blocks are placed by rows
    entries, rows = [], []
    for entry, row in enumerate(prefix.rows.tolist()):
        block, one = divmod(row, n_own)
        places = (which == one).nonzero()[:, 0]
        entries += [entry] * len(places)
        rows.append(places + block * len(which))
    return prefix.taken(torch.tensor(entries), torch.cat(rows))
