"""A request: what music is asked of the model for one clip, and what of it the model is told.

Texts are projected prompts, padded to one length; a melody model hears its melody's chroma in front of the music.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.prefix import FrozenLM
from expotion.adaptor.project import TrackInput
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.features.material import Prompts
from expotion.music.guidance import Says
from expotion.music.steering import Steering
from expotion.musicgen.geometry import LMGeometry
from expotion.musicgen.melody import chroma_of
from expotion.recipe.schema import Generate
from expotion.timeline import CODEC_RATE_HZ, n_steps
from expotion.video.audio import load_audio


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


def request_for_all(asked: Generate | Steering, texts: Prompts, geometry: LMGeometry) -> Request:
    """A request without a clip: melody, later prompts and the one to stay away from, which all clips share.

    Raises as `melody_of`.
    """
    return Request(
        0,
        None,
        melody=melody_of(asked.melody, geometry),
        later=[(n_steps(each.at_s, CODEC_RATE_HZ), texts[each.prompt]) for each in asked.prompt_at],
        negative=None if asked.negative is None else texts[asked.negative],
    )


# ------------------------------------------------------------------------------------------- what the model is told


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
    longest = max(mask.shape[1] for _, mask in spoken.values())
    for says, (source, mask) in spoken.items():
        more = longest - mask.shape[1]  # rows that nobody attends to
        spoken[says] = functional.pad(source, (0, 0, 0, more)).to(lm.dtype), functional.pad(mask, (0, more))
    spoken["nothing"] = lm.null_text(spoken["prompt"][0]), spoken["prompt"][1]
    return spoken


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


# --------------------------------------------------------------------------------------------- what the adaptor is


def request_inputs(adaptor: Adaptor, requests: Sequence[Request], start: int, stop: int) -> dict[str, TrackInput]:
    """Rows start..stop of every modality that some request has; the others of the batch drop it."""
    inputs: dict[str, TrackInput] = {}
    shape = len(requests), stop - start + 1
    for modality in adaptor.config.modalities:
        name, width = modality.name, modality.d_in
        values, valid, keep = (
            np.zeros((*shape, width), np.float32),
            np.zeros(shape, bool),
            np.zeros(shape, np.float32),
        )
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
