"""The manifest: `manifest.jsonl`, one clip per line, and `manifest.json`, its header."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from expotion.contracts import Options
from expotion.errors import ExpotionError, Problem
from expotion.files import write_json, write_text

SCHEMA_VERSION = 1
Split = Literal["train", "validation", "test"]
Name = Annotated[str, Field(min_length=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class ManifestError(ExpotionError):
    """A manifest, or a list that one is made from, is wrong: every problem with its file and line."""

    exit_code = 2


class Row(BaseModel):
    """One clip: the stretch of `path` from `start_s` for `duration_s`, on the file's shared zero of time.

    `path` is relative to the manifest's folder or absolute. `sound` names the group of files that hold the same
    sound (by fingerprint). `n_codes` counts the codec frames that are real; what a batch adds is masked.
    `silent_fraction` and `clipped_fraction` are of the sound; `picture_change` is the mean absolute difference of
    frames a second apart, 0..255.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    path: Name
    start_s: Seconds
    duration_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    file_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    whole: bool = False
    caption: str | None = None
    song: Name | None = None
    performer: Name | None = None
    recording: Name | None = None
    sound: Name | None = None
    split: Split | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    height: Annotated[int, Field(ge=1)] | None = None
    fps: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    sample_rate_hz: Annotated[int, Field(ge=1)] | None = None
    loudness_lufs: Finite | None = None
    silent_fraction: Fraction | None = None
    clipped_fraction: Fraction | None = None
    picture_change: Annotated[float, Field(ge=0.0, le=255.0)] | None = None
    n_codes: Annotated[int, Field(ge=1)] | None = None

    def file(self, folder: Path) -> Path:
        """The media file of a manifest in `folder`; its name may be none of UTF-8's (`files.escaped`)."""
        name = re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda found: chr(int(found[1], 16)), self.path)
        return folder / name  # an absolute path stands for itself


def read_manifest(path: Path, *, files: bool = False) -> list[Row]:
    """Rows of a manifest. Raises ManifestError: all bad lines, double ids and, with `files`, lost files."""
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")  # as JSON lines end, and nothing else
    except (OSError, UnicodeDecodeError) as error:
        fix = "make one with `expotion data prepare`"
        raise ManifestError(Problem(str(path), "a manifest (JSON lines, UTF-8)", str(error), fix)) from error
    rows: list[Row] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    there = cache(Path.is_file)  # many rows may name one file
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            for fault in error.errors():
                field = ".".join(map(str, fault["loc"]))
                got = None if fault["type"] in {"missing", "json_invalid"} else repr(fault["input"])[:80]
                problems.append(Problem(f"{where}: {field}" if field else where, fault["msg"].lower(), got))
            continue
        rows.append(row)
        if row.id in seen:
            problems.append(Problem(where, "an id of its own", f"{row.id!r}, as in line {seen[row.id]}"))
        seen.setdefault(row.id, number)
        file = row.file(path.parent)
        if files and not there(file):
            fix = "put it back, or run `expotion data prepare` again"
            problems.append(Problem(where, "a file that is there", str(file), fix))
    if not rows and not problems:
        problems.append(Problem(str(path), "at least one clip", "none"))
    if problems:
        raise ManifestError(problems)
    return rows


def write_manifest(path: Path, rows: Sequence[Row], header: dict[str, Any]) -> None:
    """Write the rows and, beside them, the header with the rows' hash. Each file is whole or untouched."""
    text = "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows)
    write_text(path, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    about = {"schema": SCHEMA_VERSION, "clips": len(rows), "sha256": digest, **header}
    write_json(path.with_suffix(".json"), about)


def read_header(path: Path) -> dict[str, Any]:
    """The header beside a manifest; empty where there is none."""
    try:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class ManifestOptions(Options):
    """A manifest that `expotion data split` wrote; relative paths are from the working directory."""

    path: Path = Field(description="the manifest that `expotion data prepare` and `data split` wrote (JSON lines)")
    split: Literal["test", "validation"] = Field(default="test", description="which clips to evaluate on")
    train_clips: int | None = Field(default=None, ge=1, description="at most so many; default: all")
    test_clips: int | None = Field(default=None, ge=1, description="at most so many; default: all")
