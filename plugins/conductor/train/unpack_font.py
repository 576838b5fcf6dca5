"""A soundfont with compressed samples (.sf3) as one with plain samples (.sf2), which the renderer reads.

``uv run python plugins/conductor/train/unpack_font.py MuseScore_General_Lite.sf3 MuseScore_General_Lite.sf2``

In an .sf3 a sample's header counts bytes of an Ogg stream and its loop from the sample's own start; in an .sf2 both
count samples from the beginning of all. Source: the SoundFont 2.04 specification, section 7.10, and MuseScore's
notes on SF3. Needs `soundfile`.
"""

from __future__ import annotations

import argparse
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HEADER = struct.Struct("<20sIIIIIBbHH")
"""A sample: name, start, end, loop start, loop end, rate in Hz, key, correction, its other side, type."""
COMPRESSED = 0x10
GAP = 46
"""Silent samples behind each, which the format asks for."""


def unpacked(font: bytes) -> bytes:
    """The bytes of the .sf2. Raises SystemExit where the file is no soundfont."""
    if font[:4] != b"RIFF" or font[8:12] != b"sfbk":
        raise SystemExit("a soundfont begins with RIFF ... sfbk; this file does not")
    lists = {data[:4]: dict(chunks(data[4:])) for name, data in chunks(font[12:]) if name == b"LIST"}
    info, sounds, tables = (lists[name] for name in (b"INFO", b"sdta", b"pdta"))
    info[b"ifil"] = struct.pack("<HH", 2, 4)
    sounds.pop(b"sm24", None)
    tables[b"shdr"], sounds[b"smpl"] = _samples(tables[b"shdr"], sounds[b"smpl"])
    parts = [_list(name, lists[name]) for name in (b"INFO", b"sdta", b"pdta")]
    return _chunk(b"RIFF", b"sfbk" + b"".join(parts))


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk of RIFF data, in order."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size
        if size % 2 and data[at : at + 1] == b"\0":  # not every program pads
            at += 1


def _samples(headers: bytes, packed: bytes) -> tuple[bytes, bytes]:
    """The headers and the samples, int16, that they count in."""
    import soundfile  # noqa: PLC0415

    rows, plain, at = [], [], 0
    for name, *places, rate_hz, key, cents, link, kind in HEADER.iter_unpack(headers):
        start, end, loop, loop_end = places
        if not end:  # the last header is empty
            rows.append(HEADER.pack(name, 0, 0, 0, 0, rate_hz, key, cents, link, kind))
            continue
        if kind & COMPRESSED:
            sound, _ = soundfile.read(io.BytesIO(packed[start:end]), dtype="int16")
            loop, loop_end = at + loop, at + loop_end
        else:
            sound = np.frombuffer(packed[2 * start : 2 * end], "<i2")
            loop, loop_end = at + loop - start, at + loop_end - start
        n = len(sound)
        rows.append(HEADER.pack(name, at, at + n, loop, loop_end, rate_hz, key, cents, link, kind & ~COMPRESSED))
        plain.append(np.concatenate([sound, np.zeros(GAP, np.int16)]).astype("<i2").tobytes())
        at += n + GAP
    return b"".join(rows), b"".join(plain)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)


def _list(name: bytes, inner: dict[bytes, bytes]) -> bytes:
    return _chunk(b"LIST", name + b"".join(_chunk(key, data) for key, data in inner.items()))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("font", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    made = unpacked(asked.font.read_bytes())
    beside = asked.out.with_name(f".{asked.out.name}.{os.getpid()}")
    beside.write_bytes(made)
    os.replace(beside, asked.out)


if __name__ == "__main__":
    main()
