"""A movement as a standard MIDI file: tempo map, beats, controllers.

Format 1, 960 ticks a quarter. A beat of the movement is a quarter note: the tempo changes at every beat so that the
next one falls on its time to a microsecond, whatever was rounded before. The time before the first beat is a whole
number of quarters; the last tempo goes on to the end. Without beats 120 beats a minute stand throughout, and there
is no note.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.features.movement import Movement
from expotion.files import replacing

TICKS = 960
DEFAULT_US = 500_000
MOST_US = 2**24 - 1
"""The longest quarter that a tempo can say, in microseconds."""
BEAT_KEY, VELOCITY = 60, 100
MOTION, EXPRESSION = 1, 11
"""Controllers: modulation and expression."""

Event = tuple[int, bytes]
"""Tick and message."""


class TempoMap:
    """Quarters that fall on beats [b] in seconds: (tick, microseconds, microseconds a quarter) of each change."""

    def __init__(self, beats_s: NDArray[np.float64]) -> None:
        self.beat_ticks: list[int] = []
        self.changes: list[tuple[int, int, int]] = []
        at_us = tick = 0
        if len(beats_s) < 2:
            self.changes, beats_s = [(0, 0, DEFAULT_US)], beats_s[:0]
        for number, beat_s in enumerate(beats_s):
            beat_us = round(1e6 * float(beat_s))
            period_us = 1e6 * float(beats_s[1] - beats_s[0])
            quarters = 1 if number else max(round(beat_us / period_us), int(beat_us > 0))
            for left in range(quarters, 0, -1):
                quarter_us = min(MOST_US, max(1, round((beat_us - at_us) / left)))
                self.changes.append((tick, at_us, quarter_us))
                tick, at_us = tick + TICKS, at_us + quarter_us
            self.beat_ticks.append(tick)

    def tick_at(self, time_s: float) -> int:
        """The tick nearest to a time."""
        us = 1e6 * time_s
        place = bisect_right([start for _, start, _ in self.changes], us) - 1
        tick, start, quarter_us = self.changes[max(place, 0)]
        return max(0, round(tick + (us - start) * TICKS / quarter_us))


def write_midi(path: Path, movement: Movement) -> int:
    """Write the file, whole or not at all; returns how many beats it has."""
    tempo = TempoMap(movement.beats_s)
    end = tempo.tick_at(movement.duration_s)
    tempos = [(tick, b"\xff\x51\x03" + us.to_bytes(3, "big")) for tick, _, us in tempo.changes]
    notes: list[Event] = []
    for tick in tempo.beat_ticks:
        notes += [(tick, bytes([0x90, BEAT_KEY, VELOCITY])), (tick + TICKS // 8, bytes([0x80, BEAT_KEY, 0]))]
    values: list[Event] = controller(tempo, MOTION, movement.times_s, movement.quantity)
    if movement.expression is not None:
        values += controller(tempo, EXPRESSION, movement.times_s, movement.expression)
    tracks = [_track("tempo", tempos, end), _track("beats", notes, end), _track("movement", sorted(values), end)]
    header = b"MThd" + (6).to_bytes(4, "big") + b"".join(n.to_bytes(2, "big") for n in (1, len(tracks), TICKS))
    with replacing(path) as draft:
        draft.write_bytes(header + b"".join(tracks))
    return len(tempo.beat_ticks)


def controller(
    tempo: TempoMap, number: int, times_s: NDArray[np.float64], values: NDArray[np.floating]
) -> list[Event]:
    """A message wherever 127 times a value over the largest of the clip changes; what is not known says nothing."""
    known = np.isfinite(values)
    most = float(values[known].max(initial=0.0))
    steps = np.rint(127 * np.where(known, values, 0.0) / (most or 1.0)).astype(int)
    events: list[Event] = []
    last = -1
    for time_s, step, there in zip(times_s, steps.tolist(), known, strict=True):
        if there and step != last:
            events.append((tempo.tick_at(float(time_s)), bytes([0xB0, number, step])))
            last = step
    return events


def _track(name: str, events: Sequence[Event], end: int) -> bytes:
    """A track of messages in the order of their ticks."""
    spelt = name.encode("ascii")
    last = max(end, max((tick for tick, _ in events), default=0))
    whole = [(0, b"\xff\x03" + bytes([len(spelt)]) + spelt), *events, (last, b"\xff\x2f\x00")]
    body, before = b"", 0
    for tick, message in whole:
        body, before = body + _length(tick - before) + message, tick
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def _length(number: int) -> bytes:
    """A number in bytes of seven bits, all but the last marked."""
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(0x80 | (number & 0x7F))
    return bytes(reversed(parts))
