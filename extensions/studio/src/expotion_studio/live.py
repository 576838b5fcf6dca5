"""The room Live: a WebSocket between a page's camera and speakers and the process that makes the music.

The page says first what it asks (`Asked`), and when it is told "ready" sends frames (time as float64, big end
first, and a JPEG) and words: say, strength, stop. It gets the process's words and its music as they are
(`playing.py`). One session at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from expotion.errors import ExpotionError, Problem
from expotion_studio.adaptors import Adaptors
from expotion_studio.sessions import LEAST_S, begin_writing, session_calls
from expotion_studio.shelf import Shelf, new_name, now
from expotion_web.jobs import Jobs
from expotion_web.talk import Talking

COMMAND = [sys.executable, "-m", "expotion_studio.playing"]
ENVIRONMENT = {"OPENCV_IO_MAX_IMAGE_PIXELS": str(1 << 23)}
"""The process decodes no larger pictures."""
TIME = struct.Struct(">d")
MEASURED = 400
"""Frames whose latency is told of."""
MAX_FRAME_BYTES = 1 << 19
MAX_WAITING_BYTES = 1 << 21
"""What the process has not taken yet; frames beyond that are left out."""
ENDING_S = 30.0
"""How long a session may take to make what is left and to close its files."""
ASKING_S = 10.0
BUSY = "Live plays already, in another tab or window. Stop it there first."
Value = Annotated[float, Field(ge=0.0, le=10.0)]


class Asked(BaseModel):
    """What is asked of a session; None and '' leave it to the adaptor."""

    adaptor: str = ""
    prompt: Annotated[str, Field(max_length=2000)] = ""
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    strengths: dict[str, Value] = {}
    osc: Annotated[str, Field(max_length=200)] = ""
    midi_port: Annotated[str, Field(max_length=200)] = ""


class Words(BaseModel):
    """What is said while it plays."""

    model_config = ConfigDict(extra="forbid")

    say: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    strength: tuple[str, Value] | None = None
    stop: bool = False


class Playing:
    """The session that plays, if one does."""

    def __init__(self, shelf: Shelf, jobs: Jobs, adaptors: Adaptors) -> None:
        self._shelf, self._jobs, self._adaptors = shelf, jobs, adaptors
        self._busy = False

    async def __call__(self, socket: WebSocket) -> None:
        """From a page's first words to its last; what is wrong is told before the socket closes."""
        await socket.accept()
        if self._busy:
            await refuse(socket, [BUSY])
            return
        self._busy = True
        try:
            with self._jobs.suspended():
                await self._session(socket)
        finally:
            self._busy = False

    async def _session(self, socket: WebSocket) -> None:
        folder = self._shelf.sessions / new_name()
        try:
            asked = Asked.model_validate(await asyncio.wait_for(socket.receive_json(), ASKING_S))
            wanted = asked.model_dump(exclude={"osc", "midi_port"})
            wanted["strengths"] = {name: f"{value:g}" for name, value in asked.strengths.items()}
            steering = await run_in_threadpool(self._adaptors.steering, wanted)
            folder.mkdir(parents=True)
        except (WebSocketDisconnect, TimeoutError):
            return
        except HTTPException as error:
            await refuse(socket, [str(error.detail)])
            return
        except ExpotionError as error:
            await refuse(socket, [str(problem) for problem in error.problems])
            return
        except (ValueError, KeyError, OSError) as error:
            await refuse(socket, [str(Problem("live", "what is asked, as JSON", str(error).splitlines()[0]))])
            return
        about = {"added": now(), "adaptor": asked.adaptor}
        given = {"steering": steering, "folder": str(folder), "asked": about}
        await self._play(socket, folder, given | {"osc": asked.osc, "midi_port": asked.midi_port})

    async def _play(self, socket: WebSocket, folder: Path, given: dict[str, Any]) -> None:
        process = await Talking.begin(COMMAND, folder / "log.txt", ENVIRONMENT)
        process.say(given)
        relay, ended, code = Relay(socket, process), None, 0
        up = asyncio.create_task(relay.up())
        try:
            ended = await relay.down()
        finally:
            process.end()
            code = await process.ended(ENDING_S)
            session = self._keep(folder)
            up.cancel()
        if ended is None:
            fix = "it may have run out of memory: close other programs, then start again"
            fix += "; the video of what was played is written" if session else ""
            ended = {"event": "wrong", "problems": [str(Problem("live", "a process that goes on", f"{code}", fix))]}
        await relay.tell(ended | {"session": session})
        await relay.close()

    def _keep(self, folder: Path) -> str:
        """Have the video written of what was played, if there is enough of it: the session's name, or ''."""
        if played_s(folder) < LEAST_S:
            shutil.rmtree(folder, ignore_errors=True)
            return ""
        begin_writing(self._jobs, folder)
        return folder.name


