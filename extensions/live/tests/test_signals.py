"""What is seen goes out: by a real UDP socket, and by a MIDI backend whose port keeps its messages."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from expotion.errors import ExpotionError
from expotion.video.memory import ArrayVideo
from expotion.video.motion import motion_of
from expotion_live import signals as sending
from expotion_live import watching
from expotion_live.loop import Clock
from expotion_live.signals import CLOCKS, Midi, Osc, Signals, address, open_signals, signal_problems
from expotion_live.watching import Moving, watch


class Kept:
    """An outlet that keeps what it is given, with the time."""

    def __init__(self) -> None:
        self.got: list[tuple[float, str, Any]] = []

    def _keep(self, what: str, value: Any = None) -> None:
        self.got.append((time.monotonic(), what, value))

    def beat(self, number: int) -> None:
        self._keep("beat", number)

    def tick(self) -> None:
        self._keep("tick")

    def lost(self) -> None:
        self._keep("lost")

    def value(self, name: str, value: float) -> None:
        self._keep(name, value)

    def close(self) -> None:
        self._keep("close")

    def times(self, what: str) -> list[float]:
        return [at for at, one, _ in self.got if one == what]

    def values(self, what: str) -> list[Any]:
        return [value for _, one, value in self.got if one == what]


def _until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_beat_is_sent_at_its_time_once_with_24_clocks_and_none_where_none_is_said() -> None:
    kept, period_s = Kept(), 0.12
    clock = Clock(32_000, time.monotonic() + 0.05, 0.0)
    with Signals([kept], clock) as signals:
        for frame in range(40):  # as frames come: the same beat is foreseen anew, a little otherwise
            time_s = frame / 50
            time.sleep(max(0.0, clock.started_s + time_s - time.monotonic()))
            next_s = (np.floor(time_s / period_s) + 1) * period_s + 0.004 * (-1) ** frame
            signals.tell({"next_beat_s": next_s, "tempo_bpm": 60 / period_s}, time_s)
        n_beats = len(kept.times("beat"))
        signals.tell({}, 0.8)
        time.sleep(2 * period_s)
    assert kept.values("beat") == [*range(1, n_beats + 1)] and 5 <= n_beats <= 7
    at_s = np.array(kept.times("beat")) - clock.started_s
    late_s = np.sort(at_s - np.arange(1, n_beats + 1) * period_s)
    assert np.abs(late_s[:-1]).max() < 0.04  # a machine with other work may be late once
    names = [what for _, what, _ in kept.got if what in ("beat", "tick", "lost")]
    assert names[0] == "beat" and names.count("lost") == 1 and names[-1] == "lost"
    text = "".join(what[0] for what in names)
    assert set(text.split("b")[1:-1]) == {"t" * CLOCKS}  # however the tempo was foreseen
    assert kept.got[-1][1] == "close"


def test_values_are_sent_where_they_change_and_not_too_often() -> None:
    kept = Kept()
    with Signals([kept], Clock(32_000, time.monotonic(), 0.0)) as signals:
        for time_s, value in ((0.0, 0.1), (0.02, 0.2), (0.05, 0.2), (0.1, 0.2), (0.2, 0.3)):
            signals.tell({"quantity_of_motion": value}, time_s)
        signals.tell({"expressiveness": 0.0, "tempo_bpm": 90.0}, 0.3)
    assert kept.values("quantity_of_motion") == [0.1, 0.2, 0.3]
    assert kept.values("expressiveness") == [0.0] and kept.values("tempo_bpm") == [90.0]
    assert kept.values("beat") == []


def test_osc_reaches_a_socket() -> None:
    from pythonosc.osc_message import OscMessage

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears:
        ears.bind(("127.0.0.1", 0))
        ears.settimeout(10.0)
        clock = Clock(32_000, time.monotonic(), 0.0)
        with open_signals(f"localhost:{ears.getsockname()[1]}", None, clock) as signals:
            signals.tell({"tempo_bpm": 120.0, "next_beat_s": 0.02, "quantity_of_motion": 0.25}, 0.0)
            got = [OscMessage(ears.recv(1024)) for _ in range(3)]
            signals.tell({"expressiveness": 0.5}, 1.0)
            got.append(OscMessage(ears.recv(1024)))
    assert [(one.address, one.params) for one in got] == [
        ("/expotion/tempo", [120.0]),
        ("/expotion/quantity_of_motion", [0.25]),
        ("/expotion/beat", [1]),
        ("/expotion/expressiveness", [0.5]),
    ]


class _Port:
    def __init__(self, name: str, **options: Any) -> None:
        self.name, self.options, self.sent, self.closed = name, options, [], False

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_Port]]:
    """A backend of mido's with one port, "synth"."""
    import mido

    opened: list[_Port] = []

    def output(name: str, **options: Any) -> _Port:
        opened.append(_Port(name, **options))
        return opened[-1]

    backend: Any = ModuleType("kept_ports")
    backend.Output = output
    backend.get_devices = lambda **_: [{"name": "synth", "is_input": False, "is_output": True}]
    monkeypatch.setitem(sys.modules, "kept_ports", backend)
    before = mido.backend
    mido.set_backend("kept_ports")
    yield opened
    mido.set_backend(before)


