"""From faces in some frames to one smooth path of a square through the clip, and where there is none.

Detection runs about five times a second; between, the path is interpolated by time. Found once, a face is
followed around its last place, which is cheap, and the whole frame is searched again now and then. Where all this
finds nothing, finer frames are searched for small and tilted faces, seldom, since that is slow. `path.py` makes
the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Video, read_ahead
from expotion_face_marlin.faces import (
    HARDER_SIDE_PX,
    HARDER_TILTS_DEG,
    SEARCH_SIDES_PX,
    Detector,
    FaceBox,
    Image,
    Patch,
    around,
    match,
    same_place,
)
from expotion_face_marlin.path import EDGE_S, PATCH_REACH, FacePath, smooth_segment

Floats = NDArray[np.float64]
Person = Literal["largest", "central"]

MIN_DETECTIONS = 3
"""A face seen less often is taken for an accident."""
MIN_HIT_RATE = 0.4
"""A face found in a smaller part of the frames between its first and last sight is one, too."""
SEARCH_EVERY_S = 2.0
"""How often the whole frame is searched while a face is being followed."""
SEARCH_AFTER_MISS_S = 0.35
FINE_EVERY_S = 1.0
MATCH_FOR_S = 1.5
"""A face that the detector does not find is carried on by its look for at most this long."""
MIN_MATCH = 0.6
"""Correlation with its last look from which a face that is not detected is taken to be still there."""
SURE_MATCH = 0.9
SURE_FOR_S = 0.3
"""Just after a detection, a face that looks this much the same need not be detected again."""
HARDER_EVERY_S = 3.0
"""Where no face was found, small and tilted ones are looked for this often."""
HARDER_AFTER_MISS_S = 1.0
MAX_PEOPLE = 3
CHUNK = 64
HARDER_CHUNK = 16


@dataclass
class _Track:
    times_s: list[float] = field(default_factory=list)
    boxes: list[FaceBox] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    look: Image | None = None
    looked_s: float = -np.inf

    def add(self, time_s: float, box: FaceBox, frame: Image) -> None:
        self.times_s.append(time_s)
        self.boxes.append(box)
        self.patches.append(around(frame, box, PATCH_REACH))
        if box.strict:
            self.look, self.looked_s = around(frame, box, 0.5).grey, time_s


def detection_times_s(video: Video, detect_hz: float) -> Floats:
    """Timestamps of the frames in which faces are looked for: those shown every 1 / detect_hz, each once."""
    frame_times = video.frame_times_s
    frame_times = frame_times[frame_times < video.decodable_until_s]
    if not len(frame_times):
        return np.zeros(0)
    n = int((frame_times[-1] - frame_times[0]) * detect_hz + 1e-6) + 1
    wanted_s = float(frame_times[0]) + np.arange(n, dtype=np.float64) / detect_hz
    times_s: Floats = frame_times[np.unique(timeline.shown_at(frame_times, wanted_s))]
    return times_s


def search_side_px(video: Video) -> int:
    """Shorter side of the frames in which faces are looked for."""
    return min(SEARCH_SIDES_PX[-1], *video.size)


def find_path(
    video: Video, detector: Detector, *, detect_hz: float = 5.0, person: Person = "largest", max_gap_s: float = 1.0
) -> FacePath:
    """Detect, follow, choose one person and smooth. A clip without a usable face gives an empty path."""
    times_s = detection_times_s(video, detect_hz)
    follower = _Follower(detector, max_gap_s)
    shorter_side = search_side_px(video)
    read_ahead(video, times_s, shorter_side=shorter_side)
    _follow_through(video, follower, times_s, shorter_side, CHUNK)
    height, width = video.size
    middle = (0.5 * width / min(height, width), 0.5 * height / min(height, width))
    needed = min(MIN_DETECTIONS, len(times_s))

    def path_of(tracks: Sequence[_Track]) -> FacePath:
        usable = [track for track in tracks if _is_consistent(track, needed, detect_hz)]
        segments = (smooth_segment(t.times_s, t.boxes, t.patches) for t in _choose(usable, person, middle))
        return FacePath(tuple(segments), max_gap_s)

    path = path_of(follower.tracks)
    found = list(path.segments)
    for stretch_s in _without_face(path, times_s, needed):
        found += path_of(_search_harder(video, detector, stretch_s, detect_hz, max_gap_s)).segments
    return FacePath(tuple(sorted(found, key=lambda segment: segment.times_s[0])), max_gap_s)


def _without_face(path: FacePath, times_s: Floats, needed: int) -> list[Floats]:
    """The stretches of detection times without a face, each long enough for one to be found in it."""
    empty = ~path.at(times_s)[2]
    parts = np.split(np.arange(len(times_s)), np.flatnonzero(empty[1:] != empty[:-1]) + 1)
    return [times_s[part] for part in parts if len(part) >= max(1, needed) and empty[part[0]]]


def _search_harder(
    video: Video, detector: Detector, times_s: Floats, detect_hz: float, max_gap_s: float
) -> list[_Track]:
    """Faces in a stretch where none was found: a few frames are looked at closely, then what is around a find."""
    shorter_side = min(HARDER_SIDE_PX, *video.size)
    every = max(1, round(HARDER_EVERY_S * detect_hz))
    probes_s = times_s[np.unique(np.append(np.arange(0, len(times_s), every), len(times_s) - 1))]
    seen_s = []
    for start in range(0, len(probes_s), HARDER_CHUNK):
        chunk = probes_s[start : start + HARDER_CHUNK]
        for index, frame in enumerate(video.frames_at(chunk, shorter_side=shorter_side), start):
            # All tilts at first; later one at a time, in turn, beside the upright head.
            tilts_deg = HARDER_TILTS_DEG if index == 0 else (0.0, HARDER_TILTS_DEG[1:][index % 4])
            if detector.find_harder(frame, tilts_deg):
                seen_s.append(probes_s[index])
    follower = _Follower(detector, max_gap_s, harder=True)
    if seen_s:
        around_it = (times_s > seen_s[0] - HARDER_EVERY_S) & (times_s < seen_s[-1] + HARDER_EVERY_S)
        _follow_through(video, follower, times_s[around_it], shorter_side, HARDER_CHUNK)
    return follower.tracks


def _follow_through(video: Video, follower: _Follower, times_s: Floats, shorter_side: int, at_once: int) -> None:
    for start in range(0, len(times_s), at_once):
        chunk = times_s[start : start + at_once]
        for time_s, frame in zip(chunk, video.frames_at(chunk, shorter_side=shorter_side), strict=True):
            follower.step(float(time_s), frame)


class _Follower:
    """Carries faces from frame to frame: follow each known one, search the frame when needed, associate."""

    def __init__(self, detector: Detector, max_gap_s: float, *, harder: bool = False) -> None:
        self.detector = detector
        self.max_gap_s = max_gap_s
        self.harder = harder
        self.tracks: list[_Track] = []
        self.searched_s = -np.inf
        self.fine_s = -np.inf

    def step(self, time_s: float, frame: Image) -> None:
        """Take in one frame."""
        live = [t for t in self.tracks if time_s - t.times_s[-1] <= self.max_gap_s + 1e-9]
        live = sorted(live, key=lambda t: -len(t.boxes))[:MAX_PEOPLE]
        seen: list[FaceBox] = []
        for track in live:
            box = self._follow(time_s, frame, track)
            if box is not None and not any(same_place(box, other) for other in seen):
                track.add(time_s, box, frame)
                seen.append(box)
        wait_s = SEARCH_EVERY_S if seen else SEARCH_AFTER_MISS_S if live else 0.0
        if self.harder:
            wait_s = np.inf if seen else HARDER_AFTER_MISS_S
        if time_s - self.searched_s < wait_s - 1e-9:
            return
        self.searched_s = time_s
        boxes = self._search(time_s, frame, needed=not seen)
        lost = [track for track in live if track.times_s[-1] < time_s]
        for box in boxes:
            if any(same_place(box, other) for other in seen):
                continue
            found = next((t for t in lost if _could_be(t.boxes[-1], box)), None)
            if found is None:
                found = _Track()
                self.tracks.append(found)
            else:
                lost.remove(found)
            found.add(time_s, box, frame)
            seen.append(box)

    def _follow(self, time_s: float, frame: Image, track: _Track) -> FaceBox | None:
        """By its look where that was seen just now and hardly changed, by detection, at last by its look."""
        last, age_s = track.boxes[-1], time_s - track.looked_s
        box = match(frame, track.look, last, SURE_MATCH) if track.look is not None and age_s < SURE_FOR_S else None
        box = box or self.detector.follow(frame, last)
        if box is None and track.look is not None and age_s <= MATCH_FOR_S:
            box = match(frame, track.look, last, MIN_MATCH)
        return box or self.detector.follow(frame, last, lenient=True)

    def _search(self, time_s: float, frame: Image, *, needed: bool) -> list[FaceBox]:
        """Faces in the whole frame; where none is known, ever finer, the finest only now and then."""
        if self.harder:
            return self.detector.find_harder(frame)
        boxes = self.detector.find(frame, 0)
        for level in range(1, self.detector.n_levels):
            if boxes or not needed:
                break
            if level == self.detector.n_levels - 1:
                if time_s - self.fine_s < FINE_EVERY_S - 1e-9:
                    break
                self.fine_s = time_s
            boxes = self.detector.find(frame, level)
        return boxes


def _could_be(last: FaceBox, box: FaceBox) -> bool:
    """Within one and a half faces of where it was lost, and of a similar size."""
    near = max(abs(last.x - box.x), abs(last.y - box.y)) < 1.5 * last.side
    return near and 1 / 1.6 < box.side / last.side < 1.6


def _is_consistent(track: _Track, needed: int, detect_hz: float) -> bool:
    span = (track.times_s[-1] - track.times_s[0]) * detect_hz + 1.0
    n_strict = sum(box.strict for box in track.boxes)
    n = len(track.boxes)
    return min(n, 2 * n_strict) >= needed and n >= MIN_HIT_RATE * span


def _choose(tracks: list[_Track], person: Person, middle: tuple[float, float]) -> list[_Track]:
    """The person of each moment: the best track first, then others of similar size where it is absent."""

    def score(track: _Track) -> float:
        side = float(np.median([box.side for box in track.boxes]))
        if person == "largest":
            return float(side * len(track.boxes) ** 0.5)
        return -float(np.median([np.hypot(box.x - middle[0], box.y - middle[1]) for box in track.boxes]))

    chosen: list[_Track] = []
    for track in sorted(tracks, key=score, reverse=True):
        first, last = track.times_s[0] - EDGE_S, track.times_s[-1] + EDGE_S
        if all(last <= other.times_s[0] or first >= other.times_s[-1] for other in chosen):
            chosen.append(track)
    return sorted(chosen, key=lambda track: track.times_s[0])
