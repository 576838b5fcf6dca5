"""Copying a picture packet by packet: when that can be exact, with which times, and the proof afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.errors import MediaError
from expotion.video.container import Limits
from expotion.video.decoders import PyAvDecoder, Unsupported
from expotion.video.packets import MISSING, Packets
from expotion.video.scan import Scan, scan
from expotion.video.writing import holds_picture, plain_name

_EDITS = frozenset({".mp4", ".mov"})
"""Containers that can hide what comes before the start, and that hold every way to turn a picture."""


def obstacle(source: Scan, suffix: str) -> str | None:
    """Why a file's whole picture cannot be copied into a container so that a player shows the same; or None."""
    picture = source.picture
    assert picture is not None
    reasons = (
        "its times start again in the middle" if picture.restarted else None,
        picture.damage,
        None if picture.seekable else "its pictures have no times of their own",
        None
        if holds_picture(suffix, picture.codec)
        else f"{suffix[1:]} does not hold {plain_name(picture.codec)} as it is here",
        _unplayable(picture.packets, suffix),
    )
    why = next((reason for reason in reasons if reason is not None), None)
    if why is None and suffix not in _EDITS and PyAvDecoder(source).orientation.mirrored:
        return f"{suffix[1:]} cannot say that a picture is mirrored"
    return why


def _unplayable(packets: Packets, suffix: str) -> str | None:
    """Why these packets in a container would not be shown as they are in their own; or None."""
    if not packets.starts_with_keyframe:
        return "it begins between two keyframes"
    kept = n_kept(packets)
    shown = ~packets.hidden[:kept]
    pts = packets.pts[:kept]
    if len(np.unique(pts[shown])) < int(shown.sum()):
        return "several of its pictures have one time"
    hidden = pts[~shown]
    if len(hidden) and (suffix not in _EDITS or bool((hidden >= pts[shown].min()).any())):
        return f"an edit list hides pictures that {suffix[1:]} would show"
    return None


def n_kept(packets: Packets) -> int:
    """Packets that are copied: all but hidden ones at the end, which nothing shown needs."""
    return int(np.flatnonzero(~packets.hidden)[-1]) + 1


def decoding_times(packets: Packets) -> NDArray[np.int64]:
    """When each packet is decoded, int64 [n] ticks: as the file says where that can be, else from the times shown.

    Decoding times increase and are never after the time shown. Where the file's are missing, repeat or run back,
    the k-th packet is decoded at the k-th earliest time shown, all of them earlier by what the worst packet needs.
    """
    pts, dts = packets.pts, packets.dts
    if not (dts == MISSING).any() and bool((np.diff(dts) > 0).all()) and bool((dts <= pts).all()):
        return dts
    times = np.sort(pts)
    return times - int((times - pts).max())


def copied_packets(source: Scan, container: Any) -> Iterator[Any]:
    """Packets of a scanned picture from its open file, their times from the file's zero."""
    assert source.picture is not None
    packets = source.picture.packets
    stream = container.streams[source.picture.stream_index]
    zero = round(source.zero_s / packets.tick_s)
    dts = decoding_times(packets)[: n_kept(packets)] - zero
    at = iter(dts.tolist())
    for packet in container.demux(stream):
        if packet.size == 0 or packet.pts is None:
            continue
        time = next(at, None)
        if time is None:
            return
        packet.pts -= zero
        packet.dts = time
        yield packet


def difference(source: Scan, written: Path, limits: Limits) -> str | None:
    """How the picture of a written file differs from the one it was copied from; None where it does not.

    Compared are the number of packets, their times (within one tick of the coarser time base) and sizes, how the
    picture is turned, and the first frame as decoded.
    """
    out = scan(written, limits)
    if out.picture is None or source.picture is None:
        return "no picture arrived"
    was, now = source.picture.packets, out.picture.packets
    kept = n_kept(was)
    if len(now.pts) != kept or len(out.picture.pts) != int((~was.hidden).sum()):
        return f"{len(out.picture.pts)} of {int((~was.hidden).sum())} pictures arrived"
    before_s = was.pts[:kept] * was.tick_s - source.zero_s
    after_s = now.pts * now.tick_s - out.zero_s
    allowed_s = max(was.tick_s, now.tick_s) + 0.5 * min(was.tick_s, now.tick_s)
    late_s = float(np.abs(after_s - before_s).max())
    if late_s > allowed_s:
        return f"a picture moved by {late_s:.3f} s"
    if was.framed and now.framed and not np.array_equal(was.sizes[:kept], now.sizes):
        return "packets changed their size"
    if not now.starts_with_keyframe:
        return "it began between two keyframes"
    return _first_frame_differs(source, out)


def _first_frame_differs(source: Scan, out: Scan) -> str | None:
    before, after = PyAvDecoder(source), PyAvDecoder(out)
    try:
        if before.orientation != after.orientation:
            return "the picture would be shown turned"
        (_, was), (_, now) = next(before.read([0])), next(after.read([0]))
        return None if np.array_equal(was, now) else "its first frame decodes to something else"
    except (Unsupported, MediaError) as error:
        return str(error)
    finally:
        before.close()
        after.close()
