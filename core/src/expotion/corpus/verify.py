"""A manifest held against its files: there, those that were prepared, as long and at the rate that it states?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from expotion.corpus.schema import Row, read_manifest
from expotion.corpus.source import differences
from expotion.data.clip import file_sha256
from expotion.data.scan import scan
from expotion.errors import ExpotionError, Problem


def verify(
    manifest: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Row], list[Problem]]:
    """The rows, and everything that is wrong with their files. Raises ManifestError for a list with bad lines."""
    rows = read_manifest(manifest)
    by_file: dict[Path, list[Row]] = {}
    for row in rows:
        by_file.setdefault(row.file(manifest.parent), []).append(row)
    problems: list[Problem] = []
    for done, (file, clips) in enumerate(by_file.items(), start=1):
        problems += _wrong(file, clips)
        progress(done, len(by_file))
    return rows, problems


def _wrong(file: Path, clips: list[Row]) -> list[Problem]:
    if not file.is_file():
        named = f"{clips[0].id}" + (f" and {len(clips) - 1} more clips" if len(clips) > 1 else "")
        return [Problem(str(file), f"a file that is there (for {named})", "nothing", "put it back")]
    try:
        if file_sha256(file) != clips[0].file_sha256:
            fix = "run `expotion data prepare` again"
            return [Problem(str(file), "the file that was prepared", "another content", fix)]
        found = scan(file)
    except ExpotionError as error:
        return list(error.problems)
    return [problem for row in clips for problem in differences(row, found, str(file))]
