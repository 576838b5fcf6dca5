"""Movement as MIDI, opened by mido, and as a table; what is not there is said."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import mido
import numpy as np
import pytest

import expotion.plugins
from expotion.cli.main import run
from expotion.contracts import Encoder, EncoderSpec, Overlay, hookimpl
from expotion.errors import MediaError
from expotion.features.movement import Movement, movement_of
from expotion.plugins import discover
from expotion.video.memory import ArrayVideo, MemoryClip
from expotion.video.motion import Motion
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video
from expotion_movement.command import COLUMNS, ENCODERS, table
from expotion_movement.midi import EXPRESSION, MOTION, TICKS, TempoMap, write_midi

BEATS_S = np.array([0.31, 0.83, 1.29, 1.84, 2.33])


def moving(
    beats_s: np.ndarray = BEATS_S, expression: np.ndarray | None = None, duration_s: float = 4.0
) -> Movement:
    times_s = np.arange(int(duration_s * 25)) / 25
    quantity = np.clip(np.sin(times_s), 0, 1).astype(np.float32)
    motion = Motion(times_s, quantity, np.zeros((4, len(times_s)), np.float32))
    return Movement(duration_s, motion, expression, beats_s, np.zeros(0))


def heard(path: Path) -> tuple[mido.MidiFile, list[tuple[float, Any]]]:
    """The file as a player takes it: its messages with their times in seconds."""
    opened = mido.MidiFile(path)
    now_s, messages = 0.0, []
    for message in opened:
        now_s += message.time
        messages.append((now_s, message))
    return opened, messages


# ---------------------------------------------------------------------------------------------------- MIDI


def test_notes_and_tempo_map_fall_on_the_beats(tmp_path: Path) -> None:
    assert write_midi(tmp_path / "a.mid", moving()) == len(BEATS_S)
    opened, messages = heard(tmp_path / "a.mid")
    assert (opened.type, opened.ticks_per_beat, len(opened.tracks)) == (1, TICKS, 3)
    struck = [time_s for time_s, message in messages if message.type == "note_on" and message.velocity]
    np.testing.assert_allclose(struck, BEATS_S, atol=2e-6)
    assert len([1 for _, message in messages if message.type == "note_off"]) == len(BEATS_S)
    tempos = [mido.tempo2bpm(m.tempo) for _, m in messages if m.type == "set_tempo"]
    np.testing.assert_allclose(tempos[-len(BEATS_S) + 1 :], 60 / np.diff(BEATS_S), rtol=1e-4)
    ticks = TempoMap(BEATS_S).beat_ticks
    assert np.diff(ticks).tolist() == [TICKS] * (len(BEATS_S) - 1) and ticks[0] % TICKS == 0
    assert opened.length == pytest.approx(4.0, abs=0.002)


@pytest.mark.parametrize("first_s", [0.0, 0.02, 0.5, 7.3])
def test_the_time_before_the_first_beat_is_whole_quarters(first_s: float, tmp_path: Path) -> None:
    beats_s = first_s + 0.5 * np.arange(400) + np.random.default_rng(0).normal(0, 0.01, 400).clip(0, 0.1)
    write_midi(tmp_path / "a.mid", moving(beats_s, duration_s=220.0))
    struck = [time_s for time_s, message in heard(tmp_path / "a.mid")[1] if message.type == "note_on"]
    np.testing.assert_allclose(struck, beats_s, atol=2e-6)  # what was rounded does not add up


def test_controllers_are_the_values_over_their_largest(tmp_path: Path) -> None:
    expression = np.where(np.arange(100) < 50, np.nan, 0.2 * np.arange(100))
    found = moving(expression=expression)
    write_midi(tmp_path / "a.mid", found)
    messages = heard(tmp_path / "a.mid")[1]
    for number, values in ((MOTION, found.quantity), (EXPRESSION, expression)):
        told = [(time_s, m.value) for time_s, m in messages if m.type == "control_change" and m.control == number]
        wanted = np.rint(127 * values / np.nanmax(values))
        at = np.array([time_s for time_s, _ in told])
        for time_s, value in zip(found.times_s, wanted, strict=True):
            before = np.flatnonzero(at <= time_s + 1e-3)
            assert (len(before) == 0) == bool(np.isnan(value))
            if len(before):
                assert told[before[-1]][1] == value
    assert min(at) == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("beats_s", [np.zeros(0), np.array([1.0])])
def test_without_a_beat_there_are_no_notes(beats_s: np.ndarray, tmp_path: Path) -> None:
    assert write_midi(tmp_path / "a.mid", moving(beats_s)) == 0
    messages = [message for _, message in heard(tmp_path / "a.mid")[1]]
    assert not [m for m in messages if m.type.startswith("note")]
    assert [m.tempo for m in messages if m.type == "set_tempo"] == [500_000]
    assert not any(m.control == EXPRESSION for m in messages if m.type == "control_change")


# ----------------------------------------------------------------------------------------------------- table


def test_the_table_has_a_row_each_1_25_s() -> None:
    rows = list(csv.DictReader(io.StringIO(table(moving(expression=np.linspace(0, 1, 100))))))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 100
    assert [float(row["beat_s"]) for row in rows if row["beat_s"]] == BEATS_S.tolist()
    assert float(rows[25]["tempo_bpm"]) == pytest.approx(60 / (BEATS_S[2] - BEATS_S[1]), abs=0.01)
    assert rows[0]["tempo_bpm"] == rows[-1]["tempo_bpm"] == ""
    assert float(rows[99]["expressiveness"]) == 1.0
    assert {row["expressiveness"] for row in csv.DictReader(io.StringIO(table(moving())))} == {""}


# ---------------------------------------------------------------------------------------- movement, the command


def clip_of(n: int = 20) -> MemoryClip:
    frames = np.random.default_rng(0).integers(0, 255, (n, 24, 32, 3), dtype=np.uint8)
    return MemoryClip("noise", n / 10, ArrayVideo(frames, np.arange(n) / 10))


def test_the_first_that_says_something_counts() -> None:
    face = Overlay("face", expression_times_s=np.array([0.0, 1.0]), expression=np.array([0.0, np.nan], np.float32))
    first, second = Overlay("a", beats_s=np.zeros(0)), Overlay("b", beats_s=BEATS_S, events_s=BEATS_S[:2])
    found = movement_of(clip_of(), [first, face, second, Overlay("c", beats_s=BEATS_S + 1)])
    np.testing.assert_array_equal(found.beats_s, BEATS_S)
    np.testing.assert_array_equal(found.events_s, BEATS_S[:2])
    assert found.expression is not None and len(found.expression) == len(found.times_s) == 50
    np.testing.assert_array_equal(np.isnan(found.expression), found.times_s > 0.5)
    assert movement_of(clip_of(), []).expression is None
    with pytest.raises(MediaError, match="a clip with a picture, got sound only"):
        movement_of(MemoryClip("sound", 1.0), [])


class Seeing(Encoder):
    def __init__(self, spec: EncoderSpec, overlay: Overlay | None) -> None:
        self.spec, self.drawn = spec, overlay

    def extract(self, clip: Any) -> Any:
        raise AssertionError("nothing is extracted here")

    def overlay(self, clip: Any) -> Overlay | None:
        if self.drawn is None:
            raise RuntimeError("no light")
        return self.drawn


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Encoders of the two names, with what each sees in any clip."""

    def install(*overlays: Overlay | None) -> None:
        module = ModuleType("seeing")
        specs: list[EncoderSpec] = []
        for name, overlay in zip(ENCODERS, overlays, strict=True):
            build = lambda options, name=name, overlay=overlay: Seeing(specs[ENCODERS.index(name)], overlay)  # noqa: E731
            specs.append(EncoderSpec(name, name, frozenset({"video"}), build))
        module.expotion_encoders = hookimpl(lambda: specs)  # type: ignore[attr-defined]
        point: Any = SimpleNamespace(name="s", dist=SimpleNamespace(name="s", version="1"), load=lambda: module)
        registry = discover([point], builtins=())
        monkeypatch.setattr(expotion.plugins, "discover", lambda: registry)

    return install


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "dance.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (20, 24, 32, 3), dtype=np.uint8)
    write_video(path, list(frames), np.arange(20) / 10)
    return path


