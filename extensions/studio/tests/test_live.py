"""The room Live without a browser: what is sent to and fro, what is refused, what is kept."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from expotion.errors import MediaError
from expotion.video.audio import load_audio
from expotion.video.scan import scan
from expotion_studio import keeping as keeping_file
from expotion_studio import live, playing, sessions
from expotion_studio.keeping import HEAD, Keeping, frames_of
from expotion_studio.sessions import unwritten
from expotion_web.talk import packed
from expotion_web.worker import Telling

RATE_HZ = 8000
FAKE = """
import json, math, pathlib, struct, sys, time
from expotion_studio.keeping import Keeping
from expotion_web.talk import Wire
wire = Wire.own()
words = wire.heard()
given = next(words)
folder = pathlib.Path(given["folder"])
about = {**given["asked"], "rate_hz": RATE, "channels": 1, "behind_s": 0.2, "said": [(0.0, "calm")]}
(folder / "asked.json").write_text(json.dumps(about))
keeping = Keeping(folder)
wire.say({"event": "ready", "steering": given["steering"]})
for message in words:
    if isinstance(message, bytes):
        time_s, = struct.unpack_from(">d", message)
        keeping.frame(time_s, message[8:])
        sound = struct.pack("<800h", *(round(1000 * math.sin(0.35 * k)) for k in range(800)))
        time.sleep(0.01)
        keeping.sound(sound)
        wire.say(struct.pack(">Hd", 1, time_s) + sound)
        wire.say({"event": "now"})
    elif message.get("stop"):
        break
    elif message.get("say") == "die":
        keeping.close()
        import os
        os.kill(os.getpid(), 9)
    else:
        wire.say({"event": "said", **message})
