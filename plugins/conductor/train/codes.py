"""The language model's data: codes of thousands of clips of the world, made in shards and kept on disk."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from common import render_clips
from numpy.typing import NDArray

from expotion_conductor.plan import DEVELOPMENT_SEEDS, LM_AND_CODEC_SEEDS, make_plan

SHARD_CLIPS = 125
CLIP_S = 12.0
"""Longer than what the model is trained on, so that every epoch cuts another ten seconds from a clip."""
VALIDATION_CLIPS = 48


def make_shards(codec_dir: Path, folder: Path, n_clips: int, threads: int, shard_clips: int = SHARD_CLIPS) -> None:
    """Encode clips until ``n_clips`` are there; shards that exist are kept. Shard ``validation`` comes first."""
    from transformers import EncodecModel  # noqa: PLC0415

    torch.set_num_threads(threads)
    codec = EncodecModel.from_pretrained(codec_dir).eval()
    folder.mkdir(parents=True, exist_ok=True)
    first_held_out = DEVELOPMENT_SEEDS + 5000
    todo = {"validation": range(first_held_out, first_held_out + min(n_clips, VALIDATION_CLIPS))}
    for first in range(0, n_clips, shard_clips):
        start = LM_AND_CODEC_SEEDS + 100_000 + first
        todo[f"{first:06d}"] = range(start, start + min(shard_clips, n_clips - first))
    for name, seeds in todo.items():
        path = folder / f"{name}.npz"
        if path.exists():
            continue
        sound = render_clips(seeds, CLIP_S, processes=1)
        codes = [encode(codec, sound[i : i + 1]) for i in range(len(sound))]  # one by one fits the cache
        plans = [make_plan(seed, CLIP_S) for seed in seeds]
        beside = path.with_suffix(".tmp.npz")
        np.savez(
            beside,
            codes=np.concatenate(codes),
            captions=np.array([plan.caption for plan in plans]),
            groups=np.array([f"{plan.timbre}/{plan.mood}" for plan in plans]),
        )
        beside.rename(path)


@torch.inference_mode()
def encode(codec: torch.nn.Module, sound: NDArray[np.int16]) -> NDArray[np.int16]:
    """int16 samples [n, samples] -> codes int16 [n, 4, frames]."""
    wave = torch.from_numpy(sound.astype(np.float32) / 32767.0)[:, None]
    return codec.encode(wave).audio_codes[0].numpy().astype(np.int16)


class Codes:
    """Codes on disk that may still be growing; draws training sequences from what is there."""

    def __init__(self, folder: Path, n_frames: int) -> None:
        self.folder, self.n_frames, self.seen = folder, n_frames, 0
        self.codes: NDArray[np.int16] = np.zeros((0, 4, 0), np.int16)
        self.captions: list[str] = []
        self.members: dict[str, NDArray[np.int64]] = {}
        self.groups: list[str] = []

    def refresh(self) -> int:
        """Read shards that were added; returns the number of clips."""
        paths = sorted(self.folder.glob("[0-9]*[0-9].npz"))
        if len(paths) > self.seen:
            shards = [dict(np.load(path)) for path in paths]
            self.seen = len(paths)
            self.codes = np.concatenate([shard["codes"] for shard in shards])
            self.captions = [str(text) for shard in shards for text in shard["captions"]]
            self.groups = [str(text) for shard in shards for text in shard["groups"]]
            names = np.array(self.groups)
            self.members = {str(name): np.flatnonzero(names == name) for name in np.unique(names)}
        return len(self.codes)

    def batch(self, size: int, spliced: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], list[str]]:
        """Sequences int64 [size, 4, n_frames] with their captions, a share of them spliced.

        A spliced sequence is two to four stretches of different clips of one timbre and mood, so that beat phase,
        tempo and loudness break off without warning. A model that never met that becomes certain of all three
        after a second of history, and nothing an adaptor says can move it any more.
        """
        rows = rng.integers(len(self.codes), size=size)
        sequences = []
        for row in rows:
            cuts = [0, self.n_frames]
            if rng.random() < spliced:
                inner = rng.choice(np.arange(25, self.n_frames - 25), rng.integers(1, 4), replace=False)
                cuts = [0, *sorted(inner), self.n_frames]
            sequence, clip = [], int(row)
            for start, end in pairwise(cuts):
                at = int(rng.integers(self.codes.shape[2] - (end - start) + 1))
                sequence.append(self.codes[clip, :, at : at + end - start])
                clip = int(rng.choice(self.members[self.groups[row]]))
            sequences.append(np.concatenate(sequence, axis=1))
        return np.stack(sequences).astype(np.int64), [self.captions[row] for row in rows]


def main() -> None:
    """Command line; ``lm.py`` starts this by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shard-clips", type=int, default=SHARD_CLIPS)
    args = parser.parse_args()
    make_shards(Path(args.codec), Path(args.out), args.clips, args.threads, args.shard_clips)
    print(json.dumps({"clips": args.clips}))


if __name__ == "__main__":
    main()
