"""Music for files: good ones, bad ones, and places that cannot be written to."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import expotion.pipeline.generate as generate_files
from expotion.cli.main import run
from expotion.data.mux import write_video, write_wav
from expotion.data.probe import probe
from expotion.plugins import Registry

Capture = pytest.CaptureFixture[str]
Start = Callable[..., int]
RATE_HZ = 32_000


@pytest.fixture
def start(lamps: Registry, finished: Path) -> Start:
    """`expotion generate ARGUMENTS --adaptor RUN` in this process; returns the exit code."""

    def call(*arguments: object) -> int:
        return run(["generate", *map(str, arguments), "--adaptor", str(finished)])

    return call


def write_lamp(path: Path, n: int = 12, light: int = 200) -> Path:
    """A lamp at 10 fps, with a tone."""
    frames = [np.full((32, 48, 3), max(0, light - 10 * (i % 5)), np.uint8) for i in range(n)]
    tone = (0.1 * np.sin(np.arange(n * RATE_HZ // 10) / 20)).astype(np.float32)
    write_video(path, frames, np.arange(n) / 10, tone, RATE_HZ)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_lamp(tmp_path / "lamp [hd].mp4")


def bad_files(folder: Path) -> dict[str, Path]:
    """A file of every kind that cannot be used, by what is wrong with it."""
    folder.mkdir()
    bad = {
        kind: folder / f"{kind}.mp4"
        for kind in ("missing", "empty", "random", "truncated", "one_frame", "long")
    }
    bad["picture"] = folder / "picture.png"
    bad["text"] = folder / "text.mp4"
    bad["empty"].write_bytes(b"")
    bad["random"].write_bytes(np.random.default_rng(0).bytes(5000))
    bad["text"].write_text("dear diary")
    whole = write_lamp(folder / "whole.mkv").read_bytes()
    bad["truncated"].write_bytes(whole[:300])
    write_lamp(bad["one_frame"], n=1)
    dark = [np.zeros((32, 48, 3), np.uint8)] * 2
    write_video(bad["long"], dark, np.array([0.0, 1199.0]), duration_s=1200.0)
    import cv2

    cv2.imwrite(str(bad["picture"]), np.zeros((8, 8, 3), np.uint8))
    return bad


def test_a_clip_gets_music_of_its_length(start: Start, clip: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out" / "music.mp4"
    assert start(clip, "--out", out, "--prompt", "warm lamp", "--strength", "sway=0") == 0
    samples, rate_hz = soundfile.read(out.with_suffix(".wav"))
    assert (len(samples), rate_hz) == (round(1.2 * RATE_HZ), RATE_HZ)
    assert np.isfinite(samples).all()
    made = probe(out)
    assert made.video is not None and made.audio is not None
    assert made.duration_s == pytest.approx(1.2, abs=0.05)
    record = json.loads(out.with_suffix(".json").read_text())
    assert (record["prompt"], record["seed"], record["controls_used"]) == ("warm lamp", 0, ["glow"])
    assert record["strengths"] == {"glow": 1.0, "sway": 0.0}
    assert f"Wrote {out}" in capsys.readouterr().out


def test_a_seed_and_a_prompt_decide_the_bytes(start: Start, clip: Path, tmp_path: Path) -> None:
    def sound(name: str, *options: str) -> bytes:
        assert start(clip, "--out", tmp_path / f"{name}.wav", *options) == 0
        assert not (tmp_path / f"{name}.mp4").exists()
        return (tmp_path / f"{name}.wav").read_bytes()

    first = sound("a", "--seed", "5")
    assert sound("b", "--seed", "5") == first
    assert sound("c", "--seed", "6") != first
    assert sound("d", "--seed", "5", "--prompt", "bright lamp") != first


def test_a_batch_goes_on_past_every_kind_of_bad_file(
    start: Start, clip: Path, tmp_path: Path, capsys: Capture
) -> None:
    bad = bad_files(tmp_path / "bad")
    second = tmp_path / "dusk.mp4"
    shutil.copy(clip, second)
    assert start(clip, *bad.values(), second, "--out", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{name}{suffix}" for name in (clip.stem, "dusk") for suffix in (".wav", ".mp4", ".json")
    )
    assert str(tmp_path / "out" / "lamp [hd].mp4") in shown.out
    listed = shown.err.splitlines()
    for kind, path in bad.items():
        assert sum(str(path) in line for line in listed) == 1, (kind, shown.err)
        assert f"failed {path}" in shown.out
    assert "at most 600 s, got 1200.0 s" in next(line for line in listed if "long" in line)
    assert "Traceback" not in shown.err


def test_sound_alone_gets_a_wav_and_a_note(start: Start, tmp_path: Path, capsys: Capture) -> None:
    song = tmp_path / "song.wav"
    write_wav(song, np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert start(song, "--out", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["song.json", "song.wav"]
    assert "no picture" in capsys.readouterr().out


def test_controls_with_nothing_to_say_are_left_out(start: Start, tmp_path: Path, capsys: Capture) -> None:
    dark = write_lamp(tmp_path / "dark.mp4", light=0)
    assert start(dark, "--out", tmp_path / "out") == 0
    assert "glow left out" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "dark.json").read_text())
    assert record["controls_used"] == []
    assert np.isfinite(soundfile.read(tmp_path / "out" / "dark.wav")[0]).all()


def test_a_fault_of_the_program_in_one_clip_leaves_the_others(
    start: Start, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    second = tmp_path / "dusk.mp4"
    shutil.copy(clip, second)
    real, calls = generate_files.compose, [0]

    def compose(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            raise RuntimeError("shapes do not match")
        return real(*arguments, **named)

    monkeypatch.setattr(generate_files, "compose", compose)
    assert start(clip, second, "--out", tmp_path / "out") == 1
    assert (tmp_path / "out" / "dusk.mp4").is_file()
    assert "RuntimeError: shapes do not match" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strength", "motion=1"], "--strength motion: one of glow, sway, got motion"),
        (["--cfg-scale", "inf"], "--cfg-scale: a number of at least 0, got inf"),
        (["--prompt", "lamp " * 10_000], "words, got 10000 words"),
        (["--backbone", "attic"], "attic"),
        (["--out", "{file}/music.mp4"], "could not be made"),
        (["--out", "{clip}"], "not to be written over a clip"),
        (["--out", "music.ogg"], "a name that ends in .mp4 or .wav, got .ogg"),
        (["{clip}", "--out", "music.mp4"], "a folder, as there are several clips"),
        (["{clip}", "--out", "music"], "a name of its own"),
    ],
)
def test_options_that_cannot_be_met(
    arguments: list[str],
    message: str,
    start: Start,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    before, listing = clip.read_bytes(), sorted(tmp_path.iterdir())
    given = [text.format(file=tmp_path / "file", clip=clip) for text in arguments]
    assert start(clip, *given) != 0
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and "Unexpected" not in error
    assert clip.read_bytes() == before
    made = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert made <= set(listing)


def test_a_seed_out_of_range_is_wrong_usage(start: Start, clip: Path, capsys: Capture) -> None:
    assert start(clip, "--seed", "9" * 30) == 2
    assert "seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "an adaptor folder with adaptor.json"),
        ({"format": "expotion-adaptor/1"}, "got no recipe, backbone_hash"),
        ({"format": "expotion-adaptor/9"}, "format expotion-adaptor/1"),
    ],
)
def test_a_folder_that_is_no_adaptor(
    content: dict[str, str] | None, message: str, lamps: Registry, clip: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "adaptor"
    folder.mkdir()
    if content is not None:
        (folder / "adaptor.json").write_text(json.dumps(content))
    assert run(["generate", str(clip), "--adaptor", str(folder)]) == 1
    assert message in capsys.readouterr().err


def test_an_adaptor_cut_short_by_a_copy(
    lamps: Registry, copy_of_finished: Path, clip: Path, capsys: Capture
) -> None:
    file = copy_of_finished / "adaptor" / "adaptor.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    assert run(["generate", str(clip), "--adaptor", str(copy_of_finished)]) == 1
    error = capsys.readouterr().err
    assert str(file) in error and "Traceback" not in error


@pytest.mark.parametrize("ending", [".wav", ".mp4", ".json"])
def test_a_full_disk_leaves_no_half_file(
    ending: str, start: Start, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    import os

    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if str(target).endswith(ending):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    out = tmp_path / "out"
    assert start(clip, "--out", out) == 1
    assert capsys.readouterr().err.count("No space left on device") == 1
    assert not [path.name for path in out.iterdir() if path.suffix == ending or path.name.startswith(".")]
