"""One file over HTTP: resumed where it stopped, checked by hash, in place only when whole.

What has arrived lies beside the target as `NAME.part`; `NAME.part.json` holds the server's name for that version of
the file (its ETag), so that a resumed download never mixes two versions. A server that does not resume sends the
file from its beginning, and it is taken from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from expotion.errors import Problem, WeightsError
from expotion.files import write_json

BLOCK = 1 << 20
TIMEOUT_S = 30.0
ATTEMPTS = 4
LOCAL = ("127.0.0.1", "localhost", "::1")
Progress = Callable[[int, "int | None"], None]


class Interrupted(Exception):
    """The connection broke or was never there; what arrived is kept."""


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hash(path: Path, wanted: str | None, where: str) -> str:
    """The file's SHA-256. WeightsError, and the file is removed, when it does not begin with `wanted`."""
    got = sha256_of(path)
    if wanted is not None and not got.startswith(wanted.lower()):
        path.unlink(missing_ok=True)
        raise WeightsError(
            Problem(
                where,
                f"a file whose SHA-256 begins with {wanted[:16]}",
                got[:16],
                "refused and removed: the file at the source has changed or was damaged on the way; "
                "pull again, and do not use it if this repeats",
            )
        )
    return got


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    attempts: int = ATTEMPTS,
    pause_s: float = 1.0,
    progress: Progress | None = None,
) -> str:
    """Download `url` to `target` and return the SHA-256. Raises Interrupted (go on later) or WeightsError."""
    _check_address(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(attempts):
        try:
            _receive(url, part, progress)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 429):
                raise WeightsError(
                    Problem(
                        url,
                        "the file",
                        f"the server's answer {error.code} {error.reason}",
                        "it may have moved",
                    )
                ) from None
            failure: Exception = error
        except (OSError, http.client.HTTPException, Interrupted) as error:
            failure = error
        if attempt == attempts - 1:
            raise Interrupted(_reason(failure)) from failure
        time.sleep(pause_s * 2**attempt)
    digest = check_hash(part, sha256, url)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    _tag_file(part).unlink(missing_ok=True)
    return digest


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """One attempt: ask for what is missing and append it; Interrupted when less than announced arrives."""
    have = part.stat().st_size if part.is_file() else 0
    tag = _read_tag(part)
    request = urllib.request.Request(url, headers={"User-Agent": "expotion", "Accept-Encoding": "identity"})
    if have and tag:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    with _open(request, part) as answer:
        _check_address(answer.url)
        resumed = answer.status == 206 and _starts_at(answer.headers.get("Content-Range"), have)
        if answer.status == 206 and not resumed:
            raise Interrupted("the server resumed at another place")
        length = answer.headers.get("Content-Length")
        have = have if resumed else 0
        total = have + int(length) if length is not None and length.isdigit() else None
        _write_tag(part, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                have += len(block)
                if progress is not None:
                    progress(have, total)
    if total is not None and have < total:
        raise Interrupted(f"the connection ended after {have} of {total} bytes")


def _open(request: urllib.request.Request, part: Path) -> http.client.HTTPResponse:
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer: start again
            error.close()
            part.unlink(missing_ok=True)
            raise Interrupted("the part did not fit the file") from None
        raise
    return answer


def _starts_at(content_range: str | None, position: int) -> bool:
    return content_range is not None and content_range.startswith(f"bytes {position}-")


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
        raise WeightsError(Problem(url, "an https address"))


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_tag(part: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        tag = json.loads(_tag_file(part).read_text(encoding="utf-8")).get("tag")
        return tag if isinstance(tag, str) and not tag.startswith("W/") else None
    return None


def _write_tag(part: Path, tag: str | None) -> None:
    write_json(_tag_file(part), {"tag": tag})


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
