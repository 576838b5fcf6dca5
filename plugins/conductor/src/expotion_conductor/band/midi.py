"""The smallest MIDI file that a synthesiser needs: one track of timed messages, format 0."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

TICKS_PER_S = 1000
DRUM_CHANNEL = 9
VOLUME, EXPRESSION, MODULATION, REVERB, CHORUS = 7, 11, 1, 91, 93
"""Numbers of controllers."""


class Message(NamedTuple):
    """A channel message and when it is sent."""

    time_s: float
    rank: int
    """What is sent first of messages at one time: programs and controllers 0, note-offs 1, note-ons 2."""
    data: bytes


def program(time_s: float, channel: int, number: int) -> Message:
    """Choose an instrument."""
    return Message(time_s, 0, bytes((0xC0 | channel, number)))


def control(time_s: float, channel: int, controller: int, value: int) -> Message:
    """Turn a controller to 0..127."""
    return Message(time_s, 0, bytes((0xB0 | channel, controller, value)))


def note(onset_s: float, offset_s: float, channel: int, pitch: int, velocity: int) -> tuple[Message, Message]:
    """Strike and let go."""
    return (
        Message(onset_s, 2, bytes((0x90 | channel, pitch, velocity))),
        Message(offset_s, 1, bytes((0x80 | channel, pitch, 0))),
    )


def midi_file(messages: Iterable[Message], end_s: float) -> bytes:
    """A file that plays them in order of time (in milliseconds) and ends at `end_s`."""
    track, last = bytearray(b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3, "big")), 0
    timed = sorted((round(m.time_s * TICKS_PER_S), m.rank, m.data) for m in messages)
    for tick, _, data in timed:
        track += _length(max(tick, 0) - last) + data
        last = max(tick, 0)
    track += _length(max(0, round(end_s * TICKS_PER_S) - last)) + b"\xff\x2f\x00"
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_S)
    return head + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _length(value: int) -> bytes:
    """A number in the seven-bit groups of MIDI."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
