"""Render the codec's pool: ``uv run python plugins/conductor/train/render_pool.py --font A.sf2 --out DIR ...``.

Pieces of the band, each on the next of the fonts; shards that are there are kept. What ships is trained on fonts
under the MIT licence (Debian: `fluid-soundfont-gm`, `musescore-general-soundfont-small`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pool import RATE_HZ, write_shard

from expotion_conductor.band.piece import make_piece
from expotion_conductor.band.render import render_piece
from expotion_conductor.band.score import DRUMS

SHARD = 25
"""Pieces to a shard."""


def render_shard(folder: Path, first: int, seeds: range, duration_s: float, fonts: list[Path]) -> None:
    """Pieces of these seeds to the shard whose name is `first`."""
    sounds, notes = [], []
    for row, seed in enumerate(seeds):
        piece = make_piece(seed, duration_s=duration_s)
        sound = render_piece(piece, font=fonts[seed % len(fonts)])
        sounds.append(np.round(np.clip(sound, -1.0, 1.0) * 32767.0).astype(np.int16)[: round(duration_s * RATE_HZ)])
        played = piece.notes
        here = np.full(len(played.pitch), row)
        notes.append(np.stack([here, played.onset_s, played.offset_s, played.pitch, played.voice == DRUMS], 1))
    write_shard(folder, first, np.stack(sounds), np.concatenate(notes).astype(np.float32))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--font", type=Path, action="append", required=True, help="a soundfont; may be repeated")
    parser.add_argument("--first-seed", type=int, required=True)
    parser.add_argument("--pieces", type=int, default=500)
    parser.add_argument("--duration-s", type=float, default=20.0)
    args = parser.parse_args()
    for first in range(0, args.pieces, SHARD):
        if not (args.out / f"{first:06d}.npy").exists():
            start = args.first_seed + first
            seeds = range(start, start + min(SHARD, args.pieces - first))
            render_shard(args.out, first, seeds, args.duration_s, args.font)
            print(f"{first + len(seeds)} of {args.pieces} pieces", flush=True)


if __name__ == "__main__":
    main()
