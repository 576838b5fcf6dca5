"""One person through a clip: frames in order, whom to follow, and what was found, kept for whoever asks next."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, Video, read_ahead
from expotion_person_landmarks.landmarks import N_FACE, N_POSE, Landmarks
from expotion_person_landmarks.regions import Image, Points, Region

log = logging.getLogger("expotion")

Who = Literal["largest", "left", "right"] | int
Part = Literal["pose", "face"]

MOST_HZ = 30.0
"""Frames looked at per second, at most: the models are made for it."""
SHORTER_SIDE = 480
"""Larger pictures are made this small: a region is cut to at most 256 pixels anyway."""
FRAMES_AT_ONCE = 32
LOOK_EVERY, N_LOOKS = 6, 5
"""Frames of the beginning in which people are counted before one is chosen: a detector misses somebody in some."""
SAME_PERSON_S = 1.0
KEPT_BYTES = 96 * 2**20
"""Landmarks that stay in memory: 0.1 MB for ten seconds of a body, 1.7 MB of a face; the last in any case."""
LEAST_SIDE_PX = 2.0
"""A region that shrinks below it is lost."""


class Tracker(Protocol):
    """Looks for people, and follows one from frame to frame."""

    def find(self, frame: Image) -> list[Region]:
        """The regions of everybody in a picture."""
        ...

    def follow(self, frame: Image, region: Region, time_s: float) -> tuple[Points, Region] | None:
        """Landmarks [k, 3] and the next region, or None."""
        ...


_KEPT: OrderedDict[tuple[str, Part, Who], Landmarks] = OrderedDict()


def landmarks_of(clip: Clip, part: Part, who: Who = "largest") -> Landmarks:
    """The body's or the face's landmarks through a clip; empty for a clip without a picture.

    The same clip is looked at once: what was found stays in memory for other encoders, metrics and overlays.
    """
    key = (clip.content_hash, part, who)
    if key not in _KEPT:
        _KEPT[key] = _look(clip.video, part, who)
        for remark in remarks(_KEPT[key], part, who):
            log.warning("%s: %s", clip.path or clip.id, remark)
        while len(_KEPT) > 1 and sum(kept.points.nbytes for kept in _KEPT.values()) > KEPT_BYTES:
            _KEPT.popitem(last=False)
    _KEPT.move_to_end(key)
    return _KEPT[key]


def remarks(found: Landmarks, part: Part, who: Who) -> list[str]:
    """What a user should know: nobody there, several people, fewer than asked for, somebody who comes and goes."""
    if not len(found.times_s):
        return []
    what, several = ("person", "people") if part == "pose" else ("face", "faces")
    most = int(found.n_people.max())
    if most < 1:
        return [f"no {what} is seen in the picture"]
    said = []
    if isinstance(who, int) and most < who:
        said.append(f"person: {who} was asked for, {most} {several if most > 1 else what} seen at a time")
    elif most > 1:
        whom = f"the one farthest {who}" if who in ("left", "right") else f"number {who} from the left"
        whom = "the largest" if who == "largest" else whom
        said.append(
            f"{most} {several} are seen, {whom} is followed (option person: largest, left, right or a number)"
        )
    share = float(found.present.mean())
    if share < 0.9:
        said.append(f"a {what} is seen in {share:.0%} of the frames")
    return said


def _look(video: Video | None, part: Part, who: Who) -> Landmarks:
    n_points = N_POSE if part == "pose" else N_FACE
    if video is None or len(video.frame_times_s) == 0:
        return Landmarks(np.zeros(0), np.zeros((0, n_points, 3), np.float32), (0, 0), np.zeros(0, np.int64))
    times_s = thinned(video.frame_times_s[video.frame_times_s < video.decodable_until_s])
    tracker = tracker_of(part)
    rows = np.arange(0, len(times_s), LOOK_EVERY)[:N_LOOKS]
    seen = [tracker.find(frame) for frame in _frames(video, times_s[rows])]
    target = choose(max(seen, key=len, default=[]), who)
    found = track(tracker, _frames(video, times_s), times_s, video.size, who, n_points, target)
    found.n_people[rows] = [len(people) for people in seen]
    return found


def tracker_of(part: Part) -> Tracker:
    """The networks that look for a part."""
    if part == "pose":
        from expotion_person_landmarks.pose import PoseTracker  # noqa: PLC0415 - networks only where they are run

        return PoseTracker()
    from expotion_person_landmarks.face import FaceTracker  # noqa: PLC0415

    return FaceTracker()


def track(
    tracker: Tracker,
    frames: Iterator[Image],
    times_s: NDArray[np.float64],
    size: tuple[int, int],
    who: Who,
    n_points: int,
    target: Region | None = None,
) -> Landmarks:
    """Follow one person through frames; `size` is that of the picture in which landmarks are to be given.

    Where the person is lost, people are looked for in the same frame. For a second it must be somebody near where
    the person was last (at first: near `target`), after that whoever is chosen anew.
    """
    points = np.zeros((len(times_s), n_points, 3), np.float32)
    n_people = np.full(len(times_s), -1, np.int64)
    pursuit = Pursuit(tracker, who, target, float(times_s[0]) if len(times_s) else 0.0)
    for row, frame in enumerate(frames):
        found, n_people[row] = pursuit(frame, float(times_s[row]))
        if found is not None:
            points[row] = found
            points[row, :, :2] *= size[0] / frame.shape[0]
    return Landmarks(times_s, points, size, n_people)


class Pursuit:
    """One person from frame to frame, for `track` and for frames that come."""

    def __init__(self, tracker: Tracker, who: Who, target: Region | None = None, start_s: float = 0.0) -> None:
        """`target`: somebody near whom the person is at first, from `start_s` on."""
        self._tracker, self._who = tracker, who
        self._region: Region | None = None
        self._last, self._known_s = target, start_s

    def __call__(self, frame: Image, time_s: float) -> tuple[Points | None, int]:
        """Landmarks [k, 3] in the frame's pixels, None of nobody; how many were seen, -1 if unasked."""
        n_people = -1
        found = None if self._region is None else self._tracker.follow(frame, self._region, time_s)
        if found is None:
            people = self._tracker.find(frame)
            n_people, last = len(people), self._last
            again = last is not None and time_s - self._known_s < SAME_PERSON_S
            chosen = nearest(people, last) if again and last is not None else choose(people, self._who)
            found = None if chosen is None else self._tracker.follow(frame, chosen, time_s)
        self._region = None if found is None or not found[1].side >= LEAST_SIDE_PX else found[1]
        if found is None:
            return None, n_people
        self._last, self._known_s = found[1], time_s
        return found[0], n_people


