"""Files as other programs write them, made from nothing: boxes of an mp4 or mov patched in place."""

from __future__ import annotations

import struct
from pathlib import Path

MATRICES = {
    "as it is": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "half a turn": (-1, 0, 0, -1),
    "a quarter to the right": (0, 1, -1, 0),
    "a quarter to the left": (0, -1, 1, 0),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}
"""The eight display orientations as (a, b, c, d) of x' = a x + c y, y' = b x + d y."""


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Set the display matrix of the first track of an mp4 or mov (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    at += 52 if data[at] == 1 else 40  # version 1 has three times of 8 bytes instead of 4
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
