"""What is watched beside the controls, so that other programs can be told: the beat, the face, how much moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError
from expotion.features.encoders import build_encoder
from expotion.plugins import Registry
from expotion.video.memory import resize_frame, scaled_size
from expotion.video.motion import RATE_HZ, SIDE_PX, THRESHOLD
from expotion_live.eye import Watched

WATCHED = {"movement_beat": "beats and tempo", "person_face": "expressiveness"}
"""The encoders that know a person's beat and face, and what is known by them."""
_JITTER = 0.9


class Moving:
    """Quantity of motion while frames come: the share of the pixels that changed in 1/25 s (`video.motion`).

    Smoothed over three moments, as there; the last of them is the newest, so it is one moment late.
    """

    def __init__(self) -> None:
        self._before: tuple[float, NDArray[np.float32]] | None = None
        self._last: deque[float] = deque(maxlen=3)

    def push(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """The next frame; at most about 25 a second are looked at."""
        if self._before is not None and time_s - self._before[0] < _JITTER / RATE_HZ:
            return
        small = resize_frame(frame, scaled_size((frame.shape[0], frame.shape[1]), SIDE_PX))
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32) / 255.0
        if self._before is not None:
            self._last.append(float((np.abs(grey - self._before[1]) >= THRESHOLD).mean()))
        self._before = time_s, grey

    def says(self) -> Mapping[str, float]:
        """`quantity_of_motion`, 0..1, when there were three moments."""
        if len(self._last) < 3:
            return {}
        return {"quantity_of_motion": float(np.dot(self._last, (0.25, 0.5, 0.25)))}


def watch(registry: Registry, shared: dict[str, Any], warn: Callable[[str], None]) -> list[Watched]:
    """What follows movement, beat and face; `warn` is told of what cannot be followed here, and why.

    `shared` is the session's: what its controls look at is not looked at again.
    """
    found: list[Watched] = [Moving()]
    for name, what in WATCHED.items():
        try:
            following = build_encoder(registry.encoder(name), {}).following(shared)
        except ExpotionError as error:
            warn(f"no {what}: {'; '.join(map(str, error.problems))}")
            continue
        if following is None:
            warn(f"no {what}: {name} has no landmarks here")
        else:
            found.append(following)
    return found
