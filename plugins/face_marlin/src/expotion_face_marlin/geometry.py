"""Sizes of MARLIN's networks as plain numbers: nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_RATE_HZ = 80.0
"""Rate at which a window samples the video (paper 3.1.1: MARLIN reads 16 frames of an 80 fps video)."""


@dataclass(frozen=True)
class MarlinGeometry:
    """Sizes of one MARLIN autoencoder: pixels, tokens and layers.

    The encoder reads clips [B, 3, n_frames, image_height, image_width] and cuts them into tubelets of
    `tubelet` frames times `patch` by `patch` pixels, ordered by time, then row, then column.
    """

    image_height: int = 224
    image_width: int = 224
    patch: int = 16
    n_frames: int = 16
    tubelet: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        for total, part, what in (
            (self.image_height, self.patch, "image_height by patch"),
            (self.image_width, self.patch, "image_width by patch"),
            (self.n_frames, self.tubelet, "n_frames by tubelet"),
            (self.width, self.heads, "width by heads"),
            (self.decoder_width, self.decoder_heads, "decoder_width by decoder_heads"),
        ):
            if part < 1 or total < part or total % part:
                raise ValueError(f"MarlinGeometry must divide {what}, got {total} / {part}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, rows and columns."""
        return (self.n_frames // self.tubelet, self.image_height // self.patch, self.image_width // self.patch)

    @property
    def n_tokens(self) -> int:
        """Tokens of a clip: 1568 for the official sizes."""
        time, rows, columns = self.grid
        return time * rows * columns

    @property
    def patch_values(self) -> int:
        """Values in one tubelet, 3 * tubelet * patch * patch: the decoder's output width."""
        return 3 * self.tubelet * self.patch * self.patch


GEOMETRIES: dict[str, MarlinGeometry] = {
    "tiny": MarlinGeometry(
        image_height=48,
        image_width=48,
        patch=8,
        tubelet=8,
        width=96,
        depth=4,
        heads=3,
        decoder_width=64,
        decoder_depth=1,
        decoder_heads=2,
    ),
    "small": MarlinGeometry(width=384, heads=6, decoder_width=192, decoder_heads=3),
    "base": MarlinGeometry(),
    "large": MarlinGeometry(width=1024, depth=24, heads=16, decoder_width=512, decoder_depth=12, decoder_heads=8),
}
"""The official sizes (marlin_vit_*_ytf) and our own small one."""
