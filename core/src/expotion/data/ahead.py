"""Decoding ahead: a thread that decodes the frames that come next while a model works on the present ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence

IDLE_S = 20.0
"""A thread whose frames nobody fetches for this long ends; the next frame that is asked for starts it again."""

Decode = Callable[[Sequence[int]], int]
"""Decodes these frames and returns the bytes that they take; called with `lock` held."""


class Ahead:
    """Decodes planned frames in order, at most `limit_bytes` ahead of what was taken.

    `lock` guards the decoder and the caches; whoever asks for a frame comes before the thread. A frame that
    cannot be decoded ends the plan: the one who asks for it meets the error.
    """

    def __init__(self, decode: Decode, limit_bytes: int) -> None:
        self.lock = threading.RLock()
        self._decode, self._limit_bytes, self._at_once = decode, limit_bytes, 1
        self._state = threading.Condition()
        self._plan: deque[int] = deque()
        self._held_bytes = 0
        self._asking = 0
        self._thread: threading.Thread | None = None

    def plan(self, indices: Sequence[int], *, at_once: int) -> None:
        """Replace the plan: frames in the order in which they will be asked for, `at_once` decoded in one go."""
        with self._state:
            self._plan, self._at_once = deque(indices), at_once

    def __enter__(self) -> None:
        """Take the decoder before the thread does."""
        with self._state:
            self._asking += 1
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()
        with self._state:
            self._asking -= 1
            self._state.notify_all()
        self._start()

    def taken(self, indices: Collection[int], n_bytes: int) -> None:
        """These frames need not be decoded any more, and so many bytes of what was decoded were fetched."""
        with self._state:
            self._held_bytes = max(0, self._held_bytes - n_bytes)
            while self._plan and self._plan[0] in indices:
                self._plan.popleft()

    def stop(self) -> None:
        """Forget the plan and wait for the thread to end."""
        with self._state:
            self._plan.clear()
            self._held_bytes = 0
            self._state.notify_all()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        with self._state:
            if self._plan and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="decode-ahead", daemon=True)
                self._thread.start()

    def _may_go_on(self) -> bool:
        return not self._plan or (self._asking == 0 and self._held_bytes < self._limit_bytes)

    def _run(self) -> None:
        while True:
            with self._state:
                if not self._state.wait_for(self._may_go_on, timeout=IDLE_S) or not self._plan:
                    self._thread = None
                    return
            with self.lock:
                with self._state:
                    part = [self._plan.popleft() for _ in range(min(self._at_once, len(self._plan)))]
                if not part:
                    continue
                try:
                    n_bytes = self._decode(part)
                except Exception:
                    with self._state:
                        self._plan.clear()
                    continue
                with self._state:
                    self._held_bytes += n_bytes
