"""A clip's picture for a web page: small, H.264, on the clip's own time line."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np

from expotion import timeline
from expotion.contracts import Video, read_ahead

SHORTER_SIDE_PX = 240
RATE_HZ = 15
LONGEST_S = 120.0
CHUNK = 32


def small_mp4(video: Video, duration_s: float) -> bytes:
    """MP4 of what is shown at every 1/15 s, at most LONGEST_S long; time 0 is the clip's start."""
    import av  # noqa: PLC0415

    n = timeline.n_steps(min(duration_s, LONGEST_S), RATE_HZ)
    times_s = timeline.sample_times_s(n, RATE_HZ)
    side = min(SHORTER_SIDE_PX, *video.size)
    read_ahead(video, times_s, shorter_side=side)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = None
        for start in range(0, n, CHUNK):
            for i, picture in enumerate(video.frames_at(times_s[start : start + CHUNK], shorter_side=side)):
                even = np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
                if stream is None:
                    stream = container.add_stream("libx264", rate=RATE_HZ)
                    stream.height, stream.width = even.shape[:2]
                    stream.pix_fmt, stream.options = "yuv420p", {"crf": "27", "preset": "veryfast", "g": "15"}
                frame = av.VideoFrame.from_ndarray(even, format="rgb24")
                frame.pts, frame.time_base = start + i, Fraction(1, RATE_HZ)
                container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
    return buffer.getvalue()
