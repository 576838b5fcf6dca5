"""An application served until it is told to stop: a socket with errors in words, TLS, silent connections closed."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from expotion.errors import ExpotionError, Problem
from expotion_web.guard import IDLE_S, Application

LOCAL = ("127.0.0.1", "localhost", "::1")
"""What this machine calls itself; nobody else can reach these."""
CLOSING_S = 2
"""What is still being sent when the server stops gets this long."""
WAITING_CONNECTIONS = 128


class Patient(H11Protocol):
    """HTTP/1.1 that closes a connection whose request does not come within IDLE_S, from the first byte on."""

    def connection_made(self, transport: object) -> None:
        """The clock starts before anything has been said."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def data_received(self, data: bytes) -> None:
        """It starts again while a request's head is incomplete."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            self._wait()

    def _wait(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_S, self.timeout_keep_alive_handler)


class _Server(uvicorn.Server):
    """Tells who holds connections open before it waits for their end."""

    def __init__(self, config: uvicorn.Config, hang_up: Callable[[], None]) -> None:
        super().__init__(config)
        self._hang_up = hang_up

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hang up, then wait."""
        self._hang_up()
        await super().shutdown(sockets)


class PageServer:
    """Listens from the start; answers within `serve_forever`. Use as a context manager."""

    def __init__(
        self,
        app: Application,
        host: str,
        port: int,
        certificate: tuple[Path, Path] | None = None,
        hang_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Listen. `certificate` is the files of a certificate and its key; `hang_up` ends what waits for news.

        Raises ExpotionError where it cannot listen.
        """
        self._socket = listening(host, port)
        self.server_address: tuple[str, int] = self._socket.getsockname()[:2]
        self.scheme = "http" if certificate is None else "https"
        files = {} if certificate is None else {"ssl_certfile": certificate[0], "ssl_keyfile": str(certificate[1])}
        config = uvicorn.Config(
            app,
            http=Patient,
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=int(IDLE_S),
            timeout_graceful_shutdown=CLOSING_S,
            **files,  # type: ignore[arg-type]
        )
        self._server = _Server(config, hang_up)
        self._running = threading.Lock()

    @property
    def address(self) -> str:
        """Where the first page is."""
        host, port = self.server_address
        return f"{self.scheme}://[{host}]:{port}/" if ":" in host else f"{self.scheme}://{host}:{port}/"

    def serve_forever(self) -> None:
        """Answer until `shutdown`, or Ctrl-C, which is raised."""
        with self._running:
            self._server.run(sockets=[self._socket])

    def shutdown(self) -> None:
        """Stop answering; returns when it has stopped."""
        self._server.should_exit = True
        with self._running:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ExpotionError in words for a port or an address that cannot be had."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(WAITING_CONNECTIONS)
    except (OSError, OverflowError) as error:
        found.close()
        raise ExpotionError(_problem(host, port, error)) from None
    return found


def _problem(host: str, port: int, error: BaseException) -> Problem:
    if isinstance(error, OverflowError):
        return Problem("--port", "a number from 0 to 65535", str(port))
    number, where = getattr(error, "errno", None), f"--port {port}"
    if number == errno.EADDRINUSE:
        return Problem(where, "a port that is free", "in use", "give another, or 0 for any")
    if number == errno.EACCES:
        return Problem(where, "a port that may be used", "permission denied", "give one above 1023")
    return Problem(f"--host {host}", "an address of this machine", str(error), "for example 127.0.0.1")
