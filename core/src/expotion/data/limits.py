"""How much of an untrusted file is accepted, and what happens to what is larger."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on media files.

    A clip (the window that is asked for, not the file) longer than `max_duration_s`, frames of more than
    `max_pixels` and files of more than `max_bytes` are refused with a MediaError. Frames whose shorter side
    is above `work_shorter_side` are accepted and reduced to it right after decoding, so that an 8K file
    costs no more memory than a 1080p one.
    """

    max_duration_s: float = 600.0
    max_pixels: int = 8192 * 8192
    max_bytes: int = 8 * 1024**3
    work_shorter_side: int = 1080


DEFAULT_LIMITS = Limits()
