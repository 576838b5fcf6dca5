"""A composed piece as files: sound, video with the picture copied, and the record last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError, Problem
from expotion.files import write_json
from expotion.models.published import is_published, pinned
from expotion.music.steering import ANY_VIDEO, SOUND_FORMATS, Composing, Output
from expotion.music.targets import Target
from expotion.plugins import installed_versions
from expotion.video.loudness import DEFAULT_CEILING_DBTP, loudness_lufs, normalise
from expotion.video.mux import can_be_copied, mux_video
from expotion.video.scan import scan
from expotion.video.sound_files import Depth, write_sound
from expotion.video.writing import fitting_suffix

# The JSON beside a piece: everything needed to make it again, and to know whether that has been done.

FORMAT = "expotion-music/1"
_FIX = "give a JSON that `expotion generate` has written"


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def adaptor_fingerprint(folder: Path) -> str:
    """Hex SHA-256 over an adaptor's description, which holds that of its weights."""
    return sha256_of(folder / "adaptor.json")


def asked_for(
    composing: Composing, output: Output, target: Target, adaptor: Path, threads: int
) -> dict[str, Any]:
    """What a piece depends on: the same on every call that would make the same files."""
    given = composing.to_json()
    return {
        "clip": {"file": str(target.clip.absolute()), "sha256": sha256_of(target.clip)},
        "composing": {**given, "adaptor": _named(given["adaptor"], adaptor), "seed": target.seed},
        "adaptor_sha256": adaptor_fingerprint(adaptor),
        "controls_sha256": {
            name: sha256_of(path) for name, path in composing.controls.items() if path is not None
        },
        "output": output.to_json(),
        "threads": threads,
    }


def write_record(
    target: Target, asked: Mapping[str, Any], files: Sequence[Path], made: Mapping[str, Any]
) -> Path:
    """Write the record, last of all: where it is there and agrees, the files are whole."""
    content = {
        "format": FORMAT,
        "asked": dict(asked),
        "files": {path.name: sha256_of(path) for path in files},
        "made": dict(made),
        "versions": installed_versions({}),
    }
    write_json(target.record, content)
    return target.record


