"""The language model's data: the codes of thousands of pieces, made in shards and kept on disk.

``uv run python plugins/conductor/train/codes.py --codec DIR --font A.sf2 --out DIR``; shards that exist are kept.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from codec_fast import FastCodec
from codec_quantise import nearest
from numpy.typing import NDArray
from torch import nn

from expotion_conductor.plan import DEVELOPMENT_SEEDS, LM_AND_CODEC_SEEDS

SHARD = 125
"""Pieces to a shard."""
PIECE_S = 12.0
"""Longer than what the model is trained on, so that every epoch cuts another ten seconds from a piece."""
FIRST_SEED = LM_AND_CODEC_SEEDS + 100_000
FIRST_HELD_OUT = DEVELOPMENT_SEEDS + 5_000


@torch.inference_mode()
def encode(codec: nn.Module, sound: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples [n], whole frames, to codes int16 [codebooks, frames]."""
    left = FastCodec(codec).encode(torch.from_numpy(sound)[None, None])[0]
    codes = []
    for layer in codec.quantizer.layers:
        codes.append(nearest(left, layer.codebook.embed))
        left = left - layer.codebook.embed[codes[-1]]
    return torch.stack(codes).numpy().astype(np.int16)


def make_shard(codec: nn.Module, path: Path, seeds: range, fonts: list[Path]) -> None:
    """Codes, captions, leading instruments and styles of these pieces; moved to its place when whole."""
    from expotion_conductor.band.piece import make_piece  # noqa: PLC0415
    from expotion_conductor.band.render import render_piece  # noqa: PLC0415

    pieces = [make_piece(seed, duration_s=PIECE_S) for seed in seeds]
    made = [encode(codec, render_piece(piece, font=fonts[piece.seed % len(fonts)])) for piece in pieces]
    beside = path.with_suffix(".tmp.npz")
    np.savez(
        beside,
        codes=np.stack(made),
        captions=np.array([piece.caption for piece in pieces]),
        leads=np.array([piece.traits.lead for piece in pieces]),
        styles=np.array([piece.style for piece in pieces]),
    )
    beside.rename(path)


class Codes:
    """All shards of a folder; draws training sequences."""

    def __init__(self, folder: Path, n_frames: int) -> None:
        paths = sorted(folder.glob("[0-9]*[0-9].npz"))
        if not paths:
            raise SystemExit(f"{folder}: no shards of codes; make them with train/codes.py")
        shards = [dict(np.load(path)) for path in paths]
        self.n_frames = n_frames
        self.codes: NDArray[np.int16] = np.concatenate([shard["codes"] for shard in shards])
        self.captions = [str(text) for shard in shards for text in shard["captions"]]
        groups = [f"{a}/{b}" for s in shards for a, b in zip(s["leads"], s["styles"], strict=True)]
        self.groups, names = groups, np.array(groups)
        self.members = {str(name): np.flatnonzero(names == name) for name in np.unique(names)}

    def batch(self, size: int, spliced: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], list[str]]:
        """Sequences int64 [size, 4, n_frames] with their captions, a share of them spliced.

        A spliced sequence is two to four stretches of different pieces of one leading instrument and style, so
        that beat phase, tempo and loudness break off without warning. A model that never met that becomes certain
        of all three after a second of history, and nothing an adaptor says can move it any more.
        """
        rows = rng.integers(len(self.codes), size=size)
        sequences = []
        for row in rows:
            cuts = [0, self.n_frames]
            if rng.random() < spliced:
                inner = rng.choice(np.arange(25, self.n_frames - 25), rng.integers(1, 4), replace=False)
                cuts = [0, *sorted(inner), self.n_frames]
            sequence, piece = [], int(row)
            for start, end in pairwise(cuts):
                at = int(rng.integers(self.codes.shape[2] - (end - start) + 1))
                sequence.append(self.codes[piece, :, at : at + end - start])
                piece = int(rng.choice(self.members[self.groups[row]]))
            sequences.append(np.concatenate(sequence, axis=1))
        return np.stack(sequences).astype(np.int64), [self.captions[row] for row in rows]


def main() -> None:
    """Command line."""
    from transformers import EncodecModel  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", required=True, help="folder of the codec whose codes are final")
    parser.add_argument("--font", type=Path, action="append", required=True, help="a soundfont; may be repeated")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=6000)
    parser.add_argument("--held-out", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    codec: Any = EncodecModel.from_pretrained(args.codec).eval()
    args.out.mkdir(parents=True, exist_ok=True)
    todo = {"held_out": range(FIRST_HELD_OUT, FIRST_HELD_OUT + args.held_out)}
    for first in range(0, args.pieces, SHARD):
        start = FIRST_SEED + first
        todo[f"{first:06d}"] = range(start, start + min(SHARD, args.pieces - first))
    for name, seeds in todo.items():
        if not (args.out / f"{name}.npz").exists():
            make_shard(codec, args.out / f"{name}.npz", seeds, args.font)
            print(f"{name}: {len(seeds)} pieces", flush=True)


if __name__ == "__main__":
    main()
