"""A file server on this machine that can break off, refuse to resume, or change the file; an empty cache."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

DATA = bytes(range(256)) * 4000


@dataclass
class Server:
    """What is served and how. `break_after`: bytes after which each answer ends early, while `breaks` lasts."""

    data: bytes = DATA
    tag: str = '"one"'
    resumes: bool = True
    break_after: int = 300_000
    breaks: int = 0
    status: int = 0
    ranges: list[str | None] = field(default_factory=list)
    address: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.status:
                self.send_error(state.status)
                return
            start = 0
            if asked and state.resumes and self.headers.get("If-Range") == state.tag:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(state.data):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(state.data) - 1}/{len(state.data)}")
            else:
                self.send_response(200)
            self.send_header("ETag", state.tag)
            body = state.data[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.breaks:
                state.breaks -= 1
                body = body[: state.break_after]
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            del arguments

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{listening.server_port}/folder/weights.pt"
    yield state
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
