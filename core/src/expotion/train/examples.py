"""What the loop trains on: codes, text and controls of every clip, stacked once and kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.contracts import Clip, Encoder
from expotion.errors import ExpotionError, Problem
from expotion.features.material import Prompts, Tracks, prompt_of, smooth_all
from expotion.recipe import Recipe


@dataclass(frozen=True)
class Examples:
    """N clips of one length. Shapes: K codebooks, T frames, R = T + 1 control rows, D_i widths.

    `codes` int64 [N, K, T]; `n_frames` int64 [N], frames that are real (shorter clips are masked, never padded
    with a code that is scored); `text` float32 [N, L, d_text] hidden states and `text_mask` bool [N, L];
    `controls` name -> float32 [N, R, D_i]; `valid` name -> bool [N, R].
    """

    codes: Tensor
    n_frames: Tensor
    text: Tensor
    text_mask: Tensor
    controls: dict[str, Tensor]
    valid: dict[str, Tensor]

    def __post_init__(self) -> None:
        n, _, n_frames = self.codes.shape
        problems = []
        for name, track in self.controls.items():
            where = f"control '{name}'"
            if tuple(track.shape[:2]) != (n, n_frames + 1):
                wanted = f"[{n}, {n_frames + 1}, D] rows to match the codes"
                problems.append(Problem(where, wanted, str(list(track.shape))))
            elif not bool(torch.isfinite(track).all()):
                clips = torch.nonzero(~torch.isfinite(track).all(-1).all(-1)).flatten().tolist()
                got, fix = (
                    f"NaN or infinity in clips {clips[:8]}",
                    "check the encoder with `expotion plugin check`",
                )
                problems.append(Problem(where, "finite features", got, fix))
        if problems:
            raise ExpotionError(problems)

    def __len__(self) -> int:
        return len(self.codes)

    def each(self, change: Callable[[Tensor], Tensor]) -> Examples:
        """The examples with every tensor changed."""
        return Examples(
            codes=change(self.codes),
            n_frames=change(self.n_frames),
            text=change(self.text),
            text_mask=change(self.text_mask),
            controls={name: change(track) for name, track in self.controls.items()},
            valid={name: change(valid) for name, valid in self.valid.items()},
        )

    def take(self, index: NDArray[np.int64]) -> Examples:
        """The examples at these positions."""
        at = torch.from_numpy(np.asarray(index, dtype=np.int64))
        return self.each(lambda tensor: tensor[at])

    def stretch(self, start: int, length: int) -> Examples:
        """Frames start .. start + length - 1 of every clip, with one control row more."""
        rows = slice(start, start + length + 1)
        return replace(
            self,
            codes=self.codes[..., start : start + length],
            n_frames=(self.n_frames - start).clamp(0, length),
            controls={name: track[:, rows] for name, track in self.controls.items()},
            valid={name: valid[:, rows] for name, valid in self.valid.items()},
        )

    def to(self, device: torch.device) -> Examples:
        """The same examples on another device."""
        return self if self.codes.device == device else self.each(lambda tensor: tensor.to(device))


def stack_examples(
    recipe: Recipe,
    encoders: Mapping[str, Encoder],
    clips: Sequence[Clip],
    made: Tracks,
    prompts: Prompts,
    rate_hz: float,
) -> Examples:
    """Training examples of the clips that have both codes and tracks. Shorter clips are masked at their end."""
    codes, tracks = made.codes, made.tracks
    usable = [clip for clip in clips if clip.id in codes and clip.id in tracks]
    if not usable:
        fix = "see the failures above"
        raise ExpotionError(Problem("train", "at least one usable training clip", "none", fix))
    lengths = [codes[clip.id].shape[1] for clip in usable]
    longest = max(lengths)
    stacked = torch.zeros(len(usable), len(codes[usable[0].id]), longest, dtype=torch.int64)
    controls: dict[str, list[NDArray[np.float32]]] = {name: [] for name in encoders}
    valid: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in encoders}
    texts = [prompts[prompt_of(recipe, clip)] for clip in usable]
    n_tokens = max(len(text.mask) for text in texts)
    hidden = torch.zeros(len(usable), n_tokens, texts[0].values.shape[1])
    mask = torch.zeros(len(usable), n_tokens, dtype=torch.bool)
    for i, (clip, text) in enumerate(zip(usable, texts, strict=True)):
        stacked[i, :, : lengths[i]] = torch.from_numpy(codes[clip.id])
        hidden[i, : len(text.mask)] = torch.from_numpy(text.values)
        mask[i, : len(text.mask)] = torch.from_numpy(text.mask)
        for name, track in smooth_all(encoders, tracks[clip.id], longest, rate_hz).items():
            controls[name].append(track.values)
            valid[name].append(track.valid)
    return Examples(
        codes=stacked,
        n_frames=torch.tensor(lengths),
        text=hidden,
        text_mask=mask,
        controls={name: torch.from_numpy(np.stack(rows)) for name, rows in controls.items()},
        valid={name: torch.from_numpy(np.stack(rows)) for name, rows in valid.items()},
    )


def with_ends(codes: Tensor, n_frames: Tensor, special: int) -> Tensor:
    """Codes [B, K, T] as the model reads them: the special token after the end of each clip, as in generation.

    Later codebooks are scored when earlier ones are past the end of the clip, so what stands there is history.
    """
    real = torch.arange(codes.shape[-1], device=codes.device)[None, :] < n_frames.to(codes.device)[:, None]
    return torch.where(real[:, None, :], codes, special)


def batch_indices(n_examples: int, batch_size: int, step: int, seed: int) -> NDArray[np.int64]:
    """Indices [batch_size] of one step: a fresh permutation per epoch, a pure function of its arguments.

    Because nothing is drawn from a running generator, a run that is resumed at a step sees exactly the batches
    that it would have seen. Batches cross epoch borders, so every example is used equally often.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(positions, n_examples)
    index = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = np.random.default_rng((seed, 1, int(epoch))).permutation(n_examples)
        here = epochs == epoch
        index[here] = order[offsets[here]]
    return index


@torch.no_grad()
def standardise_inputs(adaptor: Adaptor, examples: Examples) -> None:
    """Set mean and scale of each input channel over all valid rows that lie within their clip, before training.

    Encoders, and channels within one, differ by orders of magnitude in scale; one learning rate for all projections
    needs them alike. A modality that keeps no statistics, or has no two such rows, stays as it is.
    """
    if not adaptor.config.standardise:
        return
    n_rows = examples.codes.shape[-1] + 1
    inside = torch.arange(n_rows)[None, :] <= examples.n_frames[:, None]
    for modality in adaptor.config.modalities:
        if adaptor.projector(modality.name).mean is None:
            continue
        rows = examples.controls[modality.name][inside & examples.valid[modality.name]].double()
        if len(rows) > 1:
            adaptor.set_statistics(modality.name, rows.mean(dim=0).float(), rows.std(dim=0).float())
