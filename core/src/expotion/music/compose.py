"""Composing: requests in, codes out. Requests of any lengths share the steps of the decoder."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.guidance import branches_prefix, guided_prefix
from expotion.adaptor.prefix import FrozenLM
from expotion.adaptor.project import TrackInput
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.features.material import Prompts
from expotion.music.guidance import Branch, Says, plan
from expotion.music.steering import Steering
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.gate import Prefix
from expotion.musicgen.generate import Decoding, Sampler, decode
from expotion.musicgen.geometry import LMGeometry
from expotion.musicgen.melody import chroma_of
from expotion.recipe.schema import PromptAt, Sampling
from expotion.timeline import CODEC_RATE_HZ, n_steps
from expotion.video.audio import load_audio


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


def cover(n_frames: int, longest: int, overlap: int, n_known: int = 0) -> list[FrameWindow]:
    """Windows of at most `longest` frames that cover `n_frames`, each continuing `overlap` frames of the last.

    The first `n_known` frames are there already.

    The last window is moved back so that it is as long as the others (its prompt is then longer): a model
    that was trained on windows of one length is never asked for a short one, unless the clip itself is short.
    """
    if n_frames < 1:
        raise ExpotionError(Problem("compose", "at least one frame", str(n_frames)))
    if not 0 <= overlap < longest:
        raise ValueError(f"overlap must be in 0..{longest - 1}, got {overlap}")
    if not 0 <= n_known < min(n_frames, longest):
        wanted = f"fewer than {min(n_frames, longest)} frames to start from"
        raise ExpotionError(Problem("compose", wanted, str(n_known)))
    windows = [FrameWindow(0, min(n_frames, longest), n_known)]
    while windows[-1].stop < n_frames:
        done = windows[-1].stop
        stop = min(n_frames, done - overlap + longest)
        start = stop - longest
        windows.append(FrameWindow(start, stop, done - start))
    return windows


@dataclass(frozen=True)
class Request:
    """Music for one clip: `n_frames` codec frames, a prompt, and smoothed tracks [n_frames + 1, D_i] by name.

    A strength is a number or one for each row, float [n_frames + 1]. A modality without a track, or with strength 0
    throughout, is dropped. `melody`: samples float32 [n] at the model's rate, for a melody model. `later`: texts in
    place of `text`, each from a frame on, in order; `negative`: a text to stay away from; `known`: the first codes,
    int64 [K, P], which stand as they are.
    """

    n_frames: int
    text: TokenFeatures | None
    tracks: Mapping[str, SmoothedTrack] = field(default_factory=dict)
    strengths: Mapping[str, float | NDArray[np.floating]] = field(default_factory=dict)
    seed: int = 0
    melody: NDArray[np.float32] | None = None
    later: Sequence[tuple[int, TokenFeatures]] = ()
    negative: TokenFeatures | None = None
    known: Tensor | None = None

    def text_at(self, frame: int) -> TokenFeatures | None:
        """The text in force at a frame."""
        return next((text for first, text in reversed(self.later) if first <= frame), self.text)

    def cut(self, first: int, stop: int) -> Request:
        """The same for the frames first..stop alone, counted from there; the known codes come first there, too."""
        rows = slice(first, stop + 1)
        return replace(
            self,
            n_frames=stop - first,
            text=self.text_at(first),
            tracks={n: SmoothedTrack(t.values[rows], t.valid[rows]) for n, t in self.tracks.items()},
            strengths={n: s if np.ndim(s) == 0 else np.asarray(s)[rows] for n, s in self.strengths.items()},
            later=[(frame - first, text) for frame, text in self.later if frame > first],
        )

    @property
    def n_known(self) -> int:
        """How many of the first codes are known."""
        return 0 if self.known is None else self.known.shape[-1]


def later_texts(prompts: Sequence[PromptAt], texts: Prompts, rate_hz: float) -> list[tuple[int, TokenFeatures]]:
    """The texts of prompts over time, each with the code frame of its time."""
    return [(n_steps(each.at_s, rate_hz), texts[each.prompt]) for each in prompts]


def text_sources(
    lm: FrozenLM, texts: Sequence[TokenFeatures | None], melody: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Projected prompts [B, L, d], padded to the longest, and which rows are a prompt's own, bool [B, L].

    Of a melody model: all that stands in front of the music, with the `melody` [B, rows, classes], if any.

    audiocraft attends to the padding, which makes what a prompt says depend on the longest of its batch; here
    the padding is hidden, so that each prompt means what it means alone. No prompt is one row of zeros.
    """
    width = lm.geometry.text_width or lm.geometry.width
    none = TokenFeatures(np.zeros((1, width), np.float32), np.zeros(1, np.bool_))
    own = [none if text is None else text for text in texts]
    hidden = pad_sequence([torch.from_numpy(text.values).float() for text in own], batch_first=True)
    mask = pad_sequence([torch.from_numpy(text.mask) for text in own], batch_first=True)
    lengths = torch.tensor([len(text.mask) for text in own])
    own_rows = torch.arange(mask.shape[1])[None, :] < lengths[:, None]
    return lm.project_text(hidden, mask, melody), own_rows


