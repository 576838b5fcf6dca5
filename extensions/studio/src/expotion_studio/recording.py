"""From frames with their times to a video file that `data prepare` reads, and away again from every cache.

A take comes as one body: the length of a header (4 bytes, big end first), the header as JSON, then JPEGs. `times_s`
of the header are seconds from the moment at which the piece's first sample was heard, by the clock of the browser's
sound (clock.js); what speaker and camera add, as calibrated, is `offset_s` and is taken off here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from expotion.errors import MediaError, Problem
from expotion.files import cache_folder, file_sha256, write_json, write_text
from expotion_studio.shelf import Shelf

if TYPE_CHECKING:
    from expotion_web.worker import Telling

MAX_HEADER_BYTES = 1 << 20
LEAST_FPS = 8.0
STEP_S = 0.001
LATE_S = 0.25
"""A take whose last frame is so far from the end of the piece is not whole."""
Time = Annotated[float, Field(allow_inf_nan=False)]


class Header(BaseModel):
    """What stands before the frames."""

    times_s: list[Time]
    sizes: list[Annotated[int, Field(ge=1)]]
    offset_s: Annotated[float, Field(ge=-1.0, le=1.0)]
    offset_from: str
    dropped: Annotated[int, Field(ge=0)]


def read_header(path: Path) -> tuple[Header, int]:
    """The header of a take and where its frames begin. Raises MediaError for what is none, or is not whole."""
    wrong = MediaError(Problem("take", "frames with their times, whole", "something else", "record it again"))
    with path.open("rb") as file:
        length = int.from_bytes(file.read(4), "big")
        if length > MAX_HEADER_BYTES:
            raise wrong
        try:
            header = Header.model_validate_json(file.read(length))
        except ValidationError:
            raise wrong from None
    if len(header.times_s) != len(header.sizes) or 4 + length + sum(header.sizes) != path.stat().st_size:
        raise wrong
    return header, 4 + length


def shown(
    times_s: NDArray[np.float64], offset_s: float, duration_s: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which frames of a take are kept, and their times on the piece's clock.

    The last frame from before the piece stands at its start; what comes after its end is left out; times increase.
    """
    own = times_s - offset_s
    first = max(0, int(np.searchsorted(own, 0.0, side="right")) - 1)
    kept, last_s = [], -1.0
    for index in range(first, len(own)):
        time_s = max(0.0, float(own[index]))
        if time_s < duration_s and time_s >= last_s + STEP_S:
            kept.append(index)
            last_s = time_s
    indices = np.array(kept, dtype=np.int64)
    return indices, np.maximum(own[indices], 0.0) if kept else np.zeros(0)


def write(raw: str, sound: str, out: str) -> dict[str, Any]:
    """Write a take as mp4 with the piece as its sound; runs in a process with limits."""
    from expotion.video.audio import load_audio
    from expotion.video.writing import write_video

    header, start = read_header(Path(raw))
    samples = load_audio(Path(sound), 32_000)
    assert samples is not None
    duration_s = len(samples) / 32_000
    kept, times_s = shown(np.array(header.times_s), header.offset_s, duration_s)
    if not len(kept) or times_s[-1] < duration_s - LATE_S or times_s[0] > LATE_S:
        got = f"{times_s[0]:.2f} to {times_s[-1]:.2f} s" if len(kept) else "no frame of it"
        wanted = f"frames from 0 to {duration_s:.1f} s"
        raise MediaError(Problem("take", wanted, got, "record it again, with the page in front"))
    fps = len(kept) / duration_s
    if fps < LEAST_FPS:
        fix = "give the camera more light, close other programs, record it again"
        raise MediaError(Problem("take", f"at least {LEAST_FPS:g} frames a second", f"{fps:.1f}", fix))
    write_video(
        Path(out), _pictures(Path(raw), start, header.sizes, kept), times_s, samples, 32_000, duration_s=duration_s
    )
    gap_s = float(np.diff(np.append(times_s, duration_s)).max())
    notes = [f"the camera stood still for {gap_s:.2f} s"] if gap_s > LATE_S else []
    if header.dropped:
        notes.append(f"{header.dropped} frames were dropped")
    about = {"duration_s": duration_s, "frames": len(kept), "fps": round(fps, 2), "dropped": header.dropped}
    return {**about, "offset_s": header.offset_s, "offset_from": header.offset_from[:80], "notes": notes}


