"""The study as a small web server: standard library only, pages without foreign resources, media by token."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from expotion.errors import ExpotionError, Problem
from expotion.study import pages
from expotion.study.flow import Flow, Reply
from expotion.study.model import ANSWERS_FILE, Study, sound_file
from expotion.study.store import Answers

log = logging.getLogger("expotion")
MAX_FORM_BYTES, MAX_FIELDS = 16_384, 100
IDLE_S = 60.0
"""A connection that says nothing for this long is closed."""

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; media-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


class StudyServer(ThreadingHTTPServer):
    """Serves one study; every request runs in a thread of its own."""

    daemon_threads = True

    def __init__(self, folder: Path, host: str, port: int) -> None:
        """Open study and answers, and listen. Raises ExpotionError for what is wrong with either."""
        self.folder = folder
        self.study = Study.load(folder)
        self.answers = Answers(folder / ANSWERS_FILE, self.study.id)
        self.flow = Flow(self.study, self.answers)
        self.media: dict[str, tuple[Path, str]] = {
            token: (folder / each.file, each.media_type) for token, each in self.study.stimuli.items()
        }
        for token in (*self.study.screening.softest, self.study.screening.calibration):
            self.media[token] = (folder / sound_file(token), "audio/wav")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ExpotionError(_listening_problem(host, port, error)) from None

    @property
    def address(self) -> str:
        """Where the first page is."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no fault; anything else is logged with its traceback."""
        del request, client_address
        log.debug("a request of the study ended early", exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "expotion-study"
    sys_version = ""
    timeout = IDLE_S
    server: StudyServer

    def do_GET(self) -> None:
        """Pages, style, script and media."""
        path = self.path.partition("?")[0]
        if path.startswith("/media/"):
            self._media(path.removeprefix("/media/"))
        elif path.removeprefix("/static/") in pages.STATIC and path.startswith("/static/"):
            name = path.removeprefix("/static/")
            self._send(200, pages.static(name), pages.STATIC[name], cache="max-age=300")
        else:
            self._answer(lambda flow: flow.get(path))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """A form."""
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_FORM_BYTES:
            self.close_connection = True
            self._reply(self.server.flow.refused(413 if length > 0 else 411, self.path))
            return
        body = self.rfile.read(length).decode("utf-8", errors="replace")
        try:
            form = dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError:
            self._reply(self.server.flow.refused(400, self.path))
            return
        self._answer(lambda flow: flow.post(self.path.partition("?")[0], form))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses of participants are not kept."""

    def _answer(self, act: Callable[[Flow], Reply]) -> None:
        try:
            reply = act(self.server.flow)
        except sqlite3.Error as error:
            log.warning("an answer could not be stored: %s", error)
            reply = self.server.flow.refused(503, self.path)
        self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        if reply.location is not None:
            self._send(303, b"", "text/plain", location=reply.location)
        else:
            self._send(reply.status, reply.page.encode("utf-8"), "text/html; charset=utf-8")

    def _send(
        self, status: int, body: bytes, kind: str, *, location: str | None = None, cache: str = "no-store"
    ) -> None:
        self.send_response(status)
        self._headers(kind, len(body), cache)
        if location is not None:
            self.send_header("Location", location)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

    def _headers(self, kind: str, length: int, cache: str) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", cache)
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if self.close_connection:
            self.send_header("Connection", "close")

    def _media(self, token: str) -> None:
        """A file by its token, whole or the part that a player asks for."""
        found = self.server.media.get(token)
        if found is None:
            self._reply(self.server.flow.refused(404, self.path))
            return
        path, kind = found
        with path.open("rb") as file:
            size = path.stat().st_size
            part = _part(self.headers.get("Range"), size)
            if part is None:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self._headers(kind, 0, "no-store")
                self.end_headers()
                return
            first, last = part
            whole = "Range" not in self.headers
            self.send_response(200 if whole else 206)
            if not whole:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("Accept-Ranges", "bytes")
            self._headers(kind, last - first + 1, "private, max-age=86400")
            self.end_headers()
            if self.command == "HEAD":
                return
            file.seek(first)
            with contextlib.suppress(ConnectionError):
                if last + 1 == size:
                    shutil.copyfileobj(file, self.wfile)
                else:
                    self.wfile.write(file.read(last - first + 1))


def _part(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that are asked for; all where nothing is, None where it cannot be given."""
    if header is None or "," in header:
        return 0, size - 1
    found = _RANGE.match(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    return (first, last) if first <= last else None


def _listening_problem(host: str, port: int, error: BaseException) -> Problem:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return Problem(f"--port {port}", "a port that is free", "in use", "give another, or 0 for any")
    if isinstance(error, OverflowError):
        return Problem("--port", "a number from 0 to 65535", str(port))
    if number == errno.EACCES:
        return Problem(
            f"--port {port}", "a port that may be used", "permission denied", "give one above 1023"
        )
    return Problem(f"--host {host}", "an address of this machine", str(error), "for example 127.0.0.1")