class Relay:
    """What goes to and fro between a page and the process; `gone` is whether the page has left."""

    def __init__(self, socket: WebSocket, process: Talking) -> None:
        self._socket, self._process = socket, process
        self._came: dict[float, float] = {}
        self._latencies_s: deque[float] = deque(maxlen=MEASURED)
        self._left_out = 0
        self._ready = False
        self.gone = False

    async def up(self) -> None:
        """From the page, until it leaves or says what cannot be understood."""
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            try:
                if message.get("bytes") is not None:
                    self._frame(message["bytes"])
                else:
                    words = Words.model_validate_json(message["text"])
                    self._process.say(words.model_dump(exclude_defaults=True))
            except (ValidationError, struct.error) as error:
                problem = Problem("live", "a frame, or say, strength, stop", str(error).splitlines()[0])
                await self.tell({"event": "note", "text": str(problem)})
                break
        else:
            self.gone = True
        self._process.end()
        if not self._ready:
            self._process.kill()  # nothing was played

    def _frame(self, data: bytes) -> None:
        (time_s,) = TIME.unpack_from(data)
        if len(data) > MAX_FRAME_BYTES or self._process.waiting_bytes > MAX_WAITING_BYTES:
            self._left_out += 1
            return
        self._came[time_s] = time.monotonic()
        while len(self._came) > MEASURED:
            del self._came[next(iter(self._came))]
        self._process.say(data)

    async def down(self) -> dict[str, Any] | None:
        """From the process, until it says how it ended; None where it does not."""
        while (message := await self._process.heard()) is not None:
            if isinstance(message, bytes):
                await self._send(message)
                done = time.monotonic()
                (count,) = struct.unpack_from(">H", message)
                for time_s in struct.unpack_from(f">{count}d", message, 2):
                    if (came := self._came.pop(time_s, None)) is not None:
                        self._latencies_s.append(done - came)
            elif message["event"] in ("ended", "wrong"):
                return message
            else:
                self._ready = self._ready or message["event"] == "ready"
                await self.tell(message | (self._measured() if message["event"] == "now" else {}))
        return None

    def _measured(self) -> dict[str, Any]:
        """`latency_engine_s`: from a frame's last byte to the first sample computed with it being handed on."""
        found = np.array(self._latencies_s or [0.0])
        middle, most = (round(float(np.percentile(found, share)), 3) for share in (50, 95))
        return {"engine_s": middle, "engine_p95_s": most, "refused": self._left_out}

    async def tell(self, words: dict[str, Any]) -> None:
        """Words to the page, if it is there."""
        await self._send(json.dumps(words))

    async def _send(self, message: str | bytes) -> None:
        if self.gone:
            return
        try:
            await (
                self._socket.send_text(message) if isinstance(message, str) else self._socket.send_bytes(message)
            )
        except (RuntimeError, WebSocketDisconnect):
            self.gone = True

    async def close(self) -> None:
        """Close the socket, if the page is there."""
        if not self.gone:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close()


def played_s(folder: Path) -> float:
    """Seconds of music that a session's folder holds."""
    try:
        asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
        size = (folder / "sound.part").stat().st_size if (folder / "frames.part").stat().st_size else 0
        return size / (2 * int(asked["channels"]) * int(asked["rate_hz"]))
    except (OSError, ValueError, KeyError):
        return 0.0


async def refuse(socket: WebSocket, problems: list[str]) -> None:
    """Say what is wrong, and close."""
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_json({"event": "wrong", "problems": problems, "session": ""})
        await socket.close(1008)


def live_calls(shelf: Shelf, jobs: Jobs, adaptors: Adaptors) -> APIRouter:
    """Calls of the room."""
    calls = APIRouter(prefix="/api", tags=["live"])
    calls.include_router(session_calls(shelf, jobs))
    playing = Playing(shelf, jobs, adaptors)

    @calls.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await playing(socket)

    return calls
