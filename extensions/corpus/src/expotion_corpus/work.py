"""What `expotion data` needs of plugins and other layers: options, codecs, captioners, tempi."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from expotion.contracts import Clip, Encoder, Options, TimedFeatures
from expotion.errors import FAULTS, PluginError, Problem, in_short
from expotion.features.encoders import CODES
from expotion.features.extract import extract_many
from expotion.features.store import FeatureStore
from expotion.files import write_json
from expotion.manifest.rows import Row
from expotion.manifest.source import ManifestClip
from expotion.musicgen.codes import CodesEncoder
from expotion.musicgen.load import backbone_folder, load_backbone
from expotion.plugins import Registry
from expotion.progress import stage_progress
from expotion.workers import n_workers

if TYPE_CHECKING:
    from rich.console import Console

Given = TypeVar("Given", bound=Options)
Captioner = Callable[[Clip], str]
KEEP_EVERY = 20
"""Captions written between two saves of the file."""


def options_of(kind: type[Given], given: Mapping[str, str], where: Callable[[str], str]) -> Given:
    """A plugin's options from texts. Raises PluginError with every wrong one; `where` names a field."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        known = f"one of {', '.join(kind.model_fields) or 'no options'}"
        raise PluginError(
            [
                Problem(
                    where(".".join(str(part) for part in fault["loc"])),
                    known if fault["type"] == "extra_forbidden" else str(fault["msg"]).lower(),
                    None if fault["type"] == "missing" else repr(fault["input"]),
                )
                for fault in error.errors()
            ]
        ) from error


def with_captions(
    rows: Sequence[Row],
    clips: Sequence[Clip],
    build: Callable[[], Captioner],
    kept: Path,
    described: str,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Row], list[str]]:
    """Rows with the captioner's words, and who was refused, why.

    `kept` remembers them by `described` (the captioner and its options) and the clip's content. The captioner is
    built only where a caption is missing.
    """
    known: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):  # what is damaged is made again
        known = dict(json.loads(kept.read_text(encoding="utf-8")))
    out, refused = [], []
    captioner: Captioner | None = None
    written = 0
    try:
        for done, (row, clip) in enumerate(zip(rows, clips, strict=True), start=1):
            key = hashlib.sha256(f"{described} {clip.content_hash}".encode()).hexdigest()
            if key not in known:
                captioner = captioner or build()
                try:
                    known[key] = captioner(clip)
                except FAULTS as error:  # a plugin may raise anything
                    refused.append(f"{row.id} keeps its own caption: {in_short(error)}")
                    out.append(row)
                    continue
                finally:
                    clip.close()
                written += 1
                if written % KEEP_EVERY == 0:
                    write_json(kept, known)
            out.append(row.model_copy(update={"caption": known[key]}))
            progress(done, len(rows))
    finally:
        if written % KEEP_EVERY:
            write_json(kept, known)
    return out, refused


@dataclass(frozen=True)
class CodecFactory:
    """Builds the codec of a backbone in another process."""

    source: str

    def __call__(self) -> dict[str, Encoder]:
        """The codec as an encoder."""
        codec = load_backbone(self.source, parts=frozenset({"codec"})).codec
        assert codec is not None
        return {CODES: CodesEncoder(codec)}


class Finish:
    """Completes rows before they are written: codes in the feature store, captions by a captioner."""

    def __init__(
        self,
        out: Path,
        registry: Registry,
        captioner: str | None,
        given: Mapping[str, str],
        codes: str | None,
        console: Console,
    ) -> None:
        self.out, self.console = out, console
        self.codec = None if codes is None else CodecFactory(backbone_folder(codes, registry))
        self.warnings: list[str] = []
        self._captioner: tuple[Callable[[], Captioner], str] | None = None
        if captioner is not None:
            spec = registry.captioner(captioner)
            options = options_of(spec.options, given, lambda name: f"captioner {spec.name!r}: {name}")
            for weights in spec.weights(options):
                console.print(f"{weights.name}: licence {weights.licence}", markup=False)
            settings = json.dumps(options.model_dump(mode="json"), sort_keys=True)
            self._captioner = partial(spec.build, options), f"{spec.name} {settings}"

    def __call__(self, rows: list[Row]) -> list[Row]:
        """The rows with captions and numbers of codec frames."""
        clips = [ManifestClip(row, self.out) for row in rows]
        if self._captioner is not None:
            (build, described), kept = self._captioner, self.out / "captions.json"
            with stage_progress(self.console, "captions") as progress:
                rows, refused = with_captions(rows, clips, build, kept, described, progress=progress)
            self.warnings += refused
        return rows if self.codec is None else self._with_codes(rows, clips, self.codec)

    def _with_codes(self, rows: Sequence[Row], clips: Sequence[Clip], codec: CodecFactory) -> list[Row]:
        with stage_progress(self.console, "codes") as progress:
            found = extract_many(
                None,
                clips,
                FeatureStore(),
                workers=n_workers(len(clips), items_per_worker=8),
                factory=codec,
                progress=lambda done, total, _clip: progress(done, total),
            )
        self.warnings += [f"{failure.clip_id}: no codes: {failure.error}" for failure in found.failures]
        out = []
        for row in rows:
            track = found.features[row.id].get(CODES)
            n_codes = len(track.times_s) if isinstance(track, TimedFeatures) else None
            out.append(row.model_copy(update={"n_codes": n_codes}))
        return out


def tempo_of(folder: Path, row: Row) -> float | None:
    """A row's tempo, estimated from its sound."""
    from expotion.beats import TRACKER_RATE_HZ
    from expotion.evaluate.trackers import beats_of

    sound = ManifestClip(row, folder).audio(TRACKER_RATE_HZ)
    return None if sound is None else beats_of(sound, TRACKER_RATE_HZ).tempo_bpm
