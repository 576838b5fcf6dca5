"""Music while frames arrive: a session by itself, and `expotion live` from a file in real time."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from expotion.adaptor.project import TrackInput
from expotion.cli.main import run
from expotion.contracts import SmoothedTrack
from expotion.errors import ExpotionError
from expotion.music.composer import Composer, open_composer
from expotion.plugins import Registry
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video
from expotion_live import frames as live_frames
from expotion_live import loop as live_loop
from expotion_live import session as live_session
from expotion_live import sink as listening
from expotion_live.eye import Windowed
from expotion_live.frames import Arriving, Camera, open_pictures
from expotion_live.loop import Clock, Delay
from expotion_live.session import LiveSession, Seen
from expotion_live.steps import Steps

SECONDS, RATE_HZ = 1.2, 32_000


HASTE = 6.0


class _Hasty(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(None if timeout is None else timeout / HASTE)


def _hasty_s() -> float:
    return HASTE * time.monotonic()


@pytest.fixture(autouse=True)
def _haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks of live music run six times as fast; what is made takes the time that it takes."""
    clock = SimpleNamespace(
        monotonic=_hasty_s, perf_counter=_hasty_s, sleep=lambda seconds: time.sleep(seconds / HASTE)
    )
    for module in (live_frames, live_loop, live_session, listening):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(live_frames, "threading", SimpleNamespace(Event=_Hasty, Thread=threading.Thread))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    frames = [np.full((32, 48, 3), 200 - 10 * (i % 5), np.uint8) for i in range(12)]
    write_video(tmp_path / "lamp.mp4", frames, np.arange(12) / 10, duration_s=SECONDS)
    return tmp_path / "lamp.mp4"


@pytest.fixture(scope="module")
def composer(finished: Path, lamps: Registry) -> Composer:
    return open_composer(finished, lamps)


@pytest.fixture
def live(finished: Path) -> Callable[..., int]:
    def call(*arguments: object) -> int:
        options = ("--adaptor", finished, "--hop", 0.4, "--window", 0.8)
        return run(["live", *map(str, (*arguments, *options))])

    return call


def _played(composer: Composer, n: int = 12, end_s: float | None = SECONDS, **options: Any) -> np.ndarray:
    session = LiveSession(composer, **{"hop_s": 0.4, "window_s": 0.8, **options})
    heard = []
    for number in range(n):
        frame = np.full((1, 16, 24, 3), 200 - 10 * (number % 5), np.uint8)
        session.push_frames(frame, np.array([number / 10]))
        heard.append(session.read())
    return np.concatenate([*heard, session.finish(end_s)])


# ------------------------------------------------------------------------------------------------- sessions


def test_a_session_makes_whole_hops_and_at_the_end_the_rest(composer: Composer) -> None:
    assert len(_played(composer)) == round(SECONDS * RATE_HZ)
    assert len(_played(composer, end_s=1.1)) == round(1.1 * RATE_HZ)
    whole_hops = _played(composer, end_s=None)
    # Two hops of 20 rows: the third ends at 1.18 s, the last frame comes at 1.1. A frame takes three rows more.
    assert len(whole_hops) == round((0.8 - 0.06) * RATE_HZ)
    np.testing.assert_allclose(_played(composer)[: len(whole_hops) - 6400], whole_hops[:-6400], atol=1e-5)


def test_a_full_window_goes_on_from_its_last_third(composer: Composer) -> None:
    """Every row gives a frame, three rows late; what was drawn before a window ends stays as it is."""
    rng = np.random.default_rng(0)
    widths = {modality.name: modality.d_in for modality in composer.adaptor.config.modalities}
    tracks = {name: rng.normal(size=(60, width)).astype(np.float32) for name, width in widths.items()}
    steering = composer.resolved(None, {"seed": 3, "precision": "fp32"})
    made = []
    for window in (50, 21):
        steps = Steps(composer, steering, composer.prompts["warm lamp"], window_frames=window)
        codes = []
        for first in range(0, 60, 5):
            rows = slice(first, first + 5)
            some = {n: SmoothedTrack(t[rows], np.ones(5, bool)) for n, t in tracks.items()}
            codes.append(steps.push(some, {n: np.ones(5, np.float32) for n in tracks}))
            assert steps.made == first + 5 - 3
        made.append(torch.cat(codes, dim=1))
        assert int(made[-1].max()) < composer.backbone.geometry.card  # no special token among them
    assert made[0].shape == made[1].shape == (composer.backbone.geometry.n_codebooks, 57)
    assert torch.equal(made[0][:, :18], made[1][:, :18]) and not torch.equal(made[0], made[1])


