"""What a piece sounds like and what is true of it, as the small captioner learns from it; kept in one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.contracts import Clip, Truth
from expotion.errors import ExpotionError, Problem
from expotion_caption_musiscene.captioner import heard_of
from expotion_caption_musiscene.classes import KINDS, Classes, true_of
from expotion_caption_musiscene.teller import seed_of, spectra_of


@dataclass(frozen=True)
class Heard:
    """Pieces of one length: spectra float16 [N, T, 64] and [N, S, 60]; known classes, traits and seed of each."""

    mel: Tensor
    tones: Tensor
    classes: list[Classes]
    traits: list[dict[str, str]]
    seeds: list[int]

    def __len__(self) -> int:
        return len(self.classes)

    def batches(self, size: int = 32) -> Iterator[tuple[Tensor, Tensor]]:
        """Log-mel and log tones float32 of all pieces in order, at most `size` at a time."""
        for at in range(0, len(self), size):
            yield self.mel[at : at + size].float(), self.tones[at : at + size].float()

    def save(self, path: Path) -> None:
        """Write it as one file."""
        about = json.dumps({"classes": self.classes, "traits": self.traits, "seeds": self.seeds})
        with path.open("wb") as file:
            np.savez(file, about=np.array(about), mel=self.mel.numpy(), tones=self.tones.numpy())

    @classmethod
    def load(cls, path: Path) -> Heard:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            return cls(torch.from_numpy(kept["mel"]), torch.from_numpy(kept["tones"]), **about)

    @classmethod
    def joined(cls, parts: Sequence[Heard]) -> Heard:
        """Several as one."""
        mel, tones = (torch.cat([getattr(part, name) for part in parts]) for name in ("mel", "tones"))
        classes = [one for part in parts for one in part.classes]
        traits = [one for part in parts for one in part.traits]
        return cls(mel, tones, classes, traits, [seed for part in parts for seed in part.seeds])


_One = tuple[NDArray[np.float16], NDArray[np.float16], Classes, dict[str, str], int]


def listen_to(clip: Clip) -> _One:
    """One piece. Raises ExpotionError for a clip without sound."""
    samples, truth = heard_of(clip), clip.truth
    mel, tones = (spectrum.astype(np.float16) for spectrum in spectra_of(samples))
    clip.close()
    traits = {**((truth.traits if truth else None) or {}), **levels_of(truth)}
    return mel, tones, true_of(truth), traits, seed_of(samples)


def levels_of(truth: Truth | None) -> dict[str, str]:
    """Mean intensity and valence in steps of 0.05 and the tempo in steps of a twelfth of an octave, as traits."""
    if truth is None:
        return {}
    means = {"intensity": truth.intensity, "valence": truth.valence}
    steps = {name: 20 * float(np.mean(one)) for name, one in means.items() if one is not None and len(one)}
    if truth.tempo_bpm is not None:
        steps["tempo"] = 12 * float(np.log2(truth.tempo_bpm / 60))
    return {name: f"{round(step)}" for name, step in steps.items()}


def listen(clips: Sequence[Clip], processes: int, progress: Callable[[int, int], None]) -> Heard:
    """All pieces, in order, by some processes. Raises ExpotionError as `listen_to` does, or for several lengths."""
    n = min(processes, len(clips))
    found: list[_One] = []

    def take(results: Iterable[_One]) -> None:
        for one in results:
            found.append(one)
            progress(len(found), len(clips))

    if n > 1:
        with ProcessPoolExecutor(n, get_context("spawn"), initializer=partial(torch.set_num_threads, 1)) as pool:
            take(pool.map(listen_to, clips, chunksize=4))
    else:
        take(map(listen_to, clips))
    if len({one[0].shape for one in found}) > 1:
        raise ExpotionError(Problem("data", "clips of one length", "several lengths", "set clip_s"))
    mel, tones = np.stack([one[0] for one in found]), np.stack([one[1] for one in found])
    known = [one[2] for one in found], [one[3] for one in found], [one[4] for one in found]
    return Heard(torch.from_numpy(mel), torch.from_numpy(tones), *known)


def told_whole(clips: Sequence[Clip], heard: Heard) -> None:
    """Raise ExpotionError for clips whose truth does not tell all four classes."""
    fix = "the world's band has it: data: {source: conductor, style: band}"
    for clip, classes in zip(clips, heard.classes, strict=True):
        if lacks := [kind for kind in KINDS if kind not in classes]:
            wanted = f"a truth that tells {', '.join(KINDS)}"
            raise ExpotionError(Problem(clip.id, wanted, f"no {', '.join(lacks)}", fix))