def choose(people: Sequence[Region], who: Who) -> Region | None:
    """Whom to follow: the largest, or by place from the picture's left; None where there are not as many."""
    if not people:
        return None
    if who == "largest":
        return max(people, key=lambda region: region.side)
    in_order = sorted(people, key=lambda region: region.x)
    number = {"left": 0, "right": len(people) - 1}[who] if isinstance(who, str) else who - 1
    return in_order[number] if number < len(people) else None


def nearest(people: Sequence[Region], last: Region) -> Region | None:
    """Who is nearest to where somebody was, at most the half of that region's side away."""
    away = [math.hypot(one.x - last.x, one.y - last.y) for one in people]
    number = min(range(len(people)), key=away.__getitem__, default=None)
    return None if number is None or away[number] > last.side / 2 else people[number]


def thinned(frame_times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frame times with at most about MOST_HZ in a second: the frames' own, never made up."""
    kept: list[float] = []
    for time_s in frame_times_s.tolist():
        if not kept or time_s - kept[-1] >= 0.9 / MOST_HZ:
            kept.append(time_s)
    return np.array(kept, dtype=np.float64)


def _frames(video: Video, times_s: NDArray[np.float64]) -> Iterator[Image]:
    scale_to = shorter_side(video)
    read_ahead(video, times_s, shorter_side=scale_to)
    for start in range(0, len(times_s), FRAMES_AT_ONCE):
        yield from video.frames_at(times_s[start : start + FRAMES_AT_ONCE], shorter_side=scale_to)


def shorter_side(video: Video) -> int | None:
    """The size in which frames are looked at; None: as they are."""
    return SHORTER_SIDE if min(video.size) > 1.25 * SHORTER_SIDE else None
