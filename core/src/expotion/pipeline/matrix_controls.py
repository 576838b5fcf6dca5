"""Sounds of the rows that need no trained model: ground truth, the codec round trip, silence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expotion import timeline
from expotion.assemble import backbone_folder
from expotion.backbone.load import load_backbone
from expotion.contracts import Clip, Scored
from expotion.data.audio import load_audio
from expotion.data.mux import write_wav
from expotion.evaluation.controls import CODEC_CEILING, GROUND_TRUTH, SILENCE, ground_truth, silence
from expotion.features.store import FeatureStore
from expotion.generation.sound import to_sound
from expotion.pipeline import material
from expotion.plugins import Registry
from expotion.recipe import Recipe


def sample_rate_of(recipe: Recipe, registry: Registry) -> int:
    """Rate of the sounds of the recipe's codec, in Hz."""
    source = backbone_folder(recipe.backbone.source, registry)
    codec = load_backbone(source, parts=frozenset({"codec"})).codec
    assert codec is not None
    return codec.sample_rate_hz


def control_sounds(
    names: Sequence[str],
    recipe: Recipe,
    registry: Registry,
    clips: Sequence[Clip],
    folder: Path,
    sample_rate_hz: int,
) -> dict[str, list[Scored]]:
    """The asked controls by name, each one sound per clip; the codec's are kept in `folder`."""

    def prompt(clip: Clip) -> str | None:
        return material.prompt_of(recipe, clip)

    found: dict[str, list[Scored]] = {}
    for name in names:
        if name == GROUND_TRUTH:
            found[name] = ground_truth(clips, sample_rate_hz, prompt)
        elif name == SILENCE:
            found[name] = silence(clips, sample_rate_hz, prompt)
        else:
            paths = _round_trip(recipe, registry, clips, folder / CODEC_CEILING)
            sounds = (
                (clip, load_audio(paths[clip.id], sample_rate_hz)) for clip in clips if clip.id in paths
            )
            found[name] = [
                Scored(s, sample_rate_hz, clip, prompt(clip)) for clip, s in sounds if s is not None
            ]
    return found


def _round_trip(recipe: Recipe, registry: Registry, clips: Sequence[Clip], folder: Path) -> dict[str, Path]:
    """Each clip's own sound through the codec and back, as wav files; those that are there are kept."""
    paths = {clip.id: folder / f"{clip.id}.wav" for clip in clips}
    left = [clip for clip in clips if not paths[clip.id].exists()]
    if left:
        source = backbone_folder(recipe.backbone.source, registry)
        bare = recipe.model_copy(update={"conditions": []})
        tracks = material.extract_all(
            bare, {}, source, left, FeatureStore(), material.Failures(), progress=lambda done, total: None
        )
        codec = load_backbone(source, parts=frozenset({"codec"})).codec
        assert codec is not None
        import torch  # noqa: PLC0415

        for clip in left:
            if clip.id in tracks.codes:
                n_samples = timeline.n_samples(clip.duration_s, codec.sample_rate_hz)
                samples = to_sound(codec, torch.from_numpy(tracks.codes[clip.id]), n_samples)
                write_wav(paths[clip.id], samples, codec.sample_rate_hz)
    return {clip_id: path for clip_id, path in paths.items() if path.exists()}
