"""Every `expotion generate` of docs/steering.md runs: a lamp for the clip, its controls for the person's."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from documented import shown

from expotion.cli.main import run
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video

CLIP_S, RATE_HZ = 4.0, 32_000
LAMPS = {"face": "glow", "motion": "sway"}
COMMANDS = sorted(
    {each.text for each in shown() if each.page == "docs/steering.md" and each.text.startswith("expotion generate")}
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the page names."""
    folder = tmp_path_factory.mktemp("page")
    noise = np.random.default_rng(0).normal(0.0, 0.1, round(CLIP_S * RATE_HZ)).astype(np.float32)
    frames = [np.full((32, 48, 3), 200 - 10 * (i % 5), np.uint8) for i in range(round(CLIP_S * 5))]
    for name in ("CLIP.mp4", "dancer.mp4"):
        write_video(folder / name, frames, np.arange(len(frames)) / 5, noise, RATE_HZ)
    write_wav(folder / "theme.wav", noise, RATE_HZ)
    return folder


def test_there_is_an_example_of_each() -> None:
    options = {word for text in COMMANDS for word in text.split() if word.startswith("--")}
    assert {"--strength", "--guidance", "--mute", "--control", "--prompt-at", "--negative"} <= options
    assert {"--samples", "--best", "--keep"} <= options
    assert {"--part", "--start", "--duration", "--outside", "--continue", "--theme-s"} <= options


@pytest.mark.slow
@pytest.mark.usefixtures("in_the_world_of_lamps")
@pytest.mark.parametrize("text", COMMANDS)
def test_an_example_runs(
    text: str, folder: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = shlex.split(text)[1:]
    for person, lamp in LAMPS.items():
        words = [word.replace(f"{person}=", f"{lamp}=") if word != person else lamp for word in words]
    words = ["loudness" if word == "beat_alignment" else word for word in words]
    words = ["0.4" if word == "1.5" else word for word in words]  # a lamp's window is 1 s
    assert run([*words, "--adaptor", str(finished), "--out", str(tmp_path), "-f", "wav"]) == 0
    record = json.loads((tmp_path / "CLIP.json").read_text())
    assert record["made"]["duration_s"] == pytest.approx(CLIP_S, abs=0.05)
