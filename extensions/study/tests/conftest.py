"""A study of three systems on four clips of half a second, built once; and the same folder to be changed."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from expotion.plugins import discover
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video
from expotion_study.build import Asked, build_study
from expotion_study.model import Study
from expotion_study.server import StudyServer
from expotion_study.sources import open_sources

RATE_HZ, SECONDS = 16_000, 0.5
CLIPS = ("walk", "run", "jump", "sway")
SYSTEMS = {"alpha_net": 0.02, "beta_net": 0.3, "gamma_net": 0.08}
"""By name, how loud the system is before levels are matched."""


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sounds per system, `videos` and `prompts.csv`."""
    folder = tmp_path_factory.mktemp("sources")
    times_s = np.arange(0.0, SECONDS, 0.1)
    rng = np.random.default_rng(1)
    for number, clip in enumerate(CLIPS):
        frames = rng.integers(0, 255, (len(times_s), 32, 48, 3), dtype=np.uint8)
        write_video(folder / "videos" / f"{clip}.mp4", frames, times_s, duration_s=SECONDS)
        for name, level in SYSTEMS.items():
            phase = 2 * np.pi * (200 + 90 * number) * np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
            write_wav(folder / name / f"{clip}.wav", (level * np.sin(phase)).astype(np.float32), RATE_HZ)
    pulses = np.zeros(round(SECONDS * RATE_HZ), np.float32)
    pulses[:: RATE_HZ // 10] = 0.5  # short peaks over next to nothing
    write_wav(folder / "pulses" / "walk.wav", pulses, RATE_HZ)
    lines = ["clip,prompt", *(f'{clip},"a {clip}, calmly"' for clip in CLIPS)]
    (folder / "prompts.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def build(sources: Path) -> Callable[..., Study]:
    """Build a study of the three folders with other options."""

    def make(out: Path, notes: list[str] | None = None, pulses: bool = False, **options: object) -> Study:
        extra = [str(sources / "pulses")] if pulses else []
        found = open_sources(
            [*(str(sources / name) for name in SYSTEMS), *extra],
            discover(),
            videos=sources / "videos",
            prompts={clip: f"a {clip}, calmly" for clip in CLIPS},
        )
        return build_study(
            found,
            out,
            Asked(**options),  # type: ignore[arg-type]
            note=(notes if notes is not None else []).append,
            progress=lambda _what, _done, _total: None,
        )

    return make


@pytest.fixture(scope="session")
def built(build: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    folder = tmp_path_factory.mktemp("studies") / "built"
    build(folder, ratings=6, comparisons=3, attention_checks=1, contact="ask@example.org")
    return folder


@pytest.fixture
def study_folder(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def server(study_folder: Path) -> Iterator[StudyServer]:
    with StudyServer(study_folder, "127.0.0.1", 0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(5.0)


@pytest.fixture(scope="session")
def visiting() -> ModuleType:
    """Participants over HTTP."""
    path = Path(__file__).with_name("visitor.py")
    spec = importlib.util.spec_from_file_location("study_visitor", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["study_visitor"] = module
    spec.loader.exec_module(module)
    return module
