"""From what is asked in the room Train to a recipe: the model, the controls with their options, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expotion_studio.hooks import CURVE_CALLBACK

if TYPE_CHECKING:
    from expotion.recipe import Recipe

BATCH = 8
SAMPLES_WHILE_TRAINING = 4
STRETCH_FROM_S, STRETCH_FRAMES = 7.5, 250
"""Of longer clips a stretch of 5 s is trained on, at another place each step, as the main job does."""
VALIDATIONS = 8


@dataclass(frozen=True)
class Profile:
    """A model that can be trained for. `options` of encoders by name; `preset` of adaptor, training and music."""

    title: str
    backbone: str = ""
    """Empty: that of the adaptor that ships."""
    preset: str = "ours"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_PAPER = {
    "face_marlin": {"geometry": "base", "reference_windows": True},
    "motion_synchformer": {"geometry": "base", "segment_step_frames": 5},
}
PROFILES = {
    "tiny": Profile("the tiny MusicGen that ships"),
    "small": Profile("MusicGen small", "hf:facebook/musicgen-small", "paper", _PAPER),
    "medium": Profile("MusicGen medium", "hf:facebook/musicgen-medium", "paper", _PAPER),
    "large": Profile("MusicGen large, the paper's", "hf:facebook/musicgen-large", "paper", _PAPER),
}
"""The settings of the paper for real MusicGen, as in the profile `paper` of `recipes/face_motion.yaml`."""


def shipped_recipe() -> Recipe:
    """The recipe of the adaptor that ships."""
    from expotion.music.steering import Steering, described

    return described(Steering.of().folder)[0]


def recipe_of(given: Mapping[str, Any], manifest: Path, description: str, *, tested: bool) -> dict[str, Any]:
    """The recipe of a run as plain values.

    `given`: name, model, controls (encoder by name), steps, clip_s, recordings, seed. `manifest` is the run's own;
    where it has nothing to test on (`tested`), sounds are made and nothing is measured.
    """
    profile, shipped = PROFILES[given["model"]], shipped_recipe()
    steps = given["steps"]
    train: dict[str, Any] = {
        "preset": profile.preset,
        "steps": steps,
        "sample_every_steps": max(1, -(-steps // SAMPLES_WHILE_TRAINING)),
        "checkpoint_every_steps": max(1, min(25, steps // 4)),
        "callbacks": [CURVE_CALLBACK],
        "workers": 0,
    }
    generate: dict[str, Any] = {"preset": profile.preset}
    adaptor: dict[str, Any] = {"preset": profile.preset}
    if profile.preset == "ours":
        of_shipped = shipped.train.model_dump()
        train |= {key: of_shipped[key] for key in ("learning_rate", "context_swap")}
        train |= {
            "batch_size": min(BATCH, max(1, len(given["recordings"]))),
            "warmup_steps": min(10, steps // 5),
            "validate_every_steps": max(1, min(25, steps // VALIDATIONS)),
            "stretch_frames": STRETCH_FRAMES if given["clip_s"] >= STRETCH_FROM_S else None,
        }
        generate |= {key: getattr(shipped.generate, key) for key in ("cfg_scale", "control_scale", "top_k")}
        adaptor["layers"] = "all"
    evaluate: dict[str, Any] = {"conditions": ["ground_truth", "text_only", "shuffled", "all"]}
    return {
        "name": given["name"],
        "description": description,
        "seed": given["seed"],
        "data": {"source": "manifest", "path": str(manifest)},
        "backbone": {"source": profile.backbone or shipped.backbone.source},
        "text": {"encoder": shipped.text.encoder, "prompt": "caption"},
        "conditions": [
            {"name": name, "encoder": encoder, "rank": 12, "options": dict(profile.options.get(encoder, {}))}
            for name, encoder in given["controls"].items()
        ],
        "adaptor": adaptor,
        "train": train,
        "generate": generate,
        "evaluate": evaluate if tested else {"conditions": ["all"], "metrics": []},
    }
