"""How a clip of any length is covered by windows that the model was trained for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameWindow:
    """Frames `start..stop` are covered; the first `n_prompt` of them are already known."""

    start: int
    stop: int
    n_prompt: int

    @property
    def n_frames(self) -> int:
        """Frames in the window, known ones included."""
        return self.stop - self.start


def cover(n_frames: int, longest: int, overlap: int) -> list[FrameWindow]:
    """Windows of at most `longest` frames that cover `n_frames`, each continuing `overlap` frames of the last.

    The last window is moved back so that it is as long as the others (its prompt is then longer): a model
    that was trained on windows of one length is never asked for a short one, unless the clip itself is short.
    """
    if not 0 <= overlap < longest:
        raise ValueError(f"overlap must be in 0..{longest - 1}, got {overlap}")
    windows = [FrameWindow(0, min(n_frames, longest), 0)]
    while windows[-1].stop < n_frames:
        done = windows[-1].stop
        stop = min(n_frames, done - overlap + longest)
        start = stop - longest
        windows.append(FrameWindow(start, stop, done - start))
    return windows
