"""The code in docs/python_api.md runs as it stands, one block after the other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from expotion.testing import SyntheticClip
from expotion.video.writing import write_video

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python_api.md"


def write_clip(path: Path) -> None:
    clip = SyntheticClip(0.8, 15.0)
    assert clip.video is not None
    times_s = clip.video.frame_times_s
    frames = (clip.video.frames_at(np.array([t]))[0] for t in times_s)
    samples = clip.audio(32_000)
    assert samples is not None
    write_video(path, frames, times_s, samples, 32_000, duration_s=0.8)


def test_every_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "other_clip.mp4"):
        write_clip(tmp_path / name)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    music = names["music"]
    assert music.samples.shape == (25_600,)  # type: ignore[attr-defined]
    assert music.codes.shape == (4, 40)  # type: ignore[attr-defined]
    assert "times that go forwards" in capsys.readouterr().out
    session = names["session"]
    assert 1.7 < session.made_s < 2.2  # type: ignore[attr-defined]  # behind frames that end at 2.16 s