def _pictures(path: Path, start: int, sizes: list[int], kept: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    import cv2

    begins = start + np.concatenate([[0], np.cumsum(sizes)])
    size: tuple[int, ...] | None = None
    with path.open("rb") as file:
        for index in kept.tolist():
            file.seek(int(begins[index]))
            data = np.frombuffer(file.read(sizes[index]), np.uint8)
            frame: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
            if frame is None or (size is not None and frame.shape != size):
                raise MediaError(Problem("take", "pictures of one size", "another, or none", "record it again"))
            size = frame.shape
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def manifest(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """A job: `data prepare` over the recordings, with songs, performers and recordings in its rows."""
    from functools import partial

    from expotion import plugins
    from expotion.progress import stage_progress
    from expotion.workers import n_workers, spread
    from expotion_corpus.examine import Settings, examine
    from expotion_corpus.prepare import prepare
    from expotion_corpus.work import Finish

    shelf = Shelf(Path(given["root"]))
    longest_s = max((one.duration_s for one in shelf.all_recordings()), default=given["clip_s"])
    clip_s = min(given["clip_s"], longest_s)
    settings = Settings(clip_s, clip_s, min(3.0, 0.9 * clip_s))
    made = prepare(
        shelf.recordings,
        shelf.corpus,
        settings,
        lambda items: spread(partial(examine, settings), items, workers=n_workers(len(items), items_per_worker=8)),
        finish=Finish(shelf.corpus, plugins.discover(), None, {}, given["codes"], telling.console),
        progress=stage_progress(telling.console, "examine"),
    )
    for line in made.report["warnings"]:
        telling.console.print(line, markup=False)
    people = {row.performer for row in made.rows}
    return {"clips": len(made.rows), "songs": len({row.song for row in made.rows}), "performers": len(people)}


def forget(shelf: Shelf, name: str) -> list[str]:
    """Delete a recording: its file, its clips in the manifest, everything that caches hold of them.

    Returns the names of runs that trained on it.
    """
    from expotion.features.store import read_header as entry_header
    from expotion.manifest.rows import read_manifest
    from expotion.manifest.source import ManifestClip

    folder = shelf.recording_folder(name)
    digest = file_sha256(folder / f"{name}.mp4")
    hashes = {digest}
    for path in [*shelf.corpus.glob("*.jsonl"), *shelf.runs.glob("*.jsonl")]:
        rows = read_manifest(path)
        hashes |= {ManifestClip(row, path.parent).content_hash for row in rows if row.file_sha256 == digest}
        left = [row.model_dump_json(exclude_none=True) for row in rows if row.file_sha256 != digest]
        write_text(path, "".join(line + "\n" for line in left))
        if not left:
            path.unlink()
    for entry in (cache_folder() / "features").glob("*/*.safetensors"):
        with contextlib.suppress(Exception):  # one that cannot be read holds nothing of it that anybody can read
            if entry_header(entry)[0].get("clip hash") in hashes:
                entry.unlink()
    for kept in (shelf.corpus / "examined").glob("*.npz"):
        with contextlib.suppress(OSError, ValueError, KeyError), np.load(kept, allow_pickle=False) as about:
            if json.loads(str(about["about"]))["sha256"] == digest:
                kept.unlink()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return trained_on(shelf, name)


def trained_on(shelf: Shelf, name: str) -> list[str]:
    """Runs that trained on a recording."""
    found = []
    for path in sorted(shelf.runs.glob("*.recordings.json")):
        with contextlib.suppress(OSError, ValueError):
            if name in json.loads(path.read_text(encoding="utf-8")):
                found.append(path.name.removesuffix(".recordings.json"))
    return found


def side_car(folder: Path, song_title: str, caption: str, performer: str) -> None:
    """What `data prepare` reads beside a video."""
    values = {"caption": caption, "song": song_title, "performer": performer, "recording": folder.name}
    write_json(folder / f"{folder.name}.json", values)
