"""Windows: music of any length, decoded in stretches of the length that the adaptor was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from expotion.errors import ExpotionError, Problem


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


@dataclass(frozen=True)
class Windows:
    """The longest stretch decoded at once, in frames (the length trained on), and how many of it are continued.

    By default a window continues a third of the one before.
    """

    longest: int = 500
    continued: int | None = None

    @property
    def overlap(self) -> int:
        """Frames continued from the window before."""
        return self.longest // 3 if self.continued is None else self.continued

    def cover(self, n_frames: int, n_known: int = 0) -> list[FrameWindow]:
        """Windows over `n_frames`, the first `n_known` of which are there already.

        The last window is moved back so that it is as long as the others (its prompt is then longer): a model
        that was trained on windows of one length is never asked for a short one, unless the clip itself is short.
        """
        longest, overlap = self.longest, self.overlap
        if n_frames < 1:
            raise ExpotionError(Problem("compose", "at least one frame", str(n_frames)))
        if not 0 <= overlap < longest:
            raise ValueError(f"overlap must be in 0..{longest - 1}, got {overlap}")
        if not 0 <= n_known < min(n_frames, longest):
            wanted = f"fewer than {min(n_frames, longest)} frames to start from"
            raise ExpotionError(Problem("compose", wanted, str(n_known)))
        windows = [FrameWindow(0, min(n_frames, longest), n_known)]
        while windows[-1].stop < n_frames:
            done = windows[-1].stop
            stop = min(n_frames, done - overlap + longest)
            start = stop - longest
            windows.append(FrameWindow(start, stop, done - start))
        return windows
