"""Precomputed feature files become tracks of clips."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from expotion.errors import ExpotionError, Problem
from expotion.features.authors import RowTimes, as_track, read_list, read_pt
from expotion.features.store import FeatureStore
from expotion.pipeline.features.clips import ClipFile, find_clips


@dataclass
class FilesImported:
    """How many files were taken, their width, and every one that was not, with the reason."""

    done: int = 0
    widths: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)


def import_file(
    path: Path, clip: ClipFile, name: str, rate_hz: float, store: FeatureStore, times: RowTimes = "centre"
) -> int:
    """Take one file for one clip; returns D. Raises MediaError for a file or a rate that does not fit the clip."""
    opened = clip.open()
    rows = read_pt(path)
    track = as_track(rows, opened.duration_s, rate_hz, str(path), times)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    notes = {"source": path.name, "source sha256": digest, "row times": times}
    store.save_imported(opened, name, track, rate_hz, notes)
    return int(rows.shape[1])


def import_folder(
    folder: Path,
    list_file: Path | None,
    clips: Sequence[Path],
    name: str,
    rate_hz: float,
    store: FeatureStore,
    times: RowTimes = "centre",
) -> FilesImported:
    """Take every .pt of a folder (or those that a list file names) for the clip of the same name.

    A file without a clip, a listed file that is not there and one that does not fit are refused, never replaced.
    """
    wanted = (
        [entry for entry, _ in read_list(list_file)]
        if list_file
        else sorted(p.name for p in folder.glob("*.pt"))
    )
    if not wanted:
        raise ExpotionError(Problem(str(list_file or folder), "feature files .pt", "none"))
    by_stem: dict[str, list[ClipFile]] = {}
    for clip in find_clips(clips):
        by_stem.setdefault(Path(clip.path).stem, []).append(clip)
    out = FilesImported()
    for entry in dict.fromkeys(wanted):
        path = folder / entry
        found = by_stem.get(path.stem, [])
        if not path.is_file():
            out.refused.append(f"{path}: listed, and not there")
        elif len(found) != 1:
            out.refused.append(f"{path}: {len(found) or 'no'} clips are named {path.stem}")
        else:
            try:
                out.widths.add(import_file(path, found[0], name, rate_hz, store, times))
                out.done += 1
            except (ExpotionError, OSError) as error:
                out.refused.append(str(error))
    return out