def test_the_command_writes_both(
    seeing: Any, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face = Overlay("", expression_times_s=np.arange(20) / 10, expression=np.ones(20, np.float32))
    seeing(Overlay("", beats_s=BEATS_S[:3]), face)
    midi, csv_ = tmp_path / "a.mid", tmp_path / "a.csv"
    assert run(["movement", str(clip), "--midi", str(midi), "--csv", str(csv_)]) == 0
    assert capsys.readouterr().out.splitlines() == ["3 beats", f"Wrote {midi}", f"Wrote {csv_}"]
    assert sum(m.type == "note_on" for _, m in heard(midi)[1]) == 3
    assert len(csv_.read_text().splitlines()) == 51


def test_what_is_not_there_is_said(
    seeing: Any, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeing(Overlay("", beats_s=np.zeros(0)), None)
    assert run(["movement", str(clip), "--midi", str(tmp_path / "a.mid")]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "without person_face: RuntimeError: no light",
        "no beat in the movement: no notes, 120 beats a minute throughout",
        "no face was measured: no expressiveness",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expotion movement: --midi FILE, --csv FILE or both, got neither"),
        (("--midi", "a.wav"), "--midi a.wav: a name that ends in .mid or .midi, got .wav"),
        (("--csv", "a"), "--csv a: a name that ends in .csv, got no suffix"),
        (("--csv", "/proc/none/a.csv"), "/proc/none: could not be made"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: tuple[str, ...], message: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["movement", str(clip), *arguments]) != 0
    assert message in capsys.readouterr().err


def test_a_sound_has_no_movement(seeing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeing(None, None)
    write_wav(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 9600).astype(np.float32), 32_000)
    assert run(["movement", str(tmp_path / "a.wav"), "--csv", str(tmp_path / "a.csv")]) == 1
    assert "a clip with a picture, got sound only" in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()
