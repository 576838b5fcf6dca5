"""A process that is talked to while it works: words (JSON) and bytes over its pipes, in both directions.

A message is one letter (w for words, b for bytes), its length in 4 bytes, big end first, and itself. What other
code prints goes to the process's log. When the server goes, its pipe ends, and the process ends what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

HEAD = struct.Struct(">cI")
WORDS, BYTES = b"w", b"b"
Message = dict[str, Any] | bytes


def packed(message: Message) -> bytes:
    """A message as it travels."""
    kind, body = (BYTES, message) if isinstance(message, bytes) else (WORDS, json.dumps(message).encode())
    return HEAD.pack(kind, len(body)) + body


def unpacked(kind: bytes, body: bytes) -> Message:
    """A message as it came."""
    if kind == BYTES:
        return body
    words: dict[str, Any] = json.loads(body)
    return words


class Wire:
    """The process's end. `say` may be called by several threads; `gone` is whether nobody hears it any more."""

    def __init__(self, into: BinaryIO, out: BinaryIO) -> None:
        self._into, self._out, self._lock = into, out, threading.Lock()
        self.gone = False

    @classmethod
    def own(cls) -> Wire:
        """This process's pipes, apart from what is printed; a Ctrl-C in the server's terminal is not for it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        return cls(sys.stdin.buffer, out)

    def say(self, message: Message) -> None:
        """Send a message; nothing where nobody hears it."""
        with self._lock:
            if self.gone:
                return
            try:
                self._out.write(packed(message))
                self._out.flush()
            except OSError:
                self.gone = True

    def heard(self) -> Iterator[Message]:
        """Messages until the other end goes."""
        while len(head := self._into.read(HEAD.size)) == HEAD.size:
            kind, length = HEAD.unpack(head)
            body = self._into.read(length)
            if len(body) < length:
                return
            yield unpacked(kind, body)


class Talking:
    """The server's end of a process that runs `python -m MODULE`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._into, self._out = process, process.stdin, process.stdout

    @classmethod
    async def begin(cls, command: list[str], log: Path, environment: Mapping[str, str]) -> Talking:
        """Start a process whose words of its own go to a file."""
        pipe = asyncio.subprocess.PIPE
        with log.open("ab") as errors:
            return cls(
                await asyncio.create_subprocess_exec(
                    *command, stdin=pipe, stdout=pipe, stderr=errors, env={**os.environ, **environment}
                )
            )

    @property
    def waiting_bytes(self) -> int:
        """Bytes that it has not taken yet."""
        return int(self._into.transport.get_write_buffer_size())

    def say(self, message: Message) -> None:
        """Send a message, without waiting until it is taken."""
        if not self._into.is_closing():
            self._into.write(packed(message))

    def end(self) -> None:
        """Nothing more will be said; the process ends what it does."""
        with contextlib.suppress(OSError, RuntimeError):
            self._into.close()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def heard(self) -> Message | None:
        """The next message, None when there is none any more."""
        try:
            kind, length = HEAD.unpack(await self._out.readexactly(HEAD.size))
            return unpacked(kind, await self._out.readexactly(length))
        except asyncio.IncompleteReadError:
            return None

    async def ended(self, patience_s: float) -> int:
        """How it ended; it is killed where it takes longer."""
        try:
            return await asyncio.wait_for(self._process.wait(), patience_s)
        except TimeoutError:
            self.kill()
            return await self._process.wait()