keeping.close()
wire.say({"event": "ended", "text": "it was good", "seconds": 1.0, "note": ""})
""".replace("RATE", str(RATE_HZ))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, made: Any) -> Any:
    """A studio whose live sessions are played by a small process that answers each frame with 0.1 s of sound."""
    monkeypatch.setattr(live, "COMMAND", [sys.executable, "-c", FAKE])
    monkeypatch.setattr(live.Adaptors, "steering", lambda _self, asked: asked)
    return made


def _jpeg(level: int, size: tuple[int, int] = (48, 64)) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((*size, 3), level, np.uint8))[1].tobytes())


def _frame(time_s: float, level: int = 100) -> bytes:
    return struct.pack(">d", time_s) + _jpeg(level)


def _until_ready(socket: Any) -> dict[str, Any]:
    while (event := socket.receive_json())["event"] != "ready":
        assert event["event"] == "stage", event
    found: dict[str, Any] = event
    return found


def _heard(socket: Any, event: str) -> dict[str, Any]:
    """The next event of a kind; sound and others before it are passed over."""
    while True:
        message = socket.receive()
        if message.get("text") and (found := json.loads(message["text"]))["event"] == event:
            return dict(found)


def test_frames_become_sound_and_a_session(played: Any, tmp_path: Path) -> None:
    with played.client.websocket_connect("/api/live") as socket:
        socket.send_json({"prompt": "calm", "strengths": {"face": 0.5}})
        ready = _until_ready(socket)
        assert ready["steering"]["strengths"] == {"face": "0.5"} and ready["steering"]["prompt"] == "calm"
        assert [one.state for one in played.jobs.all()] == []
        for number in range(8):
            socket.send_bytes(_frame(number / 10))
            sound = socket.receive_bytes()
            assert struct.unpack_from(">Hd", sound) == (1, number / 10) and len(sound) == 10 + 1600
            now = socket.receive_json()
        assert 0.01 <= now["engine_s"] <= now["engine_p95_s"] < 10.0 and now["refused"] == 0
        socket.send_json({"say": "wild"})
        assert socket.receive_json() == {"event": "said", "say": "wild"}
        socket.send_json({"strength": ["face", 1.5]})
        assert socket.receive_json() == {"event": "said", "strength": ["face", 1.5]}
        socket.send_json({"stop": True})
        ended = socket.receive_json()
    assert ended["event"] == "ended" and ended["text"] == "it was good"
    (job,) = played.jobs.all()
    assert (job.kind, job.about) == ("session", ended["session"])
    folder = played.shelf.sessions / ended["session"]
    assert played.client.get("/api/sessions").json() == []
    assert played.client.get(f"/api/sessions/{folder.name}/video").status_code == 404
    sessions.write({"folder": str(folder)}, Telling(sys.stdout, tmp_path))  # type: ignore[arg-type]
    (kept,) = played.client.get("/api/sessions").json()
    assert (kept["frames"], kept["duration_s"], kept["said"]) == (8, 1.0, [[0.0, "calm"]])
    video = played.client.get(f"/api/sessions/{folder.name}/video")
    assert video.headers["content-type"] == "video/mp4" and len(video.content) > 1000
    source = scan(folder / f"{folder.name}.mp4")
    assert source.picture is not None and source.sound is not None
    np.testing.assert_allclose(source.picture.times_s, np.arange(8) / 10, atol=2e-3)
    samples = load_audio(folder / f"{folder.name}.mp4", RATE_HZ)
    assert samples is not None and 0.02 < np.abs(samples).max() < 0.05 and len(samples) == 1.0 * RATE_HZ
    assert np.abs(samples[: int(0.18 * RATE_HZ)]).max() < 0.003  # it was heard so much later
    assert np.abs(samples[int(0.22 * RATE_HZ) : int(0.3 * RATE_HZ)]).max() > 0.02
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".mp4", ".txt"]
    assert sessions.write({"folder": str(folder)}, Telling(sys.stdout, tmp_path)) == {}  # type: ignore[arg-type]
    assert played.client.delete(f"/api/sessions/{folder.name}").status_code == 409  # its job waits
    played.jobs.stop(job.id)
    assert played.client.delete(f"/api/sessions/{folder.name}").status_code == 200 and not folder.exists()


def test_one_session_at_a_time_and_running_work_stands_still(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    hold = played.jobs._hold
    monkeypatch.setattr(played.jobs, "_hold", lambda more: (held.append(more), hold(more)))
    with played.client.websocket_connect("/api/live") as first:
        first.send_json({})
        _until_ready(first)
        assert held == [1]
        with played.client.websocket_connect("/api/live") as second:
            assert "another tab" in second.receive_json()["problems"][0]
            with pytest.raises(WebSocketDisconnect):
                second.receive_json()
        assert held == [1]
        first.send_json({"stop": True})
        assert _heard(first, "ended")["session"] == ""  # nothing was played
    _soon(lambda: held == [1, -1])
    assert played.jobs.all() == [] and [*played.shelf.sessions.iterdir()] == []
    with played.client.websocket_connect("/api/live") as third:
        third.send_json({})
        _until_ready(third)
        third.send_json({"stop": True})
        assert _heard(third, "ended")


def test_a_page_that_goes_loses_nothing(played: Any, served: Any) -> None:
    from websockets.sync.client import connect

    with connect(f"{served[1].replace('http', 'ws')}api/live") as page:
        page.send("{}")
        assert json.loads(page.recv())["event"] == "ready"
        for number in range(6):
            page.send(_frame(number / 10))
        for _ in range(12):
            page.recv(10.0)
    _soon(lambda: len(played.jobs.all()) == 1 and played.jobs.all()[0].ended)
    (session,) = played.shelf.all_sessions()
    assert (session.frames, session.duration_s) == (6, 0.8)


def test_a_process_that_dies_loses_nothing(played: Any) -> None:
    with played.client.websocket_connect("/api/live") as socket:
        socket.send_json({})
        _until_ready(socket)
        for number in range(6):
            socket.send_bytes(_frame(number / 10))
        for _ in range(6):
            _heard(socket, "now")
        socket.send_json({"say": "die"})
        wrong = _heard(socket, "wrong")
    assert "the video of what was played is written" in wrong["problems"][0] and "-9" in wrong["problems"][0]
    assert len(played.jobs.all()) == 1
    for job in played.jobs.all():  # a studio that was killed has no jobs for them
        played.jobs.stop(job.id)
        played.jobs.forget(job.id)
    unwritten(played.shelf, played.jobs)
    unwritten(played.shelf, played.jobs)
    assert sorted(job.about for job in played.jobs.all()) == sorted(
        path.name for path in played.shelf.sessions.iterdir()
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"say": ""}, "say, strength, stop"),
        ({"strength": ["face", -1]}, "say, strength, stop"),
        ({"volume": 3}, "say, strength, stop"),
        (b"1234567", "say, strength, stop"),
    ],
)
def test_what_is_not_understood_ends_a_session(played: Any, said: Any, why: str) -> None:
    with played.client.websocket_connect("/api/live") as socket:
        socket.send_json({})
        _until_ready(socket)
        (socket.send_bytes if isinstance(said, bytes) else socket.send_json)(said)
        assert why in _heard(socket, "note")["text"]
        assert _heard(socket, "ended")["session"] == ""


def test_what_is_asked_is_checked_before_anything_is_loaded(made: Any) -> None:
    def refused(asked: Any) -> str:
        with made.client.websocket_connect("/api/live") as socket:
            socket.send_json(asked)
            return str(socket.receive_json()["problems"])

    assert "adaptor nobody: there is none of this name" in refused({"adaptor": "nobody"})
    assert "strengths smile" in refused({"strengths": {"smile": 1}})
    assert "what is asked, as JSON" in refused({"seed": "x"})
    assert not made.shelf.sessions.exists() or [*made.shelf.sessions.iterdir()] == []


def test_where_beats_cannot_go_is_said_by_the_process_itself(made: Any) -> None:
    with made.client.websocket_connect("/api/live") as socket:
        socket.send_json({"osc": "nowhere"})
        wrong = socket.receive_json()
    assert wrong["event"] == "wrong" and "--osc nowhere: HOST:PORT" in wrong["problems"][0]
    assert [*made.shelf.sessions.iterdir()] == []


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}])
def test_other_sites_do_not_reach_it(made: Any, headers: dict[str, str]) -> None:
    with pytest.raises(WebSocketDisconnect), made.client.websocket_connect("/api/live", headers=headers):
        pass


class _Wire:
    def __init__(self, messages: list[Any]) -> None:
        self.messages = messages

    def heard(self) -> Any:
        yield from self.messages


class _Clock:
    started_s = 0.0


def test_frames_of_a_page_are_checked_and_kept(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path)
    good, turned = _frame(0.0), struct.pack(">d", 0.2) + _jpeg(50, (64, 48))
    messages = [good, {"say": "wild"}, _frame(0.1), _frame(0.1), struct.pack(">d", 0.15) + b"no picture", turned]
    prompts: dict[str, int] = {"wild": 1}
    session: Any = type("Live", (), {"composer": type("Composer", (), {"prompts": prompts})})
    clock = _Clock()
    sent = playing.Sent(_Wire(messages), keeping, session, clock)  # type: ignore[arg-type]
    stop: Any = type("Stop", (), {"is_set": staticmethod(lambda: False)})
    found = list(sent.frames(stop))
    assert [time_s for _, time_s in found] == [0.0, 0.1, 0.2] and sent.strange == 2
    assert all(frame.shape == (48, 64, 3) for frame, _ in found)  # of one size, whatever comes
    assert sent.words.get() == {"say": "wild"} and clock.started_s > 0.0
    keeping.close()
    assert [time_s for time_s, _ in frames_of(tmp_path / "frames.part")] == [0.0, 0.1, 0.2]
    for leap in (9.0, float("nan")):
        leaping = playing.Sent(_Wire([_frame(leap)]), Keeping(tmp_path), session, clock)  # type: ignore[arg-type]
        with pytest.raises(Exception, match="times without gaps"):
            list(leaping.frames(stop))
    ended = playing.Sent(_Wire([{"stop": True}, good]), Keeping(tmp_path), session, clock)  # type: ignore[arg-type]
    assert list(ended.frames(stop)) == []


def test_a_full_disk_and_a_long_session_play_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = Keeping(tmp_path)
    monkeypatch.setattr(keeping_file, "LONGEST_S", 1.0)
    keeping.frame(0.5, b"x")
    keeping.frame(1.5, b"y")
    assert "plays on" in keeping.stopped
    keeping.close()
    assert len(list(frames_of(tmp_path / "frames.part"))) == 1
    (tmp_path / "frames.part").write_bytes(HEAD.pack(0.0, 5) + b"whole"[:3])
    assert list(frames_of(tmp_path / "frames.part")) == []
    if Path("/dev/full").exists():
        full = Keeping(tmp_path)
        full._sound = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        full.sound(b"x" * 10)
        assert "No space left" in full.stopped


def test_too_little_is_no_session(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 16)
    folder.mkdir()
    (folder / "asked.json").write_text(json.dumps({"rate_hz": RATE_HZ, "channels": 1}))
    (folder / "frames.part").write_bytes(HEAD.pack(0.0, 1) + b"x")
    (folder / "sound.part").write_bytes(b"\0" * 10)
    assert live.played_s(folder) == pytest.approx(5 / RATE_HZ) and live.played_s(tmp_path) == 0.0
    with pytest.raises(MediaError, match=r"at least 0\.5 s"):
        sessions.write({"folder": str(folder)}, Telling(sys.stdout, tmp_path))  # type: ignore[arg-type]
    assert not folder.exists()


def test_a_message_says_which_frames_are_new_in_it() -> None:
    from expotion_live.loop import Made

    samples = np.array([0.0, 0.5, -1.0], np.float32)
    data = playing.to_bytes(Made(samples, 1.0, 0.0, (0.25, 0.5)))
    assert struct.unpack(">H2d", data[:18]) == (2, 0.25, 0.5)
    assert np.frombuffer(data[18:], "<i2").tolist() == [0, 16384, -32767]
    assert packed(data)[:5] == b"b" + len(data).to_bytes(4, "big")


def _soon(true: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)
