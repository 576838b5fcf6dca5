"""Files as answers: whole, or the part that a player asks for; nothing says when a file was made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

CHUNK_BYTES = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


def file_response(path: Path, kind: str, asked: str | None, cache: str = "private, max-age=86400") -> Response:
    """A file of a media type; `asked` is the request's Range header. Raises OSError where there is no file."""
    size = path.stat().st_size
    part = _part(asked, size)
    if part is None:
        return Response(status_code=416, media_type=kind, headers={"Content-Range": f"bytes */{size}"})
    first, last = part
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(last - first + 1), "Cache-Control": cache}
    if asked is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return StreamingResponse(
        _bytes(path, first, last + 1), 200 if asked is None else 206, headers=headers, media_type=kind
    )


def _bytes(path: Path, first: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        left = stop - first
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def _part(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that are asked for; all where nothing is, None where it cannot be given."""
    if header is None or "," in header:
        return 0, size - 1
    found = _RANGE.match(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    return (first, last) if first <= last else None
