"""`expotion data scenes`: from clips with music to records of video caption, music caption and the scene of both.

What the scene-imagining data of MusiScene (arXiv 2507.05894) are made of: a detailed caption of the picture, one of
the music, and a text model that makes of both the scene that the music suits. Captioners and the text model are
captioner plugins; the text model reads a clip whose caption holds two lines, of the music and of the video. Silent
clips are left out. Answers are kept as they come, so that an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, Options, Scored
from expotion.errors import in_short
from expotion.files import write_json, write_text
from expotion.manifest.rows import Row, write_manifest
from expotion.manifest.source import ManifestClip
from expotion.plugins import Registry, core_version

SILENT_FROM = 0.95
"""Clips that are silent for this share of their time are left out."""
KEEP_EVERY = 20
NOT_LOOKED_FOR = "not looked for"
VOICE_RATE_HZ = 16_000
CLASSES_RATE_HZ = 32_000
SINGING = slice(27, 38)
"""Singing and its kinds among AudioSet's 527 classes (Gemmeke et al. 2017): Singing, Choir, Yodeling, Chant,
Mantra, Male, Female, Child and Synthetic singing, Rapping, Humming."""
CLASSES_METRIC = "inception_score_passt"
"""The metric whose rows are the probabilities of these classes."""

Progress = Callable[[int, int], None]
Spread = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[tuple[int, Any]]]
"""(index, result or exception) of a function of every item, in the order in which they finish."""


@dataclass(frozen=True)
class Writer:
    """A captioner and its options; a value that goes to other processes, where it is built once."""

    name: str
    options: str

    @classmethod
    def of(cls, registry: Registry, name: str, options: Options) -> Writer:
        """The captioner of that name; PluginError where it is not offered."""
        return cls(registry.captioner(name).name, json.dumps(options.model_dump(mode="json"), sort_keys=True))

    def __call__(self, clip: Clip) -> str:
        """What it says of a clip."""
        try:
            return _built(self)(clip)
        finally:
            clip.close()


@lru_cache(maxsize=1)  # one model at a time
def _built(writer: Writer) -> Callable[[Clip], str]:
    from expotion.plugins import discover

    spec = discover().captioner(writer.name)
    return spec.build(spec.options(**json.loads(writer.options)))


@dataclass(frozen=True)
class Voices:
    """Share of a clip in which somebody speaks, and sings; None where it was not looked for."""

    speech: bool = False
    singing: str | None = None
    """The metric whose rows are the probabilities of AudioSet's classes."""

    def __call__(self, clip: Clip) -> dict[str, float | None]:
        """Both, 0 to 1."""
        try:
            return {
                "speech": _speech(clip.audio(VOICE_RATE_HZ)) if self.speech else None,
                "singing": None if self.singing is None else _singing(self.singing, clip),
            }
        finally:
            clip.close()


@lru_cache(maxsize=1)
def _listener() -> tuple[Any, Any]:
    import silero_vad

    return silero_vad.load_silero_vad(onnx=False), silero_vad.get_speech_timestamps


def _speech(samples: NDArray[np.float32] | None) -> float | None:
    """Share of the samples float32 [n] at 16 kHz in which silero-vad hears speech."""
    import torch

    if samples is None or not len(samples):
        return None
    model, heard = _listener()
    parts = heard(torch.from_numpy(samples), model, sampling_rate=VOICE_RATE_HZ)
    return round(float(sum(part["end"] - part["start"] for part in parts)) / len(samples), 3)


def _singing(metric: str, clip: Clip) -> float | None:
    """The largest probability of a class of singing, the mean over the windows of the sound."""
    rate_hz, classes = _classes(metric)
    samples = clip.audio(rate_hz)
    if samples is None:
        return None
    rows = classes(Scored(samples, rate_hz, clip))
    found = np.asarray(rows) if isinstance(rows, np.ndarray) and len(rows) else None
    return None if found is None else round(float(found[:, SINGING].mean(axis=0).max()), 3)


@lru_cache(maxsize=1)
def _classes(metric: str) -> tuple[int, Callable[[Scored], Any]]:
    from expotion.plugins import discover

    spec = discover().metric(metric)
    return spec.sample_rate_hz or CLASSES_RATE_HZ, spec.build()


def voices_here(registry: Registry) -> tuple[Voices, list[str]]:
    """What can be looked for here, and in words what cannot and why."""
    from importlib.util import find_spec

    notes = []
    speech = find_spec("silero_vad") is not None
    if not speech:
        notes.append(f"speech is {NOT_LOOKED_FOR}: install silero-vad (uv pip install silero-vad)")
    offer = registry.metrics.get(CLASSES_METRIC)
    lacks = [] if offer is None else offer.spec.missing()
    if offer is None or lacks:
        why = "install expotion-metrics-passt" if offer is None else "; ".join(filter(None, (p.fix for p in lacks)))
        notes.append(f"singing is {NOT_LOOKED_FOR}: {why}")
    return Voices(speech, None if offer is None or lacks else CLASSES_METRIC), notes


