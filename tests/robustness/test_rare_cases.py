"""What hardly anyone does: long clips, encoders that misbehave, disks that fill up, models that do not fit."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lamp_world
import numpy as np
import pytest
import soundfile
from media import encode

from expotion.cli.main import run
from expotion.contracts import Encoder
from expotion.music.composer import Composer
from expotion.plugins import Registry
from expotion.video.scan import scan
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video

Start = Callable[..., int]
RATE_HZ = 32_000
WORLD = Path(lamp_world.__file__)


@pytest.fixture
def generate(in_the_world_of_lamps: None, lamps: Registry, finished: Path) -> Start:
    """`expotion generate ARGUMENTS --adaptor RUN` in this process; returns the exit code."""
    return lambda *given: run(["generate", *map(str, given), "--adaptor", str(finished)])


def assert_whole(source: Path, out: Path) -> None:
    """The video shows every picture of its source at its time, and music under all of it."""
    was, now = scan(source), scan(out)
    assert was.picture is not None and now.picture is not None and now.sound is not None
    assert len(now.picture.times_s) == len(was.picture.times_s)
    assert np.allclose(now.picture.times_s, was.picture.times_s, atol=1e-3)
    samples, rate_hz = soundfile.read(out.with_suffix(".wav"))
    assert (len(samples), rate_hz) == (round(was.duration_s * RATE_HZ), RATE_HZ)
    assert np.isfinite(samples).all()
    seconds = samples[: len(samples) // rate_hz * rate_hz].reshape(-1, rate_hz)
    assert (np.abs(seconds).max(axis=1) > 0).all()


@pytest.mark.parametrize(
    "seconds", [1.3, *(pytest.param(s, marks=pytest.mark.slow) for s in (20.0, 31.0, 47.3, 61.0, 599.0))]
)
def test_clips_of_any_length_are_made_whole(generate: Start, tmp_path: Path, seconds: float) -> None:
    clip = encode(tmp_path / "clip.mp4", n=round(10 * seconds), fps=10)
    assert generate(clip, "--out", tmp_path / "out.mp4") == 0
    assert_whole(clip, tmp_path / "out.mp4")


def test_a_clip_of_601_seconds_is_refused_before_anything_is_loaded(
    generate: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expotion.music.make.open_composer", pytest.fail)
    write_wav(tmp_path / "long.wav", np.zeros(601 * 4000, np.float32), 4000)
    assert generate(tmp_path / "long.wav", "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "a clip of at most 600 s, got 601.0 s; cut it into parts, and make music for each" in error
    assert len(error.strip().splitlines()) == 1


def test_a_mixed_folder_counts_and_names_what_it_passes_over(
    generate: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    encode(folder / "a.ts", format="mpegts", n=15)
    write_wav(folder / "b.wav", np.zeros(4000, np.float32), 4000)
    write_wav(folder / "c.wav", np.zeros(4000, np.float32), 4000)
    (folder / "notes.txt").write_text("words")
    assert generate(folder, "--out", tmp_path / "out", "-f", "wav") == 0
    shown = capsys.readouterr().out
    assert "2 sound files (b.wav, c.wav) passed over" in shown
    assert "1 made" in shown


def test_a_stretch_in_which_nothing_is_seen_is_stated_with_its_times(
    generate: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    light = np.full(30, 200, np.uint8)
    light[5:20] = 0
    frames = [np.full((32, 48, 3), level, np.uint8) for level in light]
    write_video(tmp_path / "dark.mp4", frames, np.arange(30) / 10)
    assert generate(tmp_path / "dark.mp4", "--out", tmp_path / "out.wav") == 0
    shown = capsys.readouterr().out
    assert "glow: 48% of the clip, longest gap 1.6 s; nothing at 0.4 to 2 s" in shown
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["made"]["controls_used"] == ["glow", "sway"]


FAULTS: dict[str, tuple[Callable[..., Any], str]] = {
    "exits": (lambda *_: sys.exit(3), "SystemExit: 3"),
    "returns None": (lambda *_: None, "TimedFeatures or TokenFeatures, got NoneType"),
    "returns an array": (lambda *_: np.zeros((3, 2)), "TimedFeatures or TokenFeatures, got ndarray"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_an_encoder_that_misbehaves_is_one_line_before_music_is_made(
    generate: Start, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    does, says = FAULTS[kind]
    monkeypatch.setattr(lamp_world.Light, "extract", does)
    monkeypatch.setattr("expotion.music.composer.compose", pytest.fail)
    clip = encode(tmp_path / "clip.mp4", n=15)
    assert generate(clip, "--out", tmp_path / "out.mp4") == 1
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("kind", FAULTS)
def test_a_recipe_whose_encoder_misbehaves_ends_before_training(
    in_the_world_of_lamps: None,
    run_lamps: Callable[..., int],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    does, says = FAULTS[kind]
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lamp_world.Light, "extract", does)
    assert run_lamps(tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert not (tmp_path / "run" / "adaptor").exists()


def test_a_slow_encoder_is_waited_for(generate: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = lamp_world.Light.extract

    def slowly(self: Encoder, clip: Any) -> Any:
        time.sleep(0.05)
        return real(self, clip)

    monkeypatch.setattr(lamp_world.Light, "extract", slowly)
    clip = encode(tmp_path / "clip.mp4", n=15)
    assert generate(clip, "--out", tmp_path / "out.mp4") == 0
    assert_whole(clip, tmp_path / "out.mp4")


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_folder_that_was_stopped_goes_on(
    generate: Start, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for n, name in enumerate("abc", start=9):
        encode(folder / f"{name}.mp4", n=n)
    real, calls = Composer.compose, []

    def compose(self: Composer, *given: Any, **named: Any) -> Any:
        calls.append(given)
        if len(calls) == (1 if when == "before" else 2):
            raise KeyboardInterrupt
        return real(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Composer, "compose", compose)
        assert generate(folder, "--out", out) == 130
    done = 0 if when == "before" else 1
    assert f"{done} clips are done; the same command goes on from there" in capsys.readouterr().out
    assert json.loads((out / "report.json").read_text())["stopped"]
    assert generate(folder, "--out", out) == 0
    assert f"{3 - done} made, {done} already there, 0 failed" in capsys.readouterr().out
    for name in "abc":
        assert_whole(folder / f"{name}.mp4", out / f"{name}.mp4")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A folder on a file system of so many bytes; needs the right to mount."""
    mounted: list[Path] = []

    def make(n_bytes: int) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except OSError as error:
            pytest.skip(f"no mount here: {error}")
        if done.returncode:
            pytest.skip(f"no right to mount a small disk: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("n_bytes", [40_000, 70_000])
def test_a_disk_that_fills_up_is_one_clear_line_and_nothing_is_half_written(
    generate: Start,
    n_bytes: int,
    small_disk: Callable[[int], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clip = encode(tmp_path / "clip.mp4", n=5, fps=10)  # 64 kB of wav: there is room for none, or for no video
    disk = small_disk(n_bytes)
    assert generate(clip, "--out", disk / "out.mp4", "--depth", "float") == 1
    error = capsys.readouterr().err
    assert "could not be written" in error and "that the disk is not full" in error
    assert len(error.strip().splitlines()) == 1
    assert not [path for path in disk.iterdir() if path.name.startswith(".") or path.suffix == ".json"]
    for path in disk.glob("*.wav"):
        assert len(soundfile.read(path)[0])
    assert generate(clip, "--out", tmp_path / "out.mp4", "--depth", "float") == 0
    assert_whole(clip, tmp_path / "out.mp4")


@pytest.mark.parametrize("n_bytes", [100_000, 1_000_000])
def test_a_write_that_fails_halfway_leaves_no_half_file(tmp_path: Path, n_bytes: int) -> None:
    """Where no disk can be made small: the system refuses every byte beyond a file's limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    (tmp_path / "a.wav").write_bytes(b"old")
    from expotion.errors import ExpotionError

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
        with pytest.raises(ExpotionError, match=r"a\.wav"):
            write_wav(tmp_path / "a.wav", np.zeros(n_bytes, np.float32), RATE_HZ)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"old"


def test_an_adaptor_of_another_backbone_is_refused_before_music_is_made(
    generate: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Composer, "compose", pytest.fail)
    clip = encode(tmp_path / "clip.mp4", n=15)
    from expotion_conductor.backbone import locate_tiny

    assert generate(clip, "--out", tmp_path / "out.mp4", "--backbone", str(locate_tiny())) == 1
    error = capsys.readouterr().err
    assert "leave out --backbone, or train an adaptor on that backbone" in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.glob("out*"))


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_one_clip_and_the_same_command_makes_it(
    lamps: Registry, model: Path, finished: Path, tmp_path: Path
) -> None:
    """A decoder that dies by a signal, in one process and in two; then again with one and with none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for n, name in enumerate("abc", start=15):
        encode(folder / f"{name}.mp4", n=n)
    program = tmp_path / "program.py"
    program.write_text(
        "import os, runpy, sys\n"
        f"sys.path.insert(0, {str(WORLD.parent)!r})\n"
        "import lamp_world, expotion.plugins\n"
        f"lamps = lamp_world.registry_of(lamp_world.Path({str(model)!r}))\n"
        "expotion.plugins.discover = lambda: lamps\n"
        "real = lamp_world.Light.extract\n"
        "def extract(self, clip):\n"
        "    if clip.id == 'b' and 'DEADLY' in os.environ:\n"
        "        os.kill(os.getpid(), 11)\n"
        "    return real(self, clip)\n"
        "lamp_world.Light.extract = extract\n"
        "if __name__ == '__main__':\n"
        "    from expotion.cli.main import main\n"
        "    main(sys.argv[1:])\n"
    )
    for jobs in (1, 2):
        out = tmp_path / f"out{jobs}"
        command = [sys.executable, str(program), "generate", str(folder), "--out", str(out)]
        command += ["--adaptor", str(finished), "-f", "wav"]
        deadly = {**os.environ, "DEADLY": "1"}
        done = subprocess.run(
            [*command, "--jobs", str(jobs)], env=deadly, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        report = json.loads((out / "report.json").read_text())
        assert [Path(failed["clip"]).name for failed in report["failed"]] == ["b.mp4"]
        assert "signal 11" in report["failed"][0]["problems"][0]
        assert len(report["made"]) == 2
        done = subprocess.run([*command, "--jobs", str(jobs - 1)], capture_output=True, text=True, check=False)
        assert (done.returncode, "1 made, 2 already there, 0 failed" in done.stdout) == (0, True), done.stderr