def test_midi_notes_clock_and_controllers(ports: list[_Port]) -> None:
    midi = Midi("synth")
    midi.beat(1)
    for _ in range(5):
        midi.tick()
    for value in (0.0, 0.125, 0.1251, 0.9):
        midi.value("quantity_of_motion", value)
    midi.value("expressiveness", 0.25)
    midi.value("tempo_bpm", 100.0)
    midi.lost()
    midi.lost()
    midi.close()
    (port,) = ports
    assert port.closed and port.name == "synth" and not port.options.get("virtual")
    said = [str(message).removesuffix(" time=0") for message in port.sent]
    assert said == [
        "note_on channel=0 note=60 velocity=100",
        "start",
        *["clock"] * 4,
        "note_off channel=0 note=60 velocity=64",
        "clock",
        *(f"control_change channel=0 control=1 value={value}" for value in (0, 64, 127)),
        "control_change channel=0 control=11 value=64",
        "stop",
    ]


def test_a_name_that_is_not_there_becomes_a_port_of_our_own(
    ports: list[_Port], monkeypatch: pytest.MonkeyPatch
) -> None:
    Midi("Expotion").close()
    assert ports[0].name == "Expotion" and ports[0].options["virtual"]
    monkeypatch.setattr(sending.os, "name", "nt")
    with pytest.raises(ExpotionError, match=r"--midi-port Expotion: a MIDI port \(synth\), got none is called"):
        Midi("Expotion")


@pytest.mark.parametrize("where", ["9000", "host:", "host:x", "host:0", ":9000", "host:70000", "²:²"])
def test_what_is_no_address(where: str) -> None:
    with pytest.raises(ExpotionError, match=r"--osc .*: HOST:PORT.*; for example 127"):
        address(where)
    assert address("127.0.0.1:9000") == ("127.0.0.1", 9000) and address("[::1]:9000")[0] == "::1"


def test_a_name_for_both_kinds_of_address_is_the_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET6, 2, 17, "", ("::1", 9000, 0, 0)), (socket.AF_INET, 2, 17, "", ("127.0.0.1", 9000))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert address("localhost:9000") == ("127.0.0.1", 9000)


def test_what_lacks_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mido", "pythonosc.udp_client"):
        monkeypatch.setitem(sys.modules, module, None)
    found = [str(problem) for problem in signal_problems("127.0.0.1:9000", "synth")]
    assert found == [
        '--osc 127.0.0.1:9000: the package python-osc, got none; install "expotion[signals]"',
        '--midi-port synth: the package mido, got none; install "expotion[signals]"',
    ]
    assert signal_problems(None, None) == []
    with pytest.raises(ExpotionError), open_signals("127.0.0.1:9000", None, Clock(1, 0.0, 0.0)):
        pass


def test_quantity_of_motion_is_that_of_the_whole_clip() -> None:
    rng = np.random.default_rng(0)
    frames = np.full((40, 96, 128, 3), 50, np.uint8)
    for k in range(10, 40):
        frames[k, :, : 4 * (k - 9)] = rng.integers(0, 255, (96, 4 * (k - 9), 3))
    times_s = np.arange(40) / 25
    whole = motion_of(ArrayVideo(frames, times_s), 40 / 25)
    moving, found = Moving(), []
    for frame, time_s in zip(frames, times_s, strict=True):
        moving.push(frame, float(time_s))
        found.append(moving.says().get("quantity_of_motion"))
    assert found[:3] == [None, None, None] and found[9] == 0.0
    np.testing.assert_allclose(found[4:], whole.quantity[3:-1], atol=0.02)
    before = moving.says()
    moving.push(frames[0], float(times_s[-1]) + 0.01)  # too soon to count
    assert moving.says() == before


class _Registry:
    def encoder(self, name: str) -> str:
        return name


def test_what_cannot_be_watched_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Encoder:
        def following(self, shared: dict[str, Any]) -> None:
            return None

    def build(name: str, _options: Any) -> _Encoder:
        if name == "person_face":
            raise ExpotionError("the models are not pulled")
        return _Encoder()

    monkeypatch.setattr(watching, "build_encoder", build)
    said: list[str] = []
    found = watch(_Registry(), {}, said.append)  # type: ignore[arg-type]
    assert [type(each) for each in found] == [Moving]
    assert said == [
        "no beats and tempo: movement_beat has no landmarks here",
        "no expressiveness: expotion: the models are not pulled",
    ]


def test_nobody_listens_and_nothing_runs() -> None:
    with open_signals(None, None, Clock(1, 0.0, 0.0)) as signals:
        signals.tell({"next_beat_s": 0.0, "tempo_bpm": 60.0}, 0.0)
        assert not signals._thread.is_alive()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears:
        ears.bind(("127.0.0.1", 0))
        port = ears.getsockname()[1]
    osc = Osc(f"127.0.0.1:{port}")
    for _ in range(3):
        osc.beat(1)  # a port that refuses is no fault