def melody_of(path: Path | None, geometry: LMGeometry) -> NDArray[np.float32] | None:
    """The sound of a melody's file as the model hears it; None without one.

    Raises ExpotionError where the model hears no melody, MediaError for a file without sound.
    """
    if path is None:
        return None
    if geometry.chroma is None:
        fix = "leave it out, or take a melody model: backbone hf:facebook/musicgen-melody"
        raise ExpotionError(Problem(f"melody {path}", "a model that hears one", "a MusicGen without", fix))
    samples = load_audio(path, geometry.chroma.sample_rate_hz)
    if samples is None or len(samples) == 0:
        raise MediaError(Problem(f"melody {path}", "a file with sound", "none", "give a file with a sound track"))
    return samples


def chroma_rows(lm: FrozenLM, requests: Sequence[Request], start_s: float) -> Tensor | None:
    """Chroma of the requests' melodies from a time on, zeros for those without; None where none has one."""
    chroma = lm.geometry.chroma
    if chroma is None or all(request.melody is None for request in requests):
        return None
    first = round(start_s * chroma.sample_rate_hz)
    rows = torch.zeros(len(requests), chroma.length, chroma.width)
    for row, request in zip(rows, requests, strict=True):
        if request.melody is not None:
            row.copy_(chroma_of(np.roll(request.melody, -first), chroma))  # it is repeated
    return rows


def request_inputs(adaptor: Adaptor, requests: Sequence[Request], start: int, stop: int) -> dict[str, TrackInput]:
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
            inputs[name] = TrackInput(torch.from_numpy(values), torch.from_numpy(valid), torch.from_numpy(keep))
    return inputs


def _check(name: str, track: SmoothedTrack, n_rows: int, width: int) -> None:
    """Shape and finiteness of a track; the rows that are not finite are named by their times."""
    where = f"control '{name}'"
    if track.values.shape != (n_rows, width):
        fix = "use the encoder and options that the adaptor was trained with"
        raise ExpotionError(Problem(where, f"[{n_rows}, {width}] rows", str(list(track.values.shape)), fix))
    bad = np.flatnonzero(~np.isfinite(track.values).all(axis=1) & track.valid)
    if len(bad):
        got = f"NaN or infinity in {len(bad)} of {n_rows} rows, the first at row {bad[0]}"
        fix = "mark such samples valid=False in the encoder, or extract the clip's features again"
        raise ExpotionError(Problem(where, "finite features", got, fix))


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
    turns = _turns(requests, windows, lm)
    generators = [torch.Generator().manual_seed(request.seed) for request in requests]
    codes = [no_codes(lm) if request.known is None else request.known for request in requests]
    total, before = sum(turn.n_new for turn in turns), 0
    for turn in turns:
        for decoding, step in _decode(lm, adaptor, requests, steering, turn, codes, generators):
            if on_step is not None:
                on_step(before + max(0, decoding.finished(step) - turn.n_prompt), total)
        before += turn.n_new
    return codes


def compose_pieces(
    lm: Engine, adaptor: Adaptor | None, request: Request, steering: Steering, windows: Windows
) -> Iterator[Tensor]:
    """Codes int64 [K, m] of one request, piece by piece as frames are finished."""
    generators = [torch.Generator().manual_seed(request.seed)]
    codes = [no_codes(lm) if request.known is None else request.known]
    if request.known is not None:
        yield request.known
    for turn in _turns([request], windows, lm):
        done = turn.n_prompt
        for decoding, step in _decode(lm, adaptor, [request], steering, turn, codes, generators):
            finished = decoding.finished(step)
            if finished > done:
                yield decoding.frames(done, finished)[0]
                done = finished


def no_codes(lm: Engine) -> Tensor:
    """Codes int64 [K, 0]: what is known of a piece before it is begun."""
    return torch.empty(lm.geometry.n_codebooks, 0, dtype=torch.int64)


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


def _turns(requests: Sequence[Request], windows: Windows, lm: FrozenLM) -> list[_Turn]:
    """The first windows of all requests, then the second ones; the last of a long clip has a prompt of its own.

    Where the text changes inside a window it is left, and taken up again under the new text with all that was made
    of it as its prompt: codes before the change are drawn under the old text, those from it on under the new.
    Where the text stands in front of the music, requests of one turn have texts of one length: none is padded.
    """
    apart = lm.geometry.chroma is not None
    turns: dict[tuple[int, int, int, int, int, int], _Turn] = {}
    for index, request in enumerate(requests):
        covers = cover(request.n_frames, windows.longest, windows.overlap, request.n_known)
        for number, window in enumerate(covers):
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


