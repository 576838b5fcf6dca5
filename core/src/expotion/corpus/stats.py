"""Numbers about a manifest: lengths, loudness, tempo, captions, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from expotion.corpus.schema import Row


def summary(values: Sequence[float | None], *, total: bool = False) -> dict[str, float] | None:
    """Count, least, median, mean, most and, if asked, sum of the values that are known; None without any."""
    known = np.asarray([v for v in values if v is not None], dtype=np.float64)
    if not len(known):
        return None
    numbers = {
        "least": known.min(),
        "median": np.median(known),
        "mean": known.mean(),
        "most": known.max(),
    }
    if total:
        numbers["sum"] = known.sum()
    return {"count": len(known)} | {name: round(float(value), 4) for name, value in numbers.items()}


def stats(rows: Sequence[Row], tempo_bpm: Callable[[Row], float | None] | None = None) -> dict[str, Any]:
    """Summaries of the rows; tempo where a function that estimates it is given."""
    out: dict[str, Any] = {
        "clips": len(rows),
        "files": len({row.file_sha256 for row in rows}),
        "splits": dict(Counter(row.split or "none" for row in rows)),
        "duration_s": summary([row.duration_s for row in rows], total=True),
        "loudness_lufs": summary([row.loudness_lufs for row in rows]),
        "silent_fraction": summary([row.silent_fraction for row in rows]),
        "clipped_fraction": summary([row.clipped_fraction for row in rows]),
        "picture_change": summary([row.picture_change for row in rows]),
        "caption_words": summary([None if row.caption is None else len(row.caption.split()) for row in rows]),
        "fps": dict(Counter(str(row.fps) for row in rows)),
        "size": dict(Counter(f"{row.width}x{row.height}" for row in rows)),
        "known": {
            key: sum(getattr(row, key) is not None for row in rows)
            for key in ("song", "performer", "recording")
        },
    }
    if tempo_bpm is not None:
        out["tempo_bpm"] = summary([tempo_bpm(row) for row in rows])
    return out
