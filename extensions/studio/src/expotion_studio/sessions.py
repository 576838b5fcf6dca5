"""Sessions of the room Live: kept as they are played, then written as video, the music as late as it was heard.

sessions/ID/  while it plays asked.json and the parts (`keeping.py`); then session.json and ID.mp4

A killed studio leaves the parts, and the next one writes the video of what there is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from numpy.typing import NDArray
from starlette.responses import Response

from expotion.errors import MediaError, Problem
from expotion.files import write_json
from expotion_studio.keeping import frames_of
from expotion_studio.shelf import Session, Shelf
from expotion_web.jobs import Jobs
from expotion_web.media import file_response

if TYPE_CHECKING:
    from expotion_web.worker import Telling

LEAST_S = 0.5
"""Shorter ones are not kept."""


def write(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """A job: the video of a session, picture and sound each at its own times. Begun anew, it does the same."""
    from expotion.video.writing import write_video

    folder = Path(given["folder"])
    if not (folder / "frames.part").is_file():
        return {}  # it was done before the studio ended
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    times_s = np.array([time_s for time_s, _ in frames_of(folder / "frames.part")])
    sound = np.frombuffer((folder / "sound.part").read_bytes()[: _whole(folder, asked["channels"])], "<i2")
    samples = (sound.astype(np.float32) / 32767.0).reshape(-1, asked["channels"])
    sound_s = len(samples) / asked["rate_hz"]
    silence = np.zeros((round(asked.get("behind_s", 0.0) * asked["rate_hz"]), asked["channels"]), np.float32)
    duration_s = len(silence) / asked["rate_hz"] + sound_s
    duration_s = max(duration_s, float(times_s[-1]) + 0.02) if len(times_s) else 0.0
    if sound_s < LEAST_S or len(times_s) < 2:
        shutil.rmtree(folder, ignore_errors=True)
        raise MediaError(Problem("session", f"at least {LEAST_S:g} s of it", f"{sound_s:.1f} s", "play longer"))
    samples = np.concatenate([silence, samples])
    if asked["channels"] == 1:
        samples = samples[:, 0]
    write_video(
        folder / f"{folder.name}.mp4",
        _pictures(folder / "frames.part", len(times_s), telling),
        times_s,
        samples,
        asked["rate_hz"],
        duration_s=duration_s,
    )
    session = Session(
        id=folder.name,
        added=asked["added"],
        adaptor=asked["adaptor"],
        said=asked["said"],
        duration_s=round(duration_s, 3),
        frames=len(times_s),
        about=asked.get("about", ""),
    )
    write_json(folder / "session.json", session.model_dump())
    for name in ("frames.part", "sound.part", "asked.json"):
        (folder / name).unlink(missing_ok=True)
    return {"session": folder.name}


def _whole(folder: Path, channels: int) -> int:
    """Bytes of the sound that are whole samples."""
    size = (folder / "sound.part").stat().st_size
    return size - size % (2 * channels)


def _pictures(path: Path, count: int, telling: Telling) -> Iterator[NDArray[np.uint8]]:
    import cv2

    from expotion.video.memory import resize_frame

    last: NDArray[np.uint8] | None = None
    for number, (_, jpeg) in enumerate(frames_of(path)):
        telling.progress("write", number, count)
        found: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        frame = last if found is None else cv2.cvtColor(found, cv2.COLOR_BGR2RGB)
        if frame is None:
            raise MediaError(Problem("session", "pictures", "something else"))
        last = frame = resize_frame(np.asarray(frame, np.uint8), (frame if last is None else last).shape[:2])
        yield frame


def unwritten(shelf: Shelf, jobs: Jobs) -> None:
    """Have the videos written of sessions that a studio which was killed left as parts."""
    known = {job.about for job in jobs.all() if job.kind == "session" and not job.ended}
    for path in sorted(shelf.sessions.glob("*/asked.json")):
        if path.parent.name not in known:
            begin_writing(jobs, path.parent)


def begin_writing(jobs: Jobs, folder: Path) -> None:
    """Have the video of a session written."""
    jobs.add("session", "video of the session", {"folder": str(folder)}, folder.name)


def session_calls(shelf: Shelf, jobs: Jobs) -> APIRouter:
    """Sessions that were played."""
    calls = APIRouter()

    @calls.get("/sessions")
    def sessions() -> list[Session]:
        """Every session whose video is written, the newest first."""
        return shelf.all_sessions()

    @calls.get("/sessions/{name}/video")
    def video(name: str, request: Request) -> Response:
        """The video of a session."""
        path = shelf.session_folder(name) / f"{name}.mp4"
        if not path.is_file():
            raise HTTPException(404, f"session {name}: its video is not written yet")
        response = file_response(path, "video/mp4", request.headers.get("range"))
        response.headers["Content-Disposition"] = f'inline; filename="live_{name[:6]}.mp4"'
        return response

    @calls.delete("/sessions/{name}")
    def forget(name: str) -> None:
        """Delete a session."""
        folder = shelf.session_folder(name)
        if any(job.about == name and not job.ended for job in jobs.all()):
            raise HTTPException(409, f"session {name}: its video is being written; stop that first")
        shutil.rmtree(folder, ignore_errors=True)

    return calls