def _decode(
    lm: Engine,
    adaptor: Adaptor | None,
    requests: Sequence[Request],
    steering: Steering,
    turn: _Turn,
    codes: list[Tensor],
    generators: Sequence[torch.Generator],
) -> Iterator[tuple[Decoding, int]]:
    """Decode a turn step by step, and at its end add the new frames to the `codes` [K, T] of its requests."""
    own, which = _but_for_seeds([requests[index] for index in turn.stops])
    melody = chroma_rows(lm, own, turn.start / CODEC_RATE_HZ)
    texts = [request.text_at(turn.first) for request in own]
    spoken = told_texts(lm, texts, [request.negative for request in own], melody)
    stops = dict(zip(which.tolist(), turn.stops.values(), strict=True))
    branches, prefix = _conditions(lm, adaptor, own, steering, turn.start, list(stops.values()))
    if prefix is not None and len(own) < len(which):
        prefix = _for_takes(prefix, len(own), which)
    known = slice(turn.start, turn.start + turn.n_prompt)
    lengths = [end - turn.start for end in turn.ends.values()]
    for decoding, step in decode(
        lm,
        torch.cat([spoken[branch.says][0][which] for branch in branches]),
        max(lengths),
        [branch.weight for branch in branches],
        prefix=prefix,
        sampler=sampler_of(steering),
        generators=[generators[index] for index in turn.stops],
        prompt=torch.stack([codes[index][:, known] for index in turn.stops]),
        source_mask=torch.cat([spoken[branch.says][1][which] for branch in branches]),
        lengths=lengths,
    ):
        yield decoding, step
    for index, length, made in zip(turn.stops, lengths, decoding.codes(), strict=True):
        codes[index] = torch.cat([codes[index], made[:, turn.n_prompt : length]], dim=-1)


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


def told_texts(
    lm: FrozenLM,
    texts: Sequence[TokenFeatures | None],
    negatives: Sequence[TokenFeatures | None],
    melody: Tensor | None = None,
) -> dict[Says, tuple[Tensor, Tensor]]:
    """What each kind of branch is told in words: sources [B, L, d] and masks [B, L] of one length."""
    spoken: dict[Says, tuple[Tensor, Tensor]] = {"prompt": text_sources(lm, texts, melody)}
    if any(negative is not None for negative in negatives):
        spoken["negative"] = text_sources(lm, negatives)
        spoken = _of_one_length(spoken)
    spoken = {says: (source.to(lm.dtype), mask) for says, (source, mask) in spoken.items()}
    spoken["nothing"] = lm.null_text(spoken["prompt"][0]), spoken["prompt"][1]
    return spoken


def _of_one_length(spoken: Mapping[Says, tuple[Tensor, Tensor]]) -> dict[Says, tuple[Tensor, Tensor]]:
    """Sources [B, L, d] and masks [B, L] padded to the longest L with rows that nobody attends to."""
    longest = max(mask.shape[1] for _, mask in spoken.values())
    padded: dict[Says, tuple[Tensor, Tensor]] = {}
    for says, (source, mask) in spoken.items():
        more = longest - mask.shape[1]
        padded[says] = functional.pad(source, (0, 0, 0, more)), functional.pad(mask, (0, more))
    return padded


def sampler_of(sampling: Sampling) -> Sampler:
    """What draws tokens: the fields that settings and sampler both have."""
    return Sampler(**sampling.model_dump(include={each.name for each in fields(Sampler)}))


@torch.inference_mode()
def _conditions(
    lm: Engine,
    adaptor: Adaptor | None,
    requests: Sequence[Request],
    steering: Steering,
    start: int,
    stops: Sequence[int],
) -> tuple[list[Branch], Prefix | None]:
    """The branches of guidance, and the prefix that the controls of frames start..stop give to the whole batch."""
    against = any(request.negative is not None for request in requests)
    planned = functools.partial(
        plan,
        text_scale=steering.cfg_scale,
        control_scale=steering.control_scale,
        scales=steering.guidance,
        negative=against,
    )
    if adaptor is None:
        return planned(()), None
    members: dict[int, list[int]] = {}
    for place, stop in enumerate(stops):
        members.setdefault(stop, []).append(place)
    inputs = {
        stop: request_inputs(adaptor, [requests[place] for place in own], start, stop)
        for stop, own in members.items()
    }
    heard = [m.name for m in adaptor.config.modalities if any(m.name in tracks for tracks in inputs.values())]
    branches = planned(heard)
    one_scale = steering.control_scale is None and not steering.guidance
    whole: Prefix | None = None
    for stop, tracks in inputs.items():
        if one_scale and len(branches) == 2 + against:
            prefix = guided_prefix(adaptor, lm, tracks, n_null=1 + against)
        else:
            prefix = branches_prefix(adaptor, lm, tracks, [branch.controls for branch in branches])
        if prefix is None:
            continue
        assert prefix.rows is not None  # blocks are placed by rows
        # From rows of blocks of these requests to rows of blocks of the whole batch.
        n_own, places = len(members[stop]), torch.tensor(members[stop], device=prefix.rows.device)
        rows = prefix.rows // n_own * len(requests) + places[prefix.rows % n_own]
        placed = replace(prefix, rows=rows)
        whole = placed if whole is None else whole.joined(placed)
    return branches, whole
