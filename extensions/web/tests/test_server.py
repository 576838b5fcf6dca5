"""Sockets, certificates, files in parts, foreign files."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from expotion.errors import ExpotionError, MediaError
from expotion_web import server
from expotion_web.certificate import given_certificate, own_certificate
from expotion_web.limited import limited
from expotion_web.media import file_response
from expotion_web.server import PageServer


@contextmanager
def _served(**options: Any) -> Iterator[PageServer]:
    with PageServer(PlainTextResponse("here"), "127.0.0.1", 0, **options) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(5.0)
        assert not thread.is_alive()


def test_a_connection_that_says_nothing_or_half_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.05)
    with _served() as running:
        for said in (b"", b"GET / HTTP/1.1\r\nHost: "):
            with socket.create_connection(running.server_address, timeout=5.0) as quiet:
                quiet.sendall(said)
                assert quiet.recv(10) == b""


def test_https_by_a_certificate_of_our_own(tmp_path: Path) -> None:
    files = own_certificate(tmp_path, ["127.0.0.1", "studio.local"])
    assert os.name == "nt" or files[1].stat().st_mode & 0o077 == 0
    before = files[0].read_bytes()
    assert own_certificate(tmp_path, ["127.0.0.1"])[0].read_bytes() == before
    assert own_certificate(tmp_path, ["127.0.0.1", "::1"])[0].read_bytes() != before
    trusting = ssl.create_default_context(cafile=str(files[0]))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
    )
    with _served(certificate=files) as running:
        assert running.address.startswith("https://127.0.0.1:")
        with opener.open(running.address, timeout=5.0) as answer:
            assert answer.read() == b"here"


def test_a_certificate_that_is_given(tmp_path: Path) -> None:
    certificate, key = own_certificate(tmp_path / "own", ["localhost"])
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert given_certificate(both) == (both, both)
    alone = tmp_path / "alone.pem"
    alone.write_bytes(certificate.read_bytes())
    with pytest.raises(ExpotionError, match=r"no key in it, and no .*alone\.key"):
        given_certificate(alone)
    (tmp_path / "alone.key").write_bytes(key.read_bytes())
    assert given_certificate(alone) == (alone, tmp_path / "alone.key")
    with pytest.raises(ExpotionError, match="no certificate in it"):
        given_certificate(key)


def _body(response: Any) -> bytes:
    async def whole() -> bytes:
        return b"".join([chunk async for chunk in response.body_iterator])

    return asyncio.run(whole()) if hasattr(response, "body_iterator") else response.body


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        (None, 200, slice(None)),
        ("bytes=0-99", 206, slice(100)),
        ("bytes=290000-", 206, slice(290_000, None)),
        ("bytes=-50", 206, slice(-50, None)),
        ("bytes=299999-400000", 206, slice(299_999, None)),
        ("bytes=300000-", 416, slice(0, 0)),
        ("bytes=9-3", 416, slice(0, 0)),
        ("lines=1-2", 416, slice(0, 0)),
    ],
)
def test_files_in_parts(tmp_path: Path, asked: str | None, status: int, part: slice) -> None:
    content = os.urandom(300_000)
    (tmp_path / "x").write_bytes(content)
    response = file_response(tmp_path / "x", "video/mp4", asked)
    assert response.status_code == status
    assert _body(response) == content[part]
    if status != 416:
        assert int(response.headers["content-length"]) == len(content[part])


def test_foreign_files_are_opened_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign.py").write_text(
        "import os\n"
        "from expotion.errors import MediaError, Problem\n"
        "def fine(path): print('noise'); return {'path': path}\n"
        "def bad(path): raise MediaError(Problem(path, 'a clip', 'a poem'))\n"
        "def crash(path): os.abort()\n"
        "def greedy(path): return {'n': len(bytearray(8 << 30))}\n"
        "def waits(): return {'idle': os.sched_getscheduler(0) == os.SCHED_IDLE}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert limited("foreign:fine", "x.mp4", where="x") == {"path": "x.mp4"}
    with pytest.raises(MediaError, match=r"x\.mp4: a clip, got a poem"):
        limited("foreign:bad", "x.mp4", where="x")
    with pytest.raises(MediaError, match=r"x: a file that can be read, got one on which reading broke down"):
        limited("foreign:crash", "x.mp4", where="x")
    if os.name == "posix":
        with pytest.raises(MediaError, match="MemoryError"):
            limited("foreign:greedy", "x.mp4", where="x")
    if sys.platform == "linux":
        assert limited("foreign:waits", where="x") == {"idle": False}
        assert limited("foreign:waits", where="x", behind=True) == {"idle": True}
