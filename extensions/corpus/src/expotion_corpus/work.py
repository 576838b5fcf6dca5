"""What `expotion data` needs of other layers: processes, codecs, captioners, tempi."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from expotion.contracts import Clip, Encoder, TimedFeatures
from expotion.errors import PluginError, Problem
from expotion.features.encoders import CODES
from expotion.manifest.rows import Row
from expotion.manifest.source import ManifestClip
from expotion.musicgen.codes import CodesEncoder
from expotion.musicgen.load import load_backbone
from expotion_corpus.captions import with_captions
from expotion_corpus.examine import Settings, examine
from expotion_corpus.items import Item

if TYPE_CHECKING:
    from rich.console import Console


def examine_in_processes(settings: Settings, items: Sequence[Item]) -> Iterator[tuple[int, Any]]:
    """Examine items over all cores; a few are examined here, where starting processes would cost more."""
    from expotion.workers import n_workers, spread

    yield from spread(partial(examine, settings), items, workers=n_workers(len(items), items_per_worker=8))


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
        captioner: str | None,
        options: Mapping[str, str],
        codes: str | None,
        console: Console,
    ) -> None:
        self.out, self.captioner, self.options, self.codes, self.console = (
            out,
            captioner,
            options,
            codes,
            console,
        )
        self.warnings: list[str] = []
        self._caption = self._open() if captioner is not None else None

    def _open(self) -> tuple[Callable[[], Callable[[Clip], str]], str]:
        from expotion.plugins import discover

        assert self.captioner is not None
        spec = discover().captioner(self.captioner)
        try:
            options = spec.options.model_validate(dict(self.options))
        except ValidationError as error:
            known = ", ".join(spec.options.model_fields) or "no options"
            raise PluginError(
                [
                    Problem(
                        f"captioner {spec.name!r}: {'.'.join(str(part) for part in fault['loc'])}",
                        f"a value that it takes ({known})",
                        f"{fault['input']!r}: {fault['msg'].lower()}",
                    )
                    for fault in error.errors()
                ]
            ) from error
        for weights in spec.weights(options):
            self.console.print(f"{weights.name}: licence {weights.licence}", markup=False)
        settings = json.dumps(options.model_dump(mode="json"), sort_keys=True)
        return partial(spec.build, options), f"{spec.name} {settings}"

    def __call__(self, rows: list[Row]) -> list[Row]:
        """The rows with captions and numbers of codec frames."""
        clips = [ManifestClip(row, self.out) for row in rows]
        if self._caption is not None:
            build, described = self._caption
            from expotion.progress import stage_progress

            with stage_progress(self.console, "captions") as progress:
                rows, refused = with_captions(
                    rows, clips, build, self.out / "captions.json", described, progress=progress
                )
            self.warnings += refused
        return self._with_codes(rows, clips) if self.codes is not None else rows

    def _with_codes(self, rows: list[Row], clips: list[ManifestClip]) -> list[Row]:
        from expotion.features.extract import extract_many
        from expotion.features.store import FeatureStore
        from expotion.musicgen.load import backbone_folder
        from expotion.plugins import discover
        from expotion.progress import stage_progress
        from expotion.workers import n_workers

        assert self.codes is not None
        with stage_progress(self.console, "codes") as progress:
            found = extract_many(
                None,
                clips,
                FeatureStore(),
                workers=n_workers(len(clips), items_per_worker=8),
                factory=CodecFactory(backbone_folder(self.codes, discover())),
                progress=lambda done, total, _clip: progress(done, total),
            )
        self.warnings += [f"{failure.clip_id}: no codes: {failure.error}" for failure in found.failures]
        out = []
        for row in rows:
            track = found.features[row.id].get(CODES)
            n_codes = len(track.times_s) if isinstance(track, TimedFeatures) else None
            out.append(row.model_copy(update={"n_codes": n_codes}))
        return out


def tempo_of(folder: Path) -> Callable[[Row], float | None]:
    """A function that estimates a row's tempo from its sound."""
    from expotion.evaluate.beats import TRACKER_RATE_HZ, track_beats

    def tempo(row: Row) -> float | None:
        sound = ManifestClip(row, folder).audio(TRACKER_RATE_HZ)
        return None if sound is None else track_beats(sound, TRACKER_RATE_HZ).tempo_bpm

    return tempo
