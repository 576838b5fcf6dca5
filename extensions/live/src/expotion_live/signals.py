"""What is seen live, for other programs: beats, tempo, quantity of motion, expressiveness; as OSC and MIDI.

| what | unit, range | OSC | MIDI |
| beat of the movement, foreseen, at its time | its number | /expotion/beat | note 60, velocity 100, 1/8 beat |
| tempo, while there is a beat | beats a minute, 55..190 | /expotion/tempo | clock, 24 a beat; start, stop |
| quantity of motion | share of pixels that change, 0..1 | /expotion/quantity_of_motion | controller 1 |
| expressiveness | face sizes from rest, 0 and up | /expotion/expressiveness | controller 11 |

Controllers are 127 at MOST and above. What is not known is not sent: no beat, no note, no clock; no face, no value.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from expotion.errors import ExpotionError, Problem
from expotion_live.loop import Clock

MOTION, EXPRESSION = "quantity_of_motion", "expressiveness"
MOST = {MOTION: 0.25, EXPRESSION: 0.5}
CONTROLLERS = {MOTION: 1, EXPRESSION: 11}
BEAT_NOTE, VELOCITY = 60, 100
CLOCKS = 24
"""MIDI clocks a beat."""
EVERY_S = 0.04
"""Values are sent this often at most."""
INSTALL = 'install "expotion[signals]"'


class Outlet(Protocol):
    """Where signals go."""

    def beat(self, number: int) -> None:
        """A beat is now."""
        ...

    def tick(self) -> None:
        """A beat's 24th has passed; the first is on the beat."""
        ...

    def lost(self) -> None:
        """There is no beat any more."""
        ...

    def value(self, name: str, value: float) -> None:
        """Tempo, quantity of motion or expressiveness, in its own unit."""
        ...

    def close(self) -> None:
        """Free the port."""
        ...


class Osc:
    """OSC over UDP by python-osc."""

    def __init__(self, where: str) -> None:
        """`where`: HOST:PORT."""
        self._client = _module("pythonosc.udp_client", f"--osc {where}").SimpleUDPClient(*address(where))

    def beat(self, number: int) -> None:
        """Its number."""
        self._send("beat", number)

    def tick(self) -> None:
        """Nothing: tempo is said as a number."""

    def lost(self) -> None:
        """Nothing."""

    def value(self, name: str, value: float) -> None:
        """As it is."""
        self._send("tempo" if name == "tempo_bpm" else name, float(value))

    def close(self) -> None:
        """Nothing is open."""

    def _send(self, name: str, value: float) -> None:
        with contextlib.suppress(OSError):  # nobody listens there now
            self._client.send_message(f"/expotion/{name}", value)


class Midi:
    """A MIDI port by mido: one that is there, or a new one of this name."""

    def __init__(self, name: str) -> None:
        where = f"--midi-port {name}"
        self._mido = mido = _module("mido", where)
        try:
            there = mido.get_output_names()
            self._port = mido.open_output(name) if name in there else self._own(name, there)
        except ImportError as error:  # mido's backend
            raise ExpotionError(Problem(where, "the package python-rtmidi", str(error), INSTALL)) from None
        except (OSError, ValueError, RuntimeError) as error:
            wanted = f"a MIDI port ({', '.join(there) or 'there is none'})"
            raise ExpotionError(Problem(where, wanted, str(error), "give one of those")) from None
        self._runs, self._left = False, 0
        self._sent: dict[int, int] = {}

    def beat(self, number: int) -> None:
        """A note, which ends an eighth of a beat later."""
        del number
        self._end_note()
        self._send("note_on", note=BEAT_NOTE, velocity=VELOCITY)
        self._left = 1 + CLOCKS // 8

    def tick(self) -> None:
        """A clock; before the first one start."""
        if not self._runs:
            self._runs = True
            self._send("start")
        self._send("clock")
        if self._left == 1:
            self._end_note()
        self._left = max(0, self._left - 1)

    def lost(self) -> None:
        """Stop."""
        self._end_note()
        if self._runs:
            self._send("stop")
        self._runs = False

    def value(self, name: str, value: float) -> None:
        """A controller, where it changes; tempo is the clock's."""
        if name not in CONTROLLERS:
            return
        number, step = CONTROLLERS[name], round(127 * min(1.0, value / MOST[name]))
        if self._sent.get(number) != step:
            self._sent[number] = step
            self._send("control_change", control=number, value=step)

    def close(self) -> None:
        """Stop, and free the port."""
        self.lost()
        self._port.close()

    def _own(self, name: str, there: Sequence[str]) -> Any:
        if os.name == "nt":
            raise ValueError(f"none is called {name}, and Windows makes none")
        return self._mido.open_output(name, virtual=True)

    def _end_note(self) -> None:
        if self._left:
            self._send("note_off", note=BEAT_NOTE)
        self._left = 0

    def _send(self, kind: str, **fields: int) -> None:
        self._port.send(self._mido.Message(kind, **fields))