@dataclass(frozen=True)
class Scenes:
    """The records that were written, and what was left out or refused, in words."""

    records: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


class _Said(Clip):
    """A clip that has nothing but the words that were said of it."""

    def __init__(self, name: str, words: str, duration_s: float) -> None:
        self.id, self.caption, self.duration_s = name, words, duration_s
        self._words, self.tracks = words, {}

    @property
    def content_hash(self) -> str:
        """That of the words."""
        return hashlib.sha256(self._words.encode()).hexdigest()

    @property
    def video(self) -> None:
        """None."""

    def audio(self, sample_rate_hz: int) -> None:
        """None."""


def make_scenes(
    rows: Sequence[Row],
    folder: Path,
    out: Path,
    *,
    writers: Mapping[str, Writer],
    voices: Voices,
    spread: Spread,
    progress: Callable[[str], Progress] = lambda stage: lambda done, total: None,
) -> Scenes:
    """Write `out`/scenes.jsonl, and manifest.jsonl whose captions are the scenes, for `data split` and training.

    `writers` are those of `video`, `music` and `scene`; the rows are those of a manifest in `folder`. A clip of
    which any of them says nothing is left out and named.
    """
    kept = [row for row in rows if (row.silent_fraction or 0.0) < SILENT_FROM]
    notes = [f"{row.id} is left out: silence" for row in rows if row not in kept]
    clips = [ManifestClip(row, folder) for row in kept]
    memory = _Memory(out / "said.json")

    def said(stage: str, of: Sequence[Clip], ask: Callable[[Any], Any], about: str) -> dict[str, Any]:
        found, refused = memory.answers(of, ask, about, spread, progress(stage))
        notes.extend(f"{name} has no {stage}: {why}" for name, why in refused.items())
        return found

    sung = said("voices", clips, voices, f"voices {voices.speech} {voices.singing is not None}")
    video = said("video caption", clips, writers["video"], repr(writers["video"]))
    music = said("music caption", clips, writers["music"], repr(writers["music"]))
    both = [
        _Said(row.id, f"{music[row.id]}\n{video[row.id]}", row.duration_s)
        for row in kept
        if row.id in music and row.id in video
    ]
    scenes = said("scene", both, writers["scene"], repr(writers["scene"]))
    written = [row for row in kept if row.id in scenes]
    records = [
        {
            "id": row.id,
            "path": str(row.file(folder).resolve()),
            "start_s": row.start_s,
            "duration_s": row.duration_s,
            "video_caption": video[row.id],
            "music_caption": music[row.id],
            "scene": scenes[row.id],
            **{k: NOT_LOOKED_FOR if v is None else v for k, v in sung.get(row.id, dict.fromkeys(VOICES)).items()},
        }
        for row in written
    ]
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    write_text(out / "scenes.jsonl", "".join(lines))
    if written:
        captioned = [
            row.model_copy(update={"caption": scenes[row.id], "path": str(row.file(folder).resolve())})
            for row in written
        ]
        header = {"source": str(folder), "writers": {k: [w.name, w.options] for k, w in writers.items()}}
        write_manifest(out / "manifest.jsonl", captioned, header | {"versions": {"expotion": core_version()}})
    return Scenes(records, notes)


VOICES = ("speech", "singing")


class _Memory:
    """What was said before, by who said it and of what; written as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Any] = {}
        if path.is_file():
            self.known = json.loads(path.read_text(encoding="utf-8"))

    def answers(
        self, clips: Sequence[Clip], ask: Callable[[Any], Any], about: str, spread: Spread, progress: Progress
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Clip id -> answer, and clip id -> why there is none."""
        keys = [hashlib.sha256(f"{about} {clip.content_hash}".encode()).hexdigest() for clip in clips]
        left = [i for i, key in enumerate(keys) if key not in self.known]
        refused: dict[str, str] = {}
        new = 0
        try:
            for done, (position, result) in enumerate(spread(ask, [clips[i] for i in left]), start=1):
                i = left[position]
                if isinstance(result, Exception):
                    refused[clips[i].id] = in_short(result)
                else:
                    self.known[keys[i]] = result
                    new += 1
                    if new % KEEP_EVERY == 0:
                        write_json(self.path, self.known)
                progress(done, len(left))
        finally:
            if new % KEEP_EVERY:
                write_json(self.path, self.known)
        found = {clip.id: self.known[key] for clip, key in zip(clips, keys, strict=True) if key in self.known}
        return found, refused
