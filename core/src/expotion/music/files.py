"""A composed piece as files: sound, video with the picture copied, and the record last."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from expotion.errors import ExpotionError, MediaError, Problem
from expotion.files import file_sha256, sha256_of, write_json
from expotion.machine import Choice
from expotion.music.controls import Warn
from expotion.music.piece import Music
from expotion.music.steering import Steering
from expotion.music.targets import ANY_VIDEO, OVERLAY, SOUND_FORMATS, Output, Target
from expotion.plugins import installed_versions
from expotion.video.loudness import DEFAULT_CEILING_DBTP, loudness_lufs, normalise
from expotion.video.mux import mux_video
from expotion.video.scan import Scan
from expotion.video.sound_files import Depth, write_sound
from expotion.video.writing import fitting_suffix

FORMAT = "expotion-music/1"
"""Of the record, the JSON beside a piece: all that it takes to make it again, and to know whether it was made."""

_FIX = "give a JSON that `expotion generate` has written"
_TO_H264 = "convert the clip to H.264 in mp4, and run the command again on that"
_NUMBERS = ("before_lufs", "loudness_lufs", "true_peak_dbtp", "gain_db", "limited_db")


def is_done(target: Target, asked: Callable[[Target], Mapping[str, Any]]) -> bool:
    """Whether a piece is there: its record asks for the same, and every file is as it was written.

    The number of threads does not count: it changes the last bits, not what was asked for.
    """
    try:
        content = json.loads(target.record.read_text(encoding="utf-8"))
        before, now = content["asked"], json.loads(json.dumps(asked(target)))
        before["composing"] = Steering.of(**before["composing"]).to_json()  # of an earlier version, perhaps
        if "best" in now:  # the seed that was chosen, of those from the first one on
            now["composing"]["seed"] = before["composing"]["seed"]
        if "prompt_from" in now:  # the words that were written, or what they were edited to
            now["composing"]["prompt"] = before["composing"]["prompt"]
        files = {target.record.with_name(name): digest for name, digest in content["files"].items()}
        return {**before, "threads": 0} == {**now, "threads": 0} and all(
            path.is_file() and sha256_of(path) == digest for path, digest in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ExpotionError):
        return False  # the work itself says what is wrong with the clip


@dataclass(frozen=True)
class Record:
    """A record as read: what was asked for, the digests and versions of what was written, what `auto` stood for.

    `seeds`: of the takes that its piece was chosen from, none where it was not.
    """

    clip: Path
    steering: Steering
    output: Output
    threads: int
    files: dict[str, str]
    versions: dict[str, str]
    auto: Choice
    seeds: tuple[int, ...] = ()


def read_record(path: Path) -> Record:
    """Read a record.

    Raises ExpotionError for a file that is none, and for a clip, control or adaptor that is gone or has changed.
    """
    where = f"again {path}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExpotionError(Problem(where, "a file that can be read", error.strerror, _FIX)) from None
    except ValueError:
        raise ExpotionError(Problem(where, "JSON", "something else", _FIX)) from None
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        asked = content["asked"]
        given = dict(asked["composing"])
        if given["precision"] in (None, "auto"):  # what was left to the machine stays as that machine decided
            kinds = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
            given["precision"] = kinds.get(content["made"]["precision"])
        steering, output = Steering.of(**given), asked["output"]
        auto: Choice = content["made"].get("auto", {})
        record = Record(
            Path(asked["clip"]["file"]),
            steering,
            Output(
                tuple(output["formats"]), output["depth"], output["loudness_lufs"], output["keep_original_sound"]
            ),
            int(asked["threads"]),
            dict(content["files"]),
            dict(content["versions"]),
            # the engine's part stands in `precision`; pieces of before have no such field
            {kind: {use: one for use, one in uses.items() if use != "generation"} for kind, uses in auto.items()},
            tuple(map(int, content["made"].get("best", {}).get("seeds", ()))),
        )
        digests = {record.clip: asked["clip"]["sha256"]}
        for name, digest in asked["controls_sha256"].items():
            digests[steering.controls[name]] = digest
        if steering.theme is not None:
            digests[steering.theme] = asked["theme_sha256"]
        digests[steering.folder / "adaptor.json"] = asked["adaptor_sha256"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        got = str(error) if isinstance(error, ValueError) else f"no {error}"
        raise ExpotionError(Problem(where, f"a record of {FORMAT}", got, _FIX)) from None
    problems = []
    for file, digest in digests.items():
        if not file.is_file():
            fix = "put it back where it was"
            problems.append(Problem(str(file), f"a file that {path} was made from", "none", fix))
        elif file_sha256(file) != digest:
            wanted = f"the file that {path} was made from"
            problems.append(Problem(str(file), wanted, "another content under its name"))
    if problems:
        raise ExpotionError(problems)
    return record


def write_files(
    target: Target,
    music: Music,
    source: Scan,
    output: Output,
    asked: Mapping[str, Any],
    warn: Warn,
    draw: Callable[[Path, Music], None],
) -> list[Path]:
    """Write every format and the record; returns the files. `source` is the clip's scan, as long as the music.

    `draw` writes the video of OVERLAY, with this music as it is written.

    A format that is there already is replaced, each file whole or not at all; the old record goes first and the new
    one comes last, so that a record never speaks of files of another piece.
    """
    target.record.unlink(missing_ok=True)
    samples, sample_rate_hz, duration_s = music.samples, music.sample_rate_hz, source.duration_s
    made: dict[str, Any] = {
        "duration_s": duration_s,
        "sample_rate_hz": sample_rate_hz,
        "loudness_lufs": _rounded(loudness_lufs(samples, sample_rate_hz)),
        **music.notes,
    }
    if output.loudness_lufs is not None:
        normalised = normalise(samples, sample_rate_hz, output.loudness_lufs)
        samples = normalised.samples
        made["normalised"] = {
            "ceiling_dbtp": DEFAULT_CEILING_DBTP,
            **{name: _rounded(getattr(normalised, name)) for name in _NUMBERS},
        }
        made["loudness_lufs"] = made["normalised"]["loudness_lufs"]
        if normalised.note is not None:
            warn(f"loudness: {normalised.note}")
    depth = cast(Depth, output.depth)
    files: list[Path] = []
    for name in output.formats:
        if name in SOUND_FORMATS:
            file = target.file(f".{name}")
            write_sound(file, samples, sample_rate_hz, depth=depth)
            files.append(file)
    videos = [name for name in output.formats if name not in SOUND_FORMATS]
    if videos and source.picture is None:
        warn("no picture: the sound alone is written")
        videos = []
    if videos and output.keep_original_sound and source.sound is None:
        warn("the clip has no sound of its own to keep")
    try:
        for name in videos:
            if name == OVERLAY:
                draw(target.file(".overlay.mp4"), dataclasses.replace(music, samples=samples))
                files.append(target.file(".overlay.mp4"))
                continue
            suffix = f".{name}"
            if name == ANY_VIDEO and source.picture is not None:
                suffix = fitting_suffix(source.picture.codec) or ".mp4"
            mux_video(
                source,
                samples,
                sample_rate_hz,
                target.file(suffix),
                keep_original_sound=output.keep_original_sound,
                must_copy=name != ANY_VIDEO,
                bits=16 if output.depth == "16" else 24,
                warn=warn,
            )
            files.append(target.file(suffix))
    except MediaError as error:  # the music is not lost with the picture
        if not files:
            files = [target.file(".wav")]
            write_sound(files[0], samples, sample_rate_hz, depth=depth)
        stands = Problem(str(files[0]), "the music stands here; a video", "none", _TO_H264)
        raise MediaError([*error.problems, stands]) from error
    content = {
        "format": FORMAT,
        "asked": dict(asked),
        "files": {path.name: sha256_of(path) for path in files},
        "made": made,
        "versions": installed_versions({}),
    }
    write_json(target.record, content)
    return [*files, target.record]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
