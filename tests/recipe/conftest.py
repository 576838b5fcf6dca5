"""A registry of made-up plugins and a recipe that fits it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import Field

from expotion.contracts import BackboneSpec, DataSourceSpec, EncoderSpec, MetricSpec, Options, Weights, hookimpl
from expotion.plugins import Registry, discover

RECIPE = """\
name: dance
seed: 7
plugins: [expotion-face-marlin, expotion-text-t5, expotion-conductor]
data: {source: conductor, train_clips: 16, test_clips: 4, clip_s: 10.0}
backbone: {source: tiny}
text: {encoder: text_t5, prompt: caption}
conditions:
  - {name: face, encoder: face_marlin, rank: 12}
  - {name: motion, encoder: flow, rank: 4}
adaptor: {layers: all}
train: {steps: 160, batch_size: 8, learning_rate: {project: 8.0e-3, gates: 5.0e-2, other: 1e-4}}
generate: {cfg_scale: 3.0}
evaluate: {metrics: [beat_f1]}
profiles:
  best:
    train: {steps: 1000}
    data: {train_clips: 64}
  longer:
    extends: best
    train: {steps: 2000}
  own:
    data: {source: folder, root: clips}
"""


class FaceOptions(Options):
    geometry: Literal["tiny", "base"] = "tiny"
    window_rate_hz: float = Field(5.0, gt=0)


class ConductorOptions(Options):
    train_clips: int = Field(256, ge=1)
    test_clips: int = Field(24, ge=1)
    clip_s: float = 10.0


class FolderOptions(Options):
    root: str


def _never(*arguments: Any) -> Any:
    raise AssertionError("checking a recipe builds nothing")


def face_weights(options: FaceOptions) -> list[Weights]:
    return [Weights(f"marlin_{options.geometry}", "shipped", "Apache-2.0")]


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny_musicgen"
    folder.mkdir()
    decoder = {
        "hidden_size": 192,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "vocab_size": 256,
        "num_codebooks": 4,
    }
    codec = {"sampling_rate": 32000, "upsampling_ratios": [8, 5, 4, 4]}
    (folder / "config.json").write_text(json.dumps({"decoder": decoder, "audio_encoder": codec}))
    return folder


@pytest.fixture
def registry(tiny_folder: Path) -> Registry:
    video = frozenset({"video"})
    hooks: dict[str, dict[str, list[Any]]] = {
        "expotion-face-marlin": {
            "expotion_encoders": [
                EncoderSpec(
                    "face_marlin",
                    "a face",
                    video,  # type: ignore[arg-type]
                    _never,
                    options=FaceOptions,
                    width=lambda options: {"tiny": 96, "base": 768}[options.geometry],
                    rate_hz=lambda options: options.window_rate_hz,
                    weights=face_weights,
                )
            ]
        },
        "expotion-text-t5": {
            "expotion_encoders": [
                EncoderSpec(
                    "text_t5", "text", frozenset({"text"}), _never, width=lambda o: 64, feeds="cross_attention"
                )
            ]
        },
        "expotion-conductor": {
            "expotion_encoders": [
                EncoderSpec("flow", "flow", video, _never, width=lambda o: 10, rate_hz=lambda o: 25.0)  # type: ignore[arg-type]
            ],
            "expotion_data_sources": [
                DataSourceSpec("conductor", "a world", _never, ConductorOptions),
                DataSourceSpec("folder", "files", _never, FolderOptions),
            ],
            "expotion_backbones": [BackboneSpec("tiny", "a tiny MusicGen", lambda: tiny_folder)],
            "expotion_metrics": [MetricSpec("beat_f1", "beats", _never, higher_is_better=True)],
        },
    }

    class Point:
        def __init__(self, distribution: str, offers: dict[str, list[Any]]) -> None:
            self.name = distribution
            self.dist = SimpleNamespace(name=distribution, version="0.1.0")
            self.module = ModuleType(distribution)
            for hook, specs in offers.items():
                setattr(self.module, hook, hookimpl(lambda specs=specs: specs))

        def load(self) -> ModuleType:
            return self.module

    return discover([Point(name, offers) for name, offers in hooks.items()], builtins=())


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a recipe beside the working directory, so that messages show a bare file name."""
    monkeypatch.chdir(tmp_path)

    def write_recipe(text: str) -> Path:
        path = Path("dance.yaml")
        path.write_text(text, encoding="utf-8")
        return path

    return write_recipe


@pytest.fixture
def recipe_text() -> str:
    return RECIPE