class Signals:
    """Sends to outlets what frames show, each beat at its time. Use as a context manager."""

    def __init__(self, outlets: Sequence[Outlet], clock: Clock) -> None:
        """Times of the session begin at `clock.started_s`."""
        self._outlets, self._clock = list(outlets), clock
        self._changed = threading.Condition()
        self._beat_s: float | None = None
        self._period_s = 0.5
        self._last_s, self._number, self._ticks = -1.0, 0, CLOCKS
        self._told: dict[str, tuple[float, float]] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="signals", daemon=True)

    def __enter__(self) -> Signals:
        if self._outlets:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._outlets:
            self._thread.join()
        for outlet in self._outlets:
            outlet.close()

    def tell(self, said: Mapping[str, float], time_s: float) -> None:
        """What is known with the frame at `time_s` (`Eye.says`)."""
        if not self._outlets:
            return
        with self._changed:
            for name in ("tempo_bpm", MOTION, EXPRESSION):
                value, (before, sent_s) = said.get(name), self._told.get(name, (float("nan"), -1.0))
                if value is not None and value != before and time_s >= sent_s + EVERY_S:
                    self._told[name] = value, time_s
                    self._each("value", name, value)
            beat_s = said.get("next_beat_s")
            if beat_s is None and self._beat_s is not None:
                self._last_s, self._ticks = -1.0, CLOCKS
                self._each("lost")
            # a beat that was sent is not sent again because it is foreseen a little later now
            if beat_s is not None and beat_s < self._last_s + 0.5 * self._period_s:
                beat_s += 60.0 / said["tempo_bpm"]
            self._beat_s = beat_s
            self._period_s = 60.0 / said["tempo_bpm"] if beat_s is not None else self._period_s
            self._changed.notify()

    def _work(self) -> None:
        with self._changed:
            while not self._closing:
                due_s = self._due_s()
                left_s = None if due_s is None else due_s + self._clock.started_s - time.monotonic()
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                    continue
                self._send()

    def _due_s(self) -> float | None:
        """When the next tick or beat is, by the session's time."""
        if self._beat_s is None:
            return None
        tick_s = self._last_s + self._ticks * self._period_s / CLOCKS
        return self._beat_s if self._ticks >= CLOCKS else min(self._beat_s, tick_s)

    def _send(self) -> None:
        """A tick; or a beat, which begins with one, after those that the last beat still lacks."""
        assert self._beat_s is not None
        due_s = self._due_s()
        if due_s != self._beat_s:
            self._each("tick")
            self._ticks += 1
            return
        for _ in range(self._ticks, CLOCKS):
            self._each("tick")
        self._number += 1
        self._last_s, self._ticks = self._beat_s, 1
        self._beat_s += self._period_s
        self._each("beat", self._number)
        self._each("tick")

    def _each(self, what: str, *given: Any) -> None:
        for outlet in self._outlets:
            getattr(outlet, what)(*given)


@contextlib.contextmanager
def open_signals(osc: str | None, midi_port: str | None, clock: Clock) -> Iterator[Signals]:
    """Signals to an OSC address (HOST:PORT), to a MIDI port, to both, or to nobody. Raises ExpotionError."""
    outlets: list[Outlet] = []
    try:
        if osc:
            outlets.append(Osc(osc))
        if midi_port:
            outlets.append(Midi(midi_port))
    except ExpotionError:
        for outlet in outlets:
            outlet.close()
        raise
    with Signals(outlets, clock) as signals:
        yield signals


def signal_problems(osc: str | None, midi_port: str | None) -> list[Problem]:
    """What is wrong with where signals are to go, found by opening it once."""
    problems: list[Problem] = []
    for kind, where in ((Osc, osc), (Midi, midi_port)):
        if where:
            try:
                kind(where).close()
            except ExpotionError as error:
                problems += error.problems
    return problems


def address(where: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, the host as a number. Raises ExpotionError."""
    host, _, port = where.rpartition(":")
    problem = Problem(f"--osc {where}", "HOST:PORT", "", "for example 127.0.0.1:9000")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ExpotionError(problem)
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise ExpotionError(Problem(f"--osc {where}", "a host that is known", str(error))) from None
    found.sort(key=lambda one: one[0] != socket.AF_INET)  # where a name stands for both, most listen at IPv4 alone
    return str(found[0][4][0]), int(port)


def _module(name: str, where: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = {"mido": "mido"}.get(name, "python-osc")
        raise ExpotionError(Problem(where, f"the package {package}", "none", INSTALL)) from None
