"""Frames as they come: from a camera, a stream's address, or a file at the pace of its own timestamps."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from expotion.errors import MediaError, Problem
from expotion.video.clip import FileClip
from expotion.video.container import DEFAULT_LIMITS
from expotion.video.memory import resize_frame, scaled_size

SHORTER_SIDE = 360
"""Frames are made this small as they come: the window that is kept in memory stays below 0.3 GB at 30 fps."""
WAITING_MAX = 15
"""Frames that wait to be used; beyond that, new ones are left out and counted."""
_STEP_S = 0.05


class Pictures(Protocol):
    """Where frames come from. `size` is (height, width) as they are given; `fps` about how many a second.

    `end_s` is how long it lasts, None where nobody knows.
    """

    name: str
    size: tuple[int, int]
    fps: float
    end_s: float | None

    def frames(self, stop: threading.Event) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """RGB frames uint8 [H, W, 3] with seconds from the start, each when its time has come."""
        ...

    def close(self) -> None:
        """Free the device or file."""
        ...


def open_pictures(where: str) -> Pictures:
    """A camera by its number, a stream by its address, or a file. Raises MediaError for what cannot be opened."""
    if where.isdigit():
        return Camera(int(where), f"camera {where}")
    if "://" in where:
        return Camera(where, where)
    return PacedFile(Path(where).expanduser())


class Camera:
    """A camera or network stream through OpenCV. A frame's time is when it came."""

    end_s: float | None = None

    def __init__(self, source: int | str, name: str) -> None:
        import cv2

        self._cv2: Any = cv2
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        logging: Any = cv2.utils.logging
        level = logging.setLogLevel(0)  # its own lines about devices say less than the error below
        self._capture: Any = cv2.VideoCapture(source)
        frame: Any = self._capture.read()[1] if self._capture.isOpened() else None
        logging.setLogLevel(level)
        if frame is None:
            self._capture.release()
            fix = "check that it is connected and not used by another program; 0 is the first camera"
            raise MediaError(Problem(f"live {source}", "a camera or stream that gives frames", "none", fix))
        self.name = name
        self.size = scaled_size(frame.shape[:2], min(SHORTER_SIDE, *frame.shape[:2]))
        stated = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = stated if math.isfinite(stated) and 1.0 <= stated <= 240.0 else 30.0

    def frames(self, stop: threading.Event) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Until the stream ends or `stop` is set."""
        started, last_s = time.monotonic(), -1.0
        while not stop.is_set():
            found, frame = self._capture.read()
            if not found:
                return
            now_s = max(time.monotonic() - started, last_s + 1e-6)
            yield self._cv2.cvtColor(resize_frame(frame, self.size), self._cv2.COLOR_BGR2RGB), now_s
            last_s = now_s

    def close(self) -> None:
        """Let the camera go."""
        self._capture.release()


class PacedFile:
    """A video file played in real time: every frame comes when its timestamp says."""

    end_s: float | None

    def __init__(self, path: Path) -> None:
        limits = replace(DEFAULT_LIMITS, max_duration_s=math.inf)
        self._clip = FileClip(path, limits=limits, require="video")
        video = self._clip.video
        assert video is not None
        self._video = video
        self._times_s = video.frame_times_s
        self.name = str(path)
        self.size = scaled_size(video.size, min(SHORTER_SIDE, *video.size))
        self.end_s = self._clip.duration_s
        self.fps = len(self._times_s) / self._clip.duration_s

    def frames(self, stop: threading.Event) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """All frames, unless `stop` is set before."""
        started, shorter = time.monotonic(), min(self.size)
        for number, time_s in enumerate(self._times_s.tolist()):
            frame = self._video.frames_at(self._times_s[number : number + 1], shorter_side=shorter)[0]
            if stop.wait(max(0.0, time_s - (time.monotonic() - started))):
                return
            yield frame, time_s
        stop.wait(max(0.0, self._clip.duration_s - (time.monotonic() - started)))

    def close(self) -> None:
        """Close the file."""
        self._clip.close()


@dataclass
class Arriving:
    """Frames read in a thread of their own, so that none is missed while music is made."""

    pictures: Pictures
    left_out: int = 0
    started_s: float = 0.0

    def __post_init__(self) -> None:
        self._waiting: queue.Queue[tuple[NDArray[np.uint8], float] | None] = queue.Queue()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)

    def __enter__(self) -> Arriving:
        self.started_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self.pictures.close()

    def until(self, ended: threading.Event) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Frames and times in order, until the source ends or `ended` is set. Raises what the source raised."""
        while not ended.is_set():
            try:
                item = self._waiting.get(timeout=_STEP_S)
            except queue.Empty:
                continue
            if item is None:
                break
            yield item
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        try:
            for item in self.pictures.frames(self._stop):
                if self._waiting.qsize() < WAITING_MAX:
                    self._waiting.put(item)
                else:
                    self.left_out += 1
        except BaseException as error:  # shown where the frames are taken
            self._error = error
        finally:
            self._waiting.put(None)
