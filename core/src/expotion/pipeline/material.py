"""What training and generation need of every clip: codes, control tracks, text. Made once, kept in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from expotion import timeline
from expotion.assemble import EncoderFactory, open_codec
from expotion.contracts import Clip, Encoder, SmoothedTrack, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, Problem
from expotion.features.extract import extract_many
from expotion.features.smooth import coverage, smooth_track
from expotion.features.store import FeatureStore
from expotion.pipeline.pool import Pool, n_workers
from expotion.recipe import Recipe
from expotion.training.examples import Examples

log = logging.getLogger("expotion")
Progress = Callable[[int, int], None]


@dataclass
class Failures:
    """Clips that could not be used, with the reason; the others go on."""

    by_clip: dict[str, str] = field(default_factory=dict)

    def add(self, clip_id: str, reason: str) -> None:
        """Note a failed clip, once."""
        if clip_id not in self.by_clip:
            log.warning("clip %s failed: %s", clip_id, reason)
            self.by_clip[clip_id] = reason


# ---------------------------------------------------------------------------------------------- controls


def control_tracks(
    recipe: Recipe,
    encoders: dict[str, Encoder],
    clips: Sequence[Clip],
    store: FeatureStore,
    failures: Failures,
    *,
    workers: int,
    progress: Progress,
) -> dict[str, dict[str, TimedFeatures]]:
    """clip id -> condition -> native track. Clips whose extraction fails are listed in `failures`."""
    if not encoders:
        return {clip.id: {} for clip in clips}
    found = extract_many(
        encoders,
        clips,
        store,
        workers=workers if workers > 1 else 0,
        factory=EncoderFactory(recipe.to_dict()),
        progress=lambda done, total, _clip: progress(done, total),
    )
    for failure in found.failures:
        failures.add(failure.clip_id, f"{failure.encoder}: {failure.error}")
    for warning in [*found.warnings, *store.reports]:
        log.warning("%s", warning)
    tracks: dict[str, dict[str, TimedFeatures]] = {}
    for clip_id, by_name in found.features.items():
        timed = {name: track for name, track in by_name.items() if isinstance(track, TimedFeatures)}
        if len(timed) == len(encoders):
            tracks[clip_id] = timed
    return tracks


def smooth_all(
    encoders: dict[str, Encoder], tracks: dict[str, TimedFeatures], n_frames: int, rate_hz: float
) -> dict[str, SmoothedTrack]:
    """Every condition's track at the model's step rate, [n_frames + 1, D]."""
    return {name: smooth_track(encoders[name], track, n_frames, rate_hz) for name, track in tracks.items()}


def coverage_warnings(
    encoders: dict[str, Encoder], clip_id: str, tracks: dict[str, TimedFeatures], n_frames: int, rate_hz: float
) -> list[str]:
    """A line for each control that has nothing to say in more than a tenth of the clip."""
    lines = []
    for name, track in tracks.items():
        smoothed = smooth_track(encoders[name], track, n_frames, rate_hz)
        if smoothed.valid.mean() < 0.9:
            lines.append(f"{clip_id}: {name}: {coverage(track, smoothed, rate_hz)}")
    return lines


# ------------------------------------------------------------------------------------------------- codes


@dataclass(frozen=True)
class _OpenCodec:
    source: str

    def __call__(self) -> object:
        return open_codec(self.source)


def _encode(codec: object, clip: Clip) -> NDArray[np.int16]:
    samples = clip.audio(codec.sample_rate_hz)  # type: ignore[attr-defined]
    clip.close()
    if samples is None:
        raise ExpotionError(Problem(where=clip.id, wanted="a clip with sound to train on", got="no audio stream"))
    with torch.inference_mode():
        codes = codec.encode(torch.from_numpy(samples))  # type: ignore[attr-defined]
    return codes.numpy().astype(np.int16)


def audio_codes(
    source: str,
    codec_hash: str,
    clips: Sequence[Clip],
    store: FeatureStore,
    failures: Failures,
    *,
    workers: int,
    progress: Progress,
) -> dict[str, NDArray[np.int16]]:
    """clip id -> EnCodec codes [K, T] of the clip's own sound."""
    codes: dict[str, NDArray[np.int16]] = {}
    missing = []
    for clip in clips:
        stored = store.load_arrays(_codes_key(clip, codec_hash))
        if stored is None:
            missing.append(clip)
        else:
            codes[clip.id] = stored["codes"]
    done = len(codes)
    progress(done, len(clips))
    pool: Pool[object, Clip, NDArray[np.int16]] = Pool(
        _OpenCodec(source), _encode, n_workers(len(missing) // 4) if workers > 1 else 1
    )
    for index, result in pool.run(missing) if missing else ():
        clip = missing[index]
        done += 1
        progress(done, len(clips))
        if isinstance(result, Exception):
            failures.add(clip.id, str(result))
            continue
        codes[clip.id] = result
        store.save_arrays(_codes_key(clip, codec_hash), {"codes": result})
    return codes


def _codes_key(clip: Clip, codec_hash: str) -> dict[str, str]:
    return {"clip": clip.content_hash, "what": "codes", "codec": codec_hash}


# -------------------------------------------------------------------------------------------------- text


class PromptClip(Clip):
    """A clip that is nothing but words: what a token encoder needs to encode a prompt."""

    def __init__(self, prompt: str | None) -> None:
        self.id = "prompt"
        self.duration_s = 0.0
        self.caption = prompt
        self.tracks: dict[str, Path] = {}

    @property
    def content_hash(self) -> str:
        """Hash of the words."""
        import hashlib  # noqa: PLC0415

        return hashlib.sha256((self.caption or "").encode()).hexdigest()

    @property
    def video(self) -> None:
        """None."""
        return None

    def audio(self, sample_rate_hz: int) -> None:
        """None."""
        return None


class Prompts:
    """Text features by prompt, each encoded once."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._known: dict[str | None, TokenFeatures] = {}

    def __getitem__(self, prompt: str | None) -> TokenFeatures:
        if prompt not in self._known:
            features = self.encoder.extract(PromptClip(prompt))
            if not isinstance(features, TokenFeatures):
                raise ExpotionError(
                    Problem(
                        where=f"text.encoder {self.encoder.spec.name}",
                        wanted="an encoder that gives token features",
                        got="a timed track",
                        fix="use it as a condition instead",
                    )
                )
            self._known[prompt] = features
        return self._known[prompt]


def prompt_of(recipe: Recipe, clip: Clip) -> str | None:
    """The prompt of a clip: the recipe's fixed string or the clip's caption."""
    fixed = recipe.text.fixed_prompt
    return clip.caption if fixed is None else fixed


# ---------------------------------------------------------------------------------------------- examples


def stack_examples(
    recipe: Recipe,
    encoders: dict[str, Encoder],
    clips: Sequence[Clip],
    codes: dict[str, NDArray[np.int16]],
    tracks: dict[str, dict[str, TimedFeatures]],
    prompts: Prompts,
    rate_hz: float,
) -> Examples:
    """Training examples of the clips that have both codes and tracks. Shorter clips are masked at their end."""
    usable = [clip for clip in clips if clip.id in codes and clip.id in tracks]
    if not usable:
        raise ExpotionError(
            Problem(where="train", wanted="at least one usable training clip", got="none", fix="see the failures above")
        )
    lengths = [codes[clip.id].shape[1] for clip in usable]
    longest = max(lengths)
    n_codebooks = codes[usable[0].id].shape[0]
    stacked = torch.zeros(len(usable), n_codebooks, longest, dtype=torch.int64)
    controls: dict[str, list[NDArray[np.float32]]] = {name: [] for name in encoders}
    valid: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in encoders}
    texts = [prompts[prompt_of(recipe, clip)] for clip in usable]
    n_tokens = max(len(text.mask) for text in texts)
    width = texts[0].values.shape[1]
    hidden = torch.zeros(len(usable), n_tokens, width)
    mask = torch.zeros(len(usable), n_tokens, dtype=torch.bool)
    for i, (clip, text) in enumerate(zip(usable, texts, strict=True)):
        stacked[i, :, : lengths[i]] = torch.from_numpy(codes[clip.id].astype(np.int64))
        hidden[i, : len(text.mask)] = torch.from_numpy(text.values)
        mask[i, : len(text.mask)] = torch.from_numpy(text.mask)
        for name, track in smooth_all(encoders, tracks[clip.id], longest, rate_hz).items():
            controls[name].append(track.values)
            valid[name].append(track.valid)
    return Examples(
        codes=stacked,
        n_frames=torch.tensor(lengths),
        text=hidden,
        text_mask=mask,
        controls={name: torch.from_numpy(np.stack(rows)) for name, rows in controls.items()},
        valid={name: torch.from_numpy(np.stack(rows)) for name, rows in valid.items()},
    )


def n_frames_of(clip: Clip, rate_hz: float) -> int:
    """Codec frames of a clip."""
    return timeline.n_steps(clip.duration_s, rate_hz)