def test_step_by_step_a_causal_prefix_is_that_of_the_whole(composer: Composer) -> None:
    """Rows appended in pieces are the rows of a causal adaptor's whole prefix, to rounding."""
    adaptor = composer.adaptor
    causal = replace(adaptor.config, prefix_attention="causal")
    widths = {m.name: m.d_in for m in causal.modalities}
    rng = torch.Generator().manual_seed(1)
    given = {
        n: TrackInput(torch.randn(1, 12, w, generator=rng), torch.arange(12)[None] != 4) for n, w in widths.items()
    }
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptor, "config", causal)
        whole = adaptor.prefix(composer.backbone.lm, given)
        past = None
        for first, stop in ((0, 5), (5, 6), (6, 12)):
            some = {n: TrackInput(t.values[:, first:stop], t.valid[:, first:stop]) for n, t in given.items()}
            past = adaptor.extended(composer.backbone.lm, past, some, stop - first)
    assert whole is not None and past is not None and past.n_rows == past.row_limit == 12
    for name in ("q", "k", "v"):
        for one, other in zip(getattr(past, name), getattr(whole, name), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert past.active is not None and past.active[0].tolist() == [row != 4 for row in range(12)]


def test_a_prompt_said_while_it_plays_changes_what_follows(composer: Composer) -> None:
    plain = _played(composer)
    session = LiveSession(composer, hop_s=0.4, window_s=0.8)
    heard = []
    for number in range(12):
        if number == 6:
            assert session.say("cold lamp") == {"cold": []}  # what it does not know is said
        frame = np.full((1, 16, 24, 3), 200 - 10 * (number % 5), np.uint8)
        session.push_frames(frame, np.array([number / 10]))
        heard.append(session.read())
    found = np.concatenate([*heard, session.finish(SECONDS)])
    same = round(0.2 * RATE_HZ)
    np.testing.assert_allclose(found[:same], plain[:same], atol=1e-5)
    assert len(found) == len(plain) and not np.array_equal(found, plain)
    faded = LiveSession(composer, strength={"glow": 0.0, "sway": 0.0}, hop_s=0.4, window_s=0.8)
    faded.set_strength("glow", 1.0)
    assert list(faded.eye._followed) == ["glow"]


@pytest.mark.parametrize("out", [True, False], ids=["to a file", "to a player"])
def test_what_can_be_foreseen_is_given_for_when_it_is_heard(
    live: Callable[..., int],
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    out: bool,
) -> None:
    """A player is behind the frames; in a file a beat belongs to its moment."""
    given: list[float] = []
    rows = Windowed.at

    def at(windowed: Windowed, times_s: Any, ahead_s: float) -> SmoothedTrack:
        given.append(ahead_s)
        return rows(windowed, times_s, ahead_s)

    monkeypatch.setattr(Windowed, "at", at)
    assert live(clip, "--to", "-", *(("--out", tmp_path / "live.wav") if out else ())) == 0
    assert len(capfdbinary.readouterr().out) > RATE_HZ
    assert set(given[:4]) == {0.0}  # it rehearses
    assert given[-1] == 0.0 if out else given[-1] > 0.4 + live_loop.IN_HAND_S


def test_strengths_follow_their_schedule_and_muting_is_strength_0(composer: Composer) -> None:
    plain = _played(composer)
    off = _played(composer, strength={"glow": 0.0, "sway": 0.0})
    assert not np.array_equal(plain, off)
    np.testing.assert_array_equal(_played(composer, controls={"glow": None, "sway": None}), off)
    np.testing.assert_array_equal(_played(composer, strength={"glow": "0:1,9:1"}), plain)
    later_off = _played(composer, strength={"glow": "0:1,0.4:1,0.41:0", "sway": "0:1,0.4:1,0.41:0"})
    assert not np.array_equal(later_off, plain)
    assert not np.array_equal(_played(composer, seed=1), plain)


def test_words_over_time_and_a_theme_live(composer: Composer, tmp_path: Path) -> None:
    """A session starts with the theme, hears a prompt from its frame on, and stays away from a negative one."""
    plain = _played(composer)
    later = _played(composer, prompt_at=[{"at_s": 0.5, "prompt": "cold lamp"}])
    np.testing.assert_allclose(later[: round(0.3 * RATE_HZ)], plain[: round(0.3 * RATE_HZ)], atol=1e-5)
    assert not np.array_equal(later, plain)
    assert not np.array_equal(_played(composer, negative="cold lamp"), plain)
    write_wav(tmp_path / "theme.wav", plain[RATE_HZ // 2 :], RATE_HZ)
    session = LiveSession(composer, theme=tmp_path / "theme.wav", theme_s=0.3, hop_s=0.4, window_s=0.8)
    assert session.made_s == 0.3
    codec = composer.backbone.codec
    wanted = composer.theme(composer.resolved(None, {"theme": tmp_path / "theme.wav", "theme_s": 0.3}))
    assert codec is not None and wanted is not None
    found = _played(composer, theme=tmp_path / "theme.wav", theme_s=0.3)
    assert len(found) == len(plain)
    sound = codec.decode(wanted).numpy()[: round(0.15 * RATE_HZ)]
    np.testing.assert_allclose(found[: len(sound)], sound, atol=1e-5)
    with pytest.raises(ExpotionError, match="live music has no end to count from"):
        LiveSession(composer, parts=["0-1"], hop_s=0.4)


def test_what_a_session_refuses(composer: Composer) -> None:
    with pytest.raises(ExpotionError, match="control 'smile'"):
        LiveSession(composer, strength={"smile": 1.0}, hop_s=0.4)
    with pytest.raises(ExpotionError, match="0 < hop_s < window_s"):
        LiveSession(composer, hop_s=2.0)
    session = LiveSession(composer, hop_s=0.4, window_s=0.8)
    frame = np.zeros((1, 8, 8, 3), np.uint8)
    session.push_frames(frame, np.array([0.2]))
    with pytest.raises(ExpotionError, match="times that increase"):
        session.push_frames(frame, np.array([0.2]))


# ----------------------------------------------------------------------------------------------------- clock


def test_the_clock_counts_a_delay_once() -> None:
    delay = Delay(hop_s=1.0, look_s=0.1, work_s=0.3, codec_s=0.2)
    assert delay.player_s == pytest.approx(1.75)
    clock = Clock(100, started_s=10.0, lead_s=delay.player_s)
    assert clock.chunk(86, 11.3) == 0.0  # the first 0.86 s, ready 1.3 s after the start
    assert clock.chunk(100, 12.44) == 0.0
    assert clock.chunk(100, 14.0) == pytest.approx(14.0 - 10.0 - 1.86 - 1.75)
    assert clock.chunk(100, 15.0) == 0.0  # just as late as before: the player has waited
    assert len(clock.late_s) == 1
    clock.busy_s, clock.busy_for_s, clock.last_s = 2.0, 4.0, 3.9
    said = clock.summary(3)
    assert said.startswith("3.9 s of music for 3.9 s of frames; latency ")
    assert "0.50 s of work for each second; 1 dropout; 3 frames left out" in said


def test_a_delay_that_grows_over_chunks_is_one_dropout() -> None:
    clock = Clock(100, started_s=0.0, lead_s=0.3)
    late = [clock.chunk(8, 0.08 * k + latency_s) for k, latency_s in enumerate(LATENCIES_S)]
    assert [round(one, 3) for one in late] == [0, 0, 0.1, 0.05, 0.02, 0, 0, 0, 0.02, 0]
    assert [round(one, 3) for one in clock.late_s] == [0.17, 0.02]
    assert clock.lead_s == pytest.approx(0.49)


LATENCIES_S = (0.2, 0.304, 0.4, 0.45, 0.47, 0.47, 0.3, 0.474, 0.49, 0.2)


# ---------------------------------------------------------------------------------------------------- frames


class _Capture:
    """A camera of ten frames, blue on its left."""

    def __init__(self, source: int | str) -> None:
        self.left, self.released = (10 if source == 0 else 0), False

    def isOpened(self) -> bool:
        return self.left > 0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        frame = np.zeros((720, 1280, 3), np.uint8)
        frame[:, :640, 0] = 255  # BGR
        return (True, frame) if self.left >= 0 else (False, None)

    def get(self, _what: int) -> float:
        return float("nan")

    def release(self) -> None:
        self.released = True


def test_a_camera_gives_small_rgb_frames_with_the_times_at_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", _Capture)
    camera = open_pictures("0")
    assert isinstance(camera, Camera) and camera.size == (360, 640) and camera.fps == 30.0
    found = list(camera.frames(threading.Event()))
    assert len(found) == 9  # the first was read to know the size
    assert all(frame.shape == (360, 640, 3) for frame, _ in found)
    assert found[0][0][100, 100].tolist() == [0, 0, 255]
    times_s = [time_s for _, time_s in found]
    assert all(after > before for before, after in itertools.pairwise(times_s))
    with pytest.raises(ExpotionError, match="live 3: a camera or stream that gives frames"):
        open_pictures("3")


def test_a_file_is_played_at_the_pace_of_its_timestamps(clip: Path) -> None:
    started = _hasty_s()
    with Arriving(open_pictures(str(clip))) as arriving:
        came = [(_hasty_s() - started, time_s) for _, time_s in arriving.until(threading.Event())]
    assert [round(time_s, 3) for _, time_s in came] == [round(k / 10, 3) for k in range(12)]
    assert all(now_s >= time_s - 0.002 for now_s, time_s in came)
    assert _hasty_s() - started >= SECONDS - 0.01


class _Pictures:
    name, size, fps, end_s = "pictures", (4, 4), 30.0, None

    def __init__(self, n: int, error: Exception | None = None) -> None:
        self.n, self.error, self.closed = n, error, False

    def frames(self, stop: threading.Event) -> Iterator[tuple[np.ndarray, float]]:
        for number in range(self.n):
            yield np.zeros((4, 4, 3), np.uint8), number / 30
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True


def test_frames_that_cannot_wait_are_counted_and_errors_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_frames, "WAITING_MAX", 5)
    source = _Pictures(8)
    with Arriving(source) as arriving:
        arriving._thread.join(5.0)
        assert len(list(arriving.until(threading.Event()))) == 5
        assert arriving.left_out == 3
    assert source.closed
    with Arriving(_Pictures(2, ValueError("the cable"))) as arriving, pytest.raises(ValueError, match="cable"):
        list(arriving.until(threading.Event()))


# --------------------------------------------------------------------------------------------------- command


def test_a_file_in_real_time_to_a_file_and_to_standard_output(
    live: Callable[..., int], clip: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    started = _hasty_s()
    out = tmp_path / "live.wav"
    assert live(clip, "--out", out, "--to", "-", "--seed", 4) == 0
    assert _hasty_s() - started >= SECONDS
    captured = capfdbinary.readouterr()
    samples, rate_hz = soundfile.read(out, dtype="int16")
    assert rate_hz == RATE_HZ and len(samples) == round(SECONDS * RATE_HZ)
    piped = np.frombuffer(captured.out, "<i2")
    assert len(piped) == len(samples) and np.abs(piped.astype(int) - samples).max() <= 1
    said = captured.err.decode()
    assert "Music is made 0.4 s at a time, and looks back 0.8 s at most" in said
    assert "0.4 s until its frames are there" in said and "0.20 s for the codec" in said
    assert "glow needs windows of 0.64 s of pictures, and comes that late" in said
    assert "1.2 s of music for 1.1 s of frames; latency " in said
    assert f"Wrote {out}" in said


def test_what_is_seen_goes_out_by_osc(
    live: Callable[..., int], clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from pythonosc.osc_message import OscMessage

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears:
        ears.bind(("127.0.0.1", 0))
        ears.settimeout(10.0)
        where = f"127.0.0.1:{ears.getsockname()[1]}"
        assert live(clip, "--out", tmp_path / "live.wav", "--osc", where) == 0
        message = OscMessage(ears.recv(1024))
    assert message.address == "/expotion/quantity_of_motion" and 0.0 <= message.params[0] <= 1.0
    assert live(clip, "--out", tmp_path / "live.wav", "--osc", "here") != 0
    assert "--osc here: HOST:PORT" in capfd.readouterr().err


@pytest.mark.parametrize("leap", [1, 10], ids=["steadily", "a frame that completes many hops"])
def test_ctrl_c_ends_it_with_a_whole_file(
    leap: int,
    live: Callable[..., int],
    clip: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Callable[[Path], list[str]],
) -> None:
    look, play = LiveSession.look, LiveSession.play

    def leaping(self: LiveSession, frame: Any, time_s: float) -> list[Seen]:
        return look(self, frame, leap * time_s)

    def interrupted(self: LiveSession, seen: Seen) -> None:
        play(self, seen)
        if threading.current_thread() is threading.main_thread() and rehearsed:
            os.kill(os.getpid(), signal.SIGINT)

    rehearsed: list[bool] = []
    started = LiveSession.rehearse

    def rehearse(self: LiveSession, size: tuple[int, int], fps: float) -> tuple[float, float]:
        found = started(self, size, fps)
        rehearsed.append(True)
        return found

    monkeypatch.setattr(LiveSession, "look", leaping)
    monkeypatch.setattr(LiveSession, "play", interrupted)
    monkeypatch.setattr(LiveSession, "rehearse", rehearse)
    before = signal.getsignal(signal.SIGINT)
    out = tmp_path / "cut.flac"
    assert live(clip, "--out", out) == 0
    samples, _ = soundfile.read(out)
    assert len(samples) == round((0.4 - 0.06) * RATE_HZ)
    assert "0.3 s of music for 0." in capfd.readouterr().out
    assert leftovers(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_music_that_comes_too_late_is_said_so(
    live: Callable[..., int],
    clip: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play = LiveSession.play

    def slowly(self: LiveSession, seen: Seen) -> None:
        play(self, seen)
        if self.made_s > 0.4 and seen.times_s[-1] < 1.0:  # after the rehearsal and the first hop
            time.sleep(1.4 / HASTE)

    monkeypatch.setattr(LiveSession, "rehearse", lambda self, size, fps: (0.01, 0.05))
    monkeypatch.setattr(LiveSession, "play", slowly)
    assert live(clip, "--out", tmp_path / "late.wav") == 0
    said = capfd.readouterr().out
    assert "s too late" in said and "dropout" in said and "0 dropouts" not in said
    assert len(soundfile.read(tmp_path / "late.wav")[0]) == round(SECONDS * RATE_HZ)


def test_a_listener_that_leaves_ends_it(
    live: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def gone(_samples: np.ndarray) -> None:
        raise listening.ListenerGone

    monkeypatch.setattr(listening, "_to_standard_output", gone)
    assert live(clip, "--to", "-") == 0
    player = listening.Outlet("-", RATE_HZ)
    player.write(np.zeros(8, np.float32))
    player.close()
    assert player.gone


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--out", "a.mp4"], "--out a.mp4: a name that ends in .wav or .flac"),
        (["--out", "a.wav", "--samples", "2"], "No such option: --samples"),
        (["--out", "a.wav", "--overlap", "0.5"], "live: no overlap, got 0.5 s; give --window and --hop"),
        (["--out", "a.wav", "--strength", "smile=1"], "--strength smile=1: one of glow, sway"),
        (["--out", "a.wav", "--strength", "glow=2:1,1:0"], "times that go forwards"),
        (["--out", "a.wav", "--control", "glow=b.mp4"], "no clips to take controls from"),
        (["--out", "a.wav", "--steering", "parts.yaml"], "live: no parts, as it has no end to count from"),
        (["--out", "a.wav", "--theme-s", "1"], "--theme-s: a theme to start from, got none"),
        (["--out", "/proc/none/a.wav"], "/proc/none: could not be made"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], wanted: str, live: Callable[..., int], clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = clip.with_name("parts.yaml")
    parts.write_text("parts: [0-1]\n")
    assert live(clip, *[str(parts) if word == parts.name else word for word in arguments]) != 0
    said = capfd.readouterr()
    assert wanted in said.err and "Traceback" not in said.err


def test_a_source_that_is_not_there_and_hops_that_do_not_fit(
    live: Callable[..., int], finished: Path, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "a.wav")
    assert live("nowhere.mp4", "--out", out) == 1
    assert "nowhere.mp4: no such file" in capfd.readouterr().err
    assert run(["live", str(clip), "--out", out, "--adaptor", str(finished), "--hop", "3"]) == 1
    assert "--hop below --window" in capfd.readouterr().err
