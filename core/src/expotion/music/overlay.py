"""A video with what steered the music drawn over its picture: `expotion generate --format overlay`.

Boxes, motion, skeletons and outlines of faces as the encoders saw them; a ring that lights up where a movement is
accented and a dot that lights up on the movement's beats, with their tempo; below, the motiongram with both along
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, Encoder, Overlay
from expotion.errors import in_short
from expotion.music.piece import Music
from expotion.video.motion import Motion, motion_of
from expotion.video.writing import write_video

Frame = NDArray[np.uint8]

SHORTER_SIDE = 480
LINE, POINT, BOX, EVENT, BEAT = (76, 242, 224), (255, 255, 255), (76, 242, 224), (245, 147, 82), (255, 214, 64)
FLASH_S = 0.12
STRIP = 0.16
"""Height of the strip below, over that of the picture."""
FRAMES_AT_ONCE = 8


def write_overlay(
    clip: Clip, encoders: Mapping[str, Encoder], warn: Callable[[str], None], path: Path, music: Music
) -> None:
    """Write the video with the music under it. An encoder that cannot say what it saw is named in a warning."""
    video = clip.video
    assert video is not None  # the caller has looked
    overlays = []
    for name, encoder in encoders.items():
        try:
            drawn = encoder.overlay(clip)
        except Exception as error:  # the others are of use without it
            warn(f"{name}: what it looked at is not drawn ({in_short(error)})")
            continue
        if drawn is not None:
            overlays.append(drawn)
    side = SHORTER_SIDE if min(video.size) > SHORTER_SIDE else None
    times_s = video.frame_times_s.copy()
    times_s[0] = 0.0  # the first frame is on screen from the start
    strip = _Strip(motion_of(video, clip.duration_s), overlays, clip.duration_s)

    def frames() -> Iterator[Frame]:
        for start in range(0, len(times_s), FRAMES_AT_ONCE):
            part = times_s[start : start + FRAMES_AT_ONCE]
            for time_s, frame in zip(part, video.frames_at(part, shorter_side=side), strict=True):
                picture = frame.copy()
                for overlay in overlays:
                    draw(picture, overlay, float(time_s))
                yield np.concatenate([picture, strip.at(picture.shape, float(time_s))])

    write_video(path, frames(), times_s, music.samples, music.sample_rate_hz, duration_s=clip.duration_s, crf=23)


def draw(picture: Frame, overlay: Overlay, time_s: float) -> None:
    """Draw what an encoder saw at a moment over a picture uint8 [H, W, 3], in place."""
    height, width = picture.shape[:2]
    size = np.array([width, height])
    if overlay.boxes is not None and (row := _last(overlay.boxes[:, 0], time_s)) is not None:
        corners = overlay.boxes[row, 1:].reshape(2, 2) * size
        if np.isfinite(corners).all():
            (x0, y0), (x1, y1) = corners
            _line(picture, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]), BOX)
    if overlay.vectors is not None and overlay.vector_times_s is not None:
        row = _last(overlay.vector_times_s, time_s)
        if row is not None:
            _arrows(picture, overlay.vectors[row])
    if overlay.points is not None and overlay.point_times_s is not None:
        row = _last(overlay.point_times_s, time_s)
        if row is not None:
            _points(picture, overlay.points[row] * size, overlay.lines)
    if overlay.events_s is not None:
        _flash(picture, (width - 30, 30), 14, EVENT, overlay.events_s, time_s)
    if overlay.beats_s is not None:
        _flash(picture, (width - 30, 70), 10, BEAT, overlay.beats_s, time_s)
        _text(picture, tempo_text(overlay.beats_s, time_s), (width - 150, 76), BEAT)


def tempo_text(beats_s: NDArray[np.float64], time_s: float) -> str:
    """The local tempo: the median over the four intervals around a moment; 'no beat' where there is none near."""
    near = np.flatnonzero(np.abs(beats_s - time_s) <= 2.5)
    if len(near) < 2:
        return "no beat"
    first = max(0, int(np.searchsorted(beats_s, time_s)) - 3)
    periods_s = np.diff(beats_s[first : first + 5])
    return f"{60.0 / float(np.median(periods_s)):.0f} BPM" if len(periods_s) else "no beat"


def _last(times_s: NDArray[np.float64], time_s: float) -> int | None:
    row = int(np.searchsorted(times_s, time_s + 1e-3, side="right")) - 1
    return row if row >= 0 else None


def _line(picture: Frame, points: NDArray[np.float64], colour: tuple[int, int, int], thick: int = 2) -> None:
    import cv2  # noqa: PLC0415

    fixed = np.rint(points * 16).astype(np.int32)
    cv2.polylines(picture, [fixed], False, (0, 0, 0), thick + 2, cv2.LINE_AA, 4)
    cv2.polylines(picture, [fixed], False, colour, thick, cv2.LINE_AA, 4)


def _points(picture: Frame, points: NDArray[np.float64], lines: tuple[tuple[int, int], ...]) -> None:
    import cv2  # noqa: PLC0415

    many = len(lines) > 40  # a face: thin lines without dots
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1))
    for first, second in lines:
        if seen[first] and seen[second]:
            if many:
                ends = np.rint(points[[first, second]] * 16).astype(np.int32)
                cv2.polylines(picture, [ends], False, LINE, 1, cv2.LINE_AA, 4)
            else:
                _line(picture, points[[first, second]], LINE)
    for x, y in points[seen] if not many else ():
        cv2.circle(picture, (round(x), round(y)), 4, POINT, -1, cv2.LINE_AA)


def _arrows(picture: Frame, grid: NDArray[np.float32]) -> None:
    import cv2  # noqa: PLC0415

    height, width = picture.shape[:2]
    rows, columns = grid.shape[:2]
    for row, column in np.argwhere(np.hypot(grid[..., 0], grid[..., 1]) >= 0.02):
        x, y = (column + 0.5) * width / columns, (row + 0.5) * height / rows
        right, down = (float(value) * 0.1 * width for value in grid[row, column])
        cv2.arrowedLine(picture, (round(x), round(y)), (round(x + right), round(y + down)), LINE, 1, cv2.LINE_AA)


def _flash(
    picture: Frame,
    at: tuple[int, int],
    radius: int,
    colour: tuple[int, int, int],
    times_s: NDArray[np.float64],
    time_s: float,
) -> None:
    import cv2  # noqa: PLC0415

    lit = bool(((time_s - times_s >= -0.02) & (time_s - times_s < FLASH_S)).any())
    cv2.circle(picture, at, radius, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.circle(picture, at, radius, colour, -1 if lit else 2, cv2.LINE_AA)


def _text(picture: Frame, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    import cv2  # noqa: PLC0415

    for shade, thick in (((0, 0, 0), 4), (colour, 1)):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, shade, thick, cv2.LINE_AA)


class _Strip:
    """Time along the bottom: the motiongram, the quantity of motion, events and beats, and where we are."""

    def __init__(self, motion: Motion, overlays: list[Overlay], duration_s: float) -> None:
        self.motion, self.overlays, self.duration_s = motion, overlays, duration_s
        self._still: Frame | None = None

    def at(self, shape: tuple[int, ...], time_s: float) -> Frame:
        """The strip under a picture of this shape at a moment."""
        if self._still is None:
            self._still = self._draw(max(16, round(STRIP * shape[0])), shape[1])
        strip = self._still.copy()
        x = min(strip.shape[1] - 1, round(time_s / self.duration_s * strip.shape[1]))
        strip[:, max(0, x - 1) : x + 1] = 255
        return strip

    def _draw(self, height: int, width: int) -> Frame:
        import cv2  # noqa: PLC0415

        rows = np.sqrt(self.motion.rows / max(float(self.motion.rows.max()), 1e-6))
        grey: Any = cv2.resize(rows, (width, height), interpolation=cv2.INTER_AREA)
        strip = np.repeat((160 * np.clip(grey, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)
        share = self.motion.quantity / max(float(self.motion.quantity.max()), 1e-6)
        x = self.motion.times_s / self.duration_s * width
        _line(strip, np.column_stack([x, height - 2 - share * (height - 4)]), LINE, 1)
        for overlay in self.overlays:
            for times_s, colour, top in ((overlay.events_s, EVENT, 0.75), (overlay.beats_s, BEAT, 0.0)):
                for moment_s in times_s if times_s is not None else ():
                    across = moment_s / self.duration_s * width
                    _line(strip, np.array([[across, top * height], [across, (top + 0.25) * height]]), colour, 1)
        return strip
