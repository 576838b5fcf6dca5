"""The model one code frame at a time, steered by control rows that are appended as they come.

Position p of the delayed sequence reads the prefix rows 0..p, of which row p is what was seen at p / 50 s, and
draws codebook k of frame p - D_k; so frame f is finished with row f + max D. The prefix stream runs causally: a row
is computed once, from those before it, and stays. When a window is full (the length that was trained), its last
third becomes the beginning of the next one: the tokens that were drawn, and the rows of their time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.adaptor.guidance import Seen
from expotion.adaptor.project import TrackInput
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.music.compose import no_codes, sampler_of
from expotion.music.composer import Composer
from expotion.music.guidance import Branch, steered
from expotion.music.request import told_texts
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen import delay
from expotion.musicgen.gate import Prefix
from expotion.musicgen.generate import guide


@dataclass
class Rows:
    """What was seen of a control since the window began: values [n, D], valid [n], strength [n]."""

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    strength: NDArray[np.float32]

    def then(self, track: SmoothedTrack, strength: NDArray[np.float32]) -> Rows:
        """With more rows behind."""
        return Rows(
            np.concatenate([self.values, track.values]),
            np.concatenate([self.valid, track.valid]),
            np.concatenate([self.strength, strength]),
        )

    def cut(self, first: int, stop: int | None = None) -> Rows:
        """Some of the rows."""
        rows = slice(first, stop)
        return Rows(self.values[rows], self.valid[rows], self.strength[rows])

    @property
    def given(self) -> TrackInput:
        """As the adaptor takes them."""
        parts = (torch.from_numpy(part)[None] for part in (self.values, self.valid, self.strength))
        return TrackInput(*parts)


class Steps:
    """Codes for rows: `push` appends rows of all controls and draws what they allow.

    `text` and `negative` are what the model is told; `say` changes them from the next frame on.
    """

    def __init__(
        self,
        composer: Composer,
        steering: Steering,
        text: TokenFeatures | None,
        negative: TokenFeatures | None = None,
        known: Tensor | None = None,
        window_frames: int | None = None,
    ) -> None:
        """`steering` leaves nothing open. `known`: the first codes, int64 [K, P].

        `window_frames`: how far the model looks back at most, by default the length that it was trained on.
        """
        self._composer, self._steering = composer, steering
        self._text, self._negative = text, negative
        self._lm = composer.engine(steering.precision)
        geometry = self._lm.geometry
        self._special, self._delays = geometry.special_token, geometry.delays
        self._windows = Windows(window_frames or composer.window_frames)
        self._sampler = sampler_of(steering)
        self._generator = torch.Generator().manual_seed(steering.seed)
        self._heard: tuple[str, ...] = ()
        widths = {modality.name: modality.d_in for modality in composer.adaptor.config.modalities}
        self._rows = {name: Rows(np.zeros((0, w), np.float32), *_none()) for name, w in widths.items()}
        self._n_rows = 0
        self._first = 0
        self._known = no_codes(self._lm) if known is None else known
        self._columns = delay.build(self._known[None], self._special, self._delays, valid_only=True)[0]
        self._stale = True
        self._state: object = None
        self._branches: list[Branch] = []
        self._streams: dict[frozenset[str], Prefix] = {}
        self._sees: list[Seen] = []
        self._fed = 0

    @property
    def steady(self) -> bool:
        """Whether the engine's steps do not depend on torch's threads."""
        return self._lm.steady

    @property
    def behind(self) -> int:
        """Rows beyond a frame that it takes to finish it."""
        return max(self._delays)

    @property
    def _length(self) -> int:
        """Columns that are drawn of this window."""
        return self._columns.shape[-1]

    @property
    def made(self) -> int:
        """Frames whose codes are finished."""
        return max(self._known.shape[-1], self._first + self._columns.shape[-1] - 1 - max(self._delays))

    def say(self, text: TokenFeatures | None, negative: TokenFeatures | None = None) -> None:
        """Another text from here on."""
        self._text, self._negative, self._stale = text, negative, True

    def push(self, tracks: Mapping[str, SmoothedTrack], strengths: Mapping[str, NDArray[np.float32]]) -> Tensor:
        """Rows of every control in use, as many of each; codes int64 [K, m] of the frames that they finish."""
        count = len(next(iter(strengths.values())))
        heard = tuple(name for name in tracks if strengths[name].any() or name in self._heard)
        for name, rows in self._rows.items():
            track = tracks.get(name)
            if track is None:
                width = rows.values.shape[1]
                track = SmoothedTrack(np.zeros((count, width), np.float32), np.zeros(count, bool))
            self._rows[name] = rows.then(track, strengths.get(name, np.zeros(count, np.float32)))
        self._n_rows += count
        if heard != self._heard:
            self._heard, self._stale = heard, True
        return self.draw(self._first + self._n_rows)

    def draw(self, until: int) -> Tensor:
        """Draw every token up to position `until`; behind the last row it stands for all that follow."""
        done, pieces = self.made, []
        with torch.inference_mode():
            while self._first + self._length - 1 < until:
                if self._stale or self._length > self._windows.longest:
                    pieces.append(self._finished(done))
                    done = self.made
                    self._begin()
                self._steer()
                self._step()
        return torch.cat([*pieces, self._finished(done)], dim=1)

    def _finished(self, first: int) -> Tensor:
        """Codes of the frames first..made."""
        start, stop = first - self._first, self.made - self._first
        return torch.stack([self._columns[k, start + d + 1 : stop + d + 1] for k, d in enumerate(self._delays)])

    def _begin(self) -> None:
        """A new state whose prompt is what was drawn, at most a third of a window."""
        away = self._length - 1 - self._windows.overlap
        if away > 0:
            self._first += away
            self._columns = self._columns[:, away:].clone()
            for k, d in enumerate(self._delays):
                self._columns[k, : d + 1] = self._special
            self._rows = {name: rows.cut(away) for name, rows in self._rows.items()}
            self._n_rows -= away
        lm, null_branch = self._lm, self._composer.adaptor.config.null_branch
        negative = self._negative is not None
        self._branches, self._sees = steered(self._heard, self._steering, null_branch, negative=negative)
        self._streams = {}
        spoken = told_texts(lm, [self._text], [self._negative])
        rooms = self._windows.longest + max(self._delays) + 1
        self._extend()
        self._state = lm.start(
            torch.cat([spoken[branch.says][0] for branch in self._branches]),
            rooms,
            self._prefix(),
            source_mask=torch.cat([spoken[branch.says][1] for branch in self._branches]),
        )
        self._fed, self._stale = 0, False

    def _steer(self) -> None:
        """Rows that have come since."""
        if self._extend():
            prefix = self._prefix()
            assert prefix is not None
            self._lm.steer(self._state, prefix)  # type: ignore[arg-type]

    def _extend(self) -> bool:
        """Compute the rows that no stream has yet, as far as a window goes; whether there were any."""
        more = False
        for seen in {each for each in self._sees if each is not None}:
            past = self._streams.get(seen)
            start = 0 if past is None else past.n_rows
            stop = min(self._n_rows, self._room)
            if stop > start:
                given = {name: self._rows[name].cut(start, stop).given for name in seen}
                adaptor = self._composer.adaptor
                self._streams[seen] = adaptor.extended(self._lm, past, given, stop - start, open_=not seen)
                more = True
        return more

    @property
    def _room(self) -> int:
        """Rows of a window."""
        return self._windows.longest + 1

    def _prefix(self) -> Prefix | None:
        """All streams, each in the place of its branch, padded to what a window holds."""
        whole: Prefix | None = None
        for block, seen in enumerate(self._sees):
            if seen is None or seen not in self._streams:
                continue
            placed = (
                self._streams[seen]
                .padded(self._room)
                .taken(torch.zeros(1, dtype=torch.int64), torch.tensor([block]))
            )
            whole = placed if whole is None else whole.joined(placed)
        return whole

    def _step(self) -> None:
        """Feed what is not fed yet, draw the next column."""
        n_branches = len(self._branches)
        tokens = self._columns[None, :, self._fed :]
        logits = self._lm.step(tokens.repeat(n_branches, 1, 1), self._state)  # type: ignore[arg-type]
        self._fed = self._length
        if n_branches > 1:
            logits = guide(logits, [branch.weight for branch in self._branches])
        drawn = self._sampler(logits, [self._generator])[0]
        for k, d in enumerate(self._delays):
            frame = self._first + self._length - d - 1
            if frame < 0:
                drawn[k] = self._special
            elif frame < self._known.shape[-1]:
                drawn[k] = self._known[k, frame]
        self._columns = torch.cat([self._columns, drawn[:, None]], dim=1)


def _none() -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    return np.zeros(0, bool), np.zeros(0, np.float32)