def is_done(target: Target, asked: Mapping[str, Any]) -> bool:
    """Whether a piece is there: its record asks for the same, and every file is as it was written.

    The number of threads does not count: it changes the last bits, not what was asked for.
    """
    try:
        content = json.loads(target.record.read_text(encoding="utf-8"))
        before = {**content["asked"], "threads": 0}
        files = {target.record.with_name(name): digest for name, digest in content["files"].items()}
        return before == {**json.loads(json.dumps(asked)), "threads": 0} and all(
            path.is_file() and sha256_of(path) == digest for path, digest in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


class Record:
    """A record as read: what was asked for, and the digests of what was written.

    Raises ExpotionError for a file that is none, and for a clip, control or adaptor that is gone or has changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ExpotionError(
                Problem(f"--again {path}", "a file that can be read", error.strerror, _FIX)
            ) from None
        except ValueError:
            raise ExpotionError(Problem(f"--again {path}", "JSON", "something else", _FIX)) from None
        try:
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}")
            asked = content["asked"]
            # What was left to the machine stays as that machine decided.
            kind = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(
                content["made"]["precision"]
            )
            left_open = asked["composing"]["precision"] in (None, "auto")
            given = {**asked["composing"], **({"precision": kind} if left_open else {})}
            self.composing = Composing.from_json(given)
            self.output = Output.from_json(asked["output"])
            self.clip = Path(asked["clip"]["file"])
            self.threads = int(asked["threads"])
            self.files: dict[str, str] = dict(content["files"])
            self.versions: dict[str, str] = dict(content["versions"])
            digests = {self.clip: asked["clip"]["sha256"]}
            for name, digest in asked["controls_sha256"].items():
                digests[Path(asked["composing"]["controls"][name])] = digest
            assert self.composing.adaptor is not None
            digests[self.composing.adaptor / "adaptor.json"] = asked["adaptor_sha256"]
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            got = str(error) if isinstance(error, ValueError) else f"no {error}"
            raise ExpotionError(Problem(f"--again {path}", f"a record of {FORMAT}", got, _FIX)) from None
        self._check(digests)

    def differing_versions(self) -> list[str]:
        """Packages that are not those that the piece was made with, as 'torch 2.14.1, was 2.13.0'."""
        now = installed_versions({})
        return [
            f"{name} {now.get(name, 'missing')}, was {version}"
            for name, version in self.versions.items()
            if now.get(name) != version
        ]

    def _check(self, digests: Mapping[Path, str]) -> None:
        problems = []
        for file, digest in digests.items():
            if not file.is_file():
                fix = "put it back where it was"
                problems.append(Problem(str(file), f"a file that {self.path} was made from", "none", fix))
            elif sha256_of(file) != digest:
                wanted = f"the file that {self.path} was made from"
                problems.append(Problem(str(file), wanted, "another content under its name"))
        if problems:
            raise ExpotionError(problems)


def _named(given: str | None, folder: Path) -> str:
    """How the same adaptor is found again: its folder, or its repository at the revision that was used."""
    if given is not None and is_published(given):
        return pinned(given, folder)
    return str(folder.absolute())


Warn = Callable[[str], None]


def write_files(
    target: Target,
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    duration_s: float,
    output: Output,
    asked: Mapping[str, Any],
    notes: Mapping[str, Any],
    warn: Warn,
) -> list[Path]:
    """Write every format and the record; returns the files. `samples` float32 [n] last as long as the clip.

    A format that is there already is replaced, each file whole or not at all; the old record goes first, so that a
    record never speaks of files of another piece.
    """
    target.record.unlink(missing_ok=True)
    made: dict[str, Any] = {
        "duration_s": duration_s,
        "sample_rate_hz": sample_rate_hz,
        "loudness_lufs": _rounded(loudness_lufs(samples, sample_rate_hz)),
        **notes,
    }
    if output.loudness_lufs is not None:
        normalised = normalise(samples, sample_rate_hz, output.loudness_lufs)
        samples = normalised.samples
        made["normalised"] = {
            "before_lufs": _rounded(normalised.before_lufs),
            "loudness_lufs": _rounded(normalised.loudness_lufs),
            "true_peak_dbtp": _rounded(normalised.true_peak_dbtp),
            "ceiling_dbtp": DEFAULT_CEILING_DBTP,
            "gain_db": _rounded(normalised.gain_db),
            "limited_db": _rounded(normalised.limited_db),
        }
        made["loudness_lufs"] = _rounded(normalised.loudness_lufs)
        if normalised.note is not None:
            warn(f"loudness: {normalised.note}")
    depth = cast(Depth, output.depth)
    files: list[Path] = []
    for name in output.formats:
        if name in SOUND_FORMATS:
            file = target.file(f".{name}")
            write_sound(file, samples, sample_rate_hz, depth=depth)
            files.append(file)
    files += _videos(target, samples, sample_rate_hz, duration_s, output, warn)
    return [*files, write_record(target, asked, files, made)]


def _videos(
    target: Target,
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    duration_s: float,
    output: Output,
    warn: Warn,
) -> list[Path]:
    wanted = [name for name in output.formats if name not in SOUND_FORMATS]
    source = scan(target.clip)
    if not wanted or source.picture is None:
        if wanted:
            warn("no picture: the sound alone is written")
        return []
    files: list[Path] = []
    for name in wanted:
        suffix = f".{name}"
        if name == ANY_VIDEO:
            suffix = fitting_suffix(source.picture.codec) or ".mp4"
        if not can_be_copied(source, suffix):
            why = source.picture.damage or f"{suffix[1:]} does not hold {source.picture.codec} as it is here"
            warn(f"the picture is encoded anew ({why})")
        if output.keep_original_sound and source.sound is None:
            warn("the clip has no sound of its own to keep")
        file = target.file(suffix)
        mux_video(
            target.clip,
            samples,
            sample_rate_hz,
            file,
            duration_s=duration_s,
            keep_original_sound=output.keep_original_sound,
            must_copy=name != ANY_VIDEO,
            bits=16 if output.depth == "16" else 24,
        )
        files.append(file)
    return files


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
