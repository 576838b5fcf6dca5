"""Music for files: good ones, bad ones, and places that cannot be written to."""

from __future__ import annotations

import errno
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lamp_fixtures import among_lamps

from expotion import machine
from expotion.cli.main import run
from expotion.music import make as music_work
from expotion.plugins import Registry
from expotion.video.scan import scan
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")
Capture = pytest.CaptureFixture[str]
Start = Callable[..., int]
RATE_HZ = 32_000


@pytest.fixture
def start(lamps: Registry, finished: Path) -> Start:
    """`expotion generate ARGUMENTS --adaptor RUN` in this process; returns the exit code."""

    def call(*arguments: object) -> int:
        return run(["generate", *map(str, arguments), "--adaptor", str(finished)])

    return call


def write_lamp(path: Path, n: int = 4, light: int = 200) -> Path:
    """A lamp at 10 fps, with noise: AAC takes four times as long for a tone."""
    path.write_bytes(_lamp(path.suffix, n, light))
    return path


@functools.cache
def _lamp(suffix: str, n: int, light: int) -> bytes:
    frames = [np.full((32, 48, 3), max(0, light - 10 * (i % 5)), np.uint8) for i in range(n)]
    noise = np.random.default_rng(0).normal(0.0, 0.1, n * RATE_HZ // 10).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"lamp{suffix}"
        write_video(path, frames, np.arange(n) / 10, noise, RATE_HZ)
        return path.read_bytes()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_lamp(tmp_path / "lamp [hd].mp4")


@pytest.fixture
def long_clip(tmp_path: Path) -> Path:
    """Longer than a window of the adaptor, which is 1 s."""
    return write_lamp(tmp_path / "lamp [hd].mp4", n=12)


def bad_files(folder: Path) -> dict[str, Path]:
    """A file of every kind that cannot be used, by what is wrong with it."""
    folder.mkdir()
    bad = {
        kind: folder / f"{kind}.mp4" for kind in ("missing", "empty", "random", "truncated", "one_frame", "long")
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


def test_a_clip_gets_music_of_its_length(start: Start, long_clip: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out" / "music.mp4"
    assert start(long_clip, "--out", out, "--prompt", "warm lamp", "--strength", "sway=0") == 0
    samples, rate_hz = soundfile.read(out.with_suffix(".wav"))
    assert (len(samples), rate_hz) == (round(1.2 * RATE_HZ), RATE_HZ)
    assert np.isfinite(samples).all()
    made = scan(out)
    assert made.picture is not None and made.sound is not None
    assert made.duration_s == pytest.approx(1.2, abs=0.05)
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["asked"]["composing"]["prompt"] == record["made"]["prompt"] == "warm lamp"
    assert record["asked"]["composing"]["strengths"] == {"sway": "0"}
    assert record["made"]["controls_used"] == ["glow"]
    assert set(record["files"]) == {"music.wav", "music.mp4"}
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
    assert record["made"]["controls_used"] == []
    assert np.isfinite(soundfile.read(tmp_path / "out" / "dark.wav")[0]).all()


def test_a_fault_of_the_program_in_one_clip_leaves_the_others(
    start: Start, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    second = tmp_path / "dusk.mp4"
    shutil.copy(clip, second)
    real, calls = music_work.write_files, [0]

    def write(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            raise RuntimeError("shapes do not match")
        return real(*arguments, **named)

    monkeypatch.setattr(music_work, "write_files", write)
    assert start(clip, second, "--out", tmp_path / "out") == 1
    assert (tmp_path / "out" / "dusk.mp4").is_file()
    assert "RuntimeError: shapes do not match" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strength", "motion=1"], "--strength motion=1: one of glow, sway, got 'motion'"),
        (["--cfg-scale", "inf"], "--cfg-scale: a"),
        (["--prompt", "lamp " * 10_000], "at most 400 words (a sentence or two works best), not 10000"),
        (["--backbone", "attic"], "attic"),
        (["--out", "{file}/music.mp4"], "could not be made"),
        (["--out", "{clip}"], "not to be written over a clip"),
        (["--out", "music.ogg"], "a name that ends in .wav, .flac, .mp3, .opus, .mp4, .mov, .mkv, .webm, got .ogg"),
        (["--out", "file"], "could not be made"),
        (["--out", "file/deep/folder"], "could not be made"),
        (["--strength", "glow=0:1,5:0.2,3:1"], "times that go forwards from 0, got 0:1,5:0.2,3:1"),
        (["--strength", "glow=0:1,0:2"], "times that go forwards from 0"),
        (["--strength", "glow=nan"], "finite values of at least 0"),
        (["--strength", "glow=-1"], "finite values of at least 0"),
        (["--strength", "glow=loud"], "a number of at least 0, or SECONDS:VALUE"),
        (["--strength", "glow"], "--strength glow: NAME=VALUE"),
        (["--strength", "glow=1", "--strength", "glow=0"], "one value for glow, got 1 before"),
        (["--strength", "glwo=1"], "did you mean 'glow'?"),
        (["--guidance", "glow=-1"], "--guidance glow=-1: a number of at least 0"),
        (["--guidance", "glow=nan"], "--guidance glow=nan: a number, got 'nan'"),
        (["--guidance", "glow"], "--guidance glow: NAME=SCALE"),
        (["--guidance", "face=2"], "--guidance face=2: one of glow, sway"),
        (["--mute", "face"], "--mute face: one of glow, sway"),
        (["--control", "face={clip}"], "--control face={clip}: one of glow, sway"),
        (["--control", "glow=nowhere.mp4"], "--control glow=nowhere.mp4: no such file"),
        (["--control", "glow={file}"], "the file is empty"),
        (["--control", "glow={clip}", "--mute", "glow"], "a control that --control does not set"),
        (["--samples", "0"], "--samples: a whole number of at least 1, got 0"),
        (["--samples", "-2"], "--samples: a whole number of at least 1, got -2"),
        (["--jobs", "-1"], "--jobs: a whole number of at least 0"),
        (["--jobs", "2", "--ray", "local"], "either --ray or --jobs"),
        (["--seed", "-1"], "--seed: a number "),
        (["--seed", "9" * 30], "--seed: a number "),
        (["--overlap", "1"], "--overlap: less than a window of 1 s"),
        (["--overlap", "nan"], "--overlap: a"),
        (["--precision", "fp8"], "--precision: one of auto, fp32, bf16"),
        (["--temperature", "0"], "--temperature: a number greater than 0"),
        (["--top-p", "1.5"], "--top-p: a number of at most 1"),
        (["--top-k", "-1"], "--top-k: a number of at least 0"),
        (["--format", "ogg"], "--format: some of wav, flac, mp3, opus, mp4"),
        (["--format", "wav,"], "got an empty name"),
        (["--overlay"], "--overlay has moved: --format wav,mp4,overlay draws what steers the music"),
        (["--format", "webm"], "a picture that webm holds (av1, vp8, vp9), got h264; write .mp4 or .mov or .mkv"),
        (["--depth", "8"], "--depth: one of 16, 24, float, got 8"),
        (["--loudness", "16"], "for example --loudness -16"),
        (["--loudness", "nan"], "--loudness: a number of LUFS"),
        (["--keep-original-sound", "--format", "wav"], "a video among the formats"),
        (["--keep-original-sound", "--format", "overlay"], "a video among the formats"),
        (["--prompt", " "], "--prompt: some words"),
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
    assert message.format(clip=clip) in error and "Traceback" not in error and "Unexpected" not in error
    assert clip.read_bytes() == before
    made = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert made <= set(listing)


def test_all_problems_come_at_once_before_any_model_is_loaded(
    start: Start, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def loaded(*_: Any) -> Any:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(music_work, "open_composer", loaded)
    wrong = ("--samples", 0, "--strength", "glwo=1", "--strength", "sway=5:1,2:0", "--format", "mp4,ogg")
    assert start(clip, tmp_path / "missing.mp4", *wrong, "--cfg-scale", "nan") == 1
    listed = capsys.readouterr().err.splitlines()
    for part in ("--samples", "did you mean 'glow'?", "go forwards", "ogg", "--cfg-scale", "missing.mp4"):
        assert sum(part in line for line in listed) == 1, part
    assert start(tmp_path / "missing.mp4") == 1
    assert capsys.readouterr().err.count("no such file") == 1


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
    assert not [path.name for path in out.glob("*") if path.suffix == ending or path.name.startswith(".")]


# ------------------------------------------------------------------------------------------------- files


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--out", "o/a.mp3"], {"a.mp3"}),
        (["--out", "o/a.MKV"], {"a.wav", "a.mkv"}),
        (["--out", "o", "--format", "flac,opus"], {"lamp.flac", "lamp.opus"}),
        (["--out", "o/a.mov", "-f", "mp3"], {"a.mov", "a.mp3"}),
        (["--out", "o", "--samples", "2", "-f", "wav"], {"lamp_1.wav", "lamp_2.wav"}),
    ],
)
def test_what_is_written(
    options: list[str], names: set[str], start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lamp = write_lamp(tmp_path / "lamp.mp4")
    assert start(lamp, *options) == 0
    made = {path.name for path in (tmp_path / "o").iterdir()}
    records = {f"{name.split('.')[0]}.json" for name in names}
    assert made == names | records


def test_a_record_makes_the_same_bytes_again(
    start: Start, long_clip: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    formats = "wav,flac,mp3,opus,mp4,mkv,mov,overlay"
    options = ("-f", formats, "--loudness", "-20", "--keep-original-sound", "--depth", "24", "--seed", 7)
    steering = ("--strength", "glow=0:1,1:0.2", "--mute", "sway", "--temperature", 0.9, "--top-p", 0.8)
    assert start(long_clip, "--out", out, *options, *steering) == 0
    first = files_of(out)
    assert len(first) == 9 and "lamp [hd].overlay.mp4" in first
    capsys.readouterr()
    assert run(["again", str(out / "lamp [hd].json")]) == 0
    assert "The same bytes as the first time." in capsys.readouterr().out
    for name, data in first.items():
        again = (out / name.replace("lamp [hd]", "lamp [hd]_again")).read_bytes()
        assert again == data or name.endswith(".json")


def test_takes_have_seeds_of_their_own_and_are_made_again_alone(
    start: Start, clip: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert start(clip, "--out", out, "--samples", 3, "--seed", 4, "-f", "wav") == 0
    takes = [(out / f"lamp [hd]_{n}.wav").read_bytes() for n in (1, 2, 3)]
    assert len(set(takes)) == 3
    assert start(clip, "--out", tmp_path / "b.wav", "--seed", 5) == 0
    assert (tmp_path / "b.wav").read_bytes() == takes[1]
    assert run(["again", str(out / "lamp [hd]_3.json"), "--out", str(tmp_path / "c.wav")]) == 0
    assert (tmp_path / "c.wav").read_bytes() == takes[2]


def test_a_piece_is_made_again_in_what_auto_stood_for(start: Start, clip: Path, tmp_path: Path) -> None:
    assert start(clip, "--out", tmp_path / "a.wav") == 0
    record = tmp_path / "a.json"
    content = json.loads(record.read_text())
    kept = content["made"]["auto"]["cpu"]
    assert kept["codec"] == {"precision": "fp32"}
    content["made"]["auto"]["cpu"] = {"encoders": {"precision": "bf16"}, "generation": {"precision": "bf16"}}
    record.write_text(json.dumps(content))
    machine.forget()
    try:
        assert run(["again", str(record)]) == 0
        now = machine.choice()["cpu"]
        assert now["encoders"]["precision"] == "bf16" and "generation" not in now  # its precision is named
        del content["made"]["auto"]
        record.write_text(json.dumps(content))
        machine.forget()
        assert run(["again", str(record)]) == 0  # a record of before
    finally:
        machine.forget()


@pytest.fixture(scope="module")
def recorded(finished: Path, lamps: Registry, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip, its music and the record; not to be changed."""
    folder: Path = tmp_path_factory.mktemp("recorded")
    clip = write_lamp(folder / "lamp.mp4")
    with among_lamps(lamps, cache):
        assert run(["generate", str(clip), "--adaptor", str(finished), "--out", str(folder / "a.wav")]) == 0
    return folder


def test_a_record_is_followed_into_another_folder(
    recorded: Path, in_the_world_of_lamps: None, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["again", str(recorded / "a.json"), "--out", str(tmp_path / "new")]) == 0
    assert set(files_of(tmp_path / "new")) == {"a.wav", "a.json"}
    assert (tmp_path / "new" / "a.wav").read_bytes() == (recorded / "a.wav").read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record, clip: record.unlink(), "a file that can be read"),
        (lambda record, clip: record.write_text("dear diary"), "JSON, got something else"),
        (lambda record, clip: record.write_text("{}"), "a record of expotion-music/1"),
        (lambda record, clip: record.write_text("[]"), "a record of expotion-music/1"),
        (lambda record, clip: clip.unlink(), "a file that"),
        (lambda record, clip: write_lamp(clip, light=90), "another content under its name"),
    ],
)
def test_a_record_that_cannot_be_followed(
    damage: Callable[[Path, Path], Any], message: str, recorded: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    record = tmp_path / "a.json"
    record.write_text(record.read_text().replace(str(recorded), str(tmp_path)))
    damage(record, tmp_path / "lamp.mp4")
    assert run(["again", str(record)]) == 1
    error = capsys.readouterr().err
    assert message in error and "Unexpected" not in error
    assert not (tmp_path / "a_again.wav").exists()


def test_loudness_is_met_in_every_file(start: Start, tmp_path: Path) -> None:
    from expotion.video.audio import load_audio
    from expotion.video.loudness import loudness_lufs

    clip = write_lamp(tmp_path / "lamp [hd].mp4", n=6)
    assert start(clip, "--out", tmp_path / "o", "--loudness", "-30", "-f", "wav,mp4") == 0
    record = json.loads((tmp_path / "o" / "lamp [hd].json").read_text())
    assert record["made"]["normalised"]["loudness_lufs"] == pytest.approx(-30, abs=0.1)
    for suffix in ("wav", "mp4"):
        sound = load_audio(tmp_path / "o" / f"lamp [hd].{suffix}", RATE_HZ)
        assert sound is not None
        assert loudness_lufs(sound, RATE_HZ) == pytest.approx(-30, abs=0.7)


def test_a_control_from_another_clip_is_that_clips(start: Start, clip: Path, tmp_path: Path) -> None:
    other = write_lamp(tmp_path / "other.mp4", light=120)
    song = tmp_path / "song.wav"
    write_wav(song, np.zeros(RATE_HZ * 4 // 10, np.float32), RATE_HZ)
    alone = ("--mute", "sway", "--strength", "glow=3")
    assert start(clip, "--out", tmp_path / "a.wav", *alone, "--control", f"glow={other}") == 0
    assert start(other, "--out", tmp_path / "b.wav", *alone) == 0
    assert start(song, "--out", tmp_path / "c.wav", *alone, "--control", f"glow={other}") == 0
    assert start(clip, "--out", tmp_path / "d.wav", *alone) == 0
    made = [(tmp_path / f"{name}.wav").read_bytes() for name in "abcd"]
    assert made[0] == made[1] == made[2] != made[3]


# ----------------------------------------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, one in a sub-folder, a picture file, a hidden clip and a broken one."""
    clips = tmp_path / "clips"
    (clips / "deep").mkdir(parents=True)
    write_lamp(clips / "a.mp4", n=3)
    write_lamp(clips / "deep" / "b.mkv", n=3, light=150)
    (clips / "notes.txt").write_text("no clip")
    (clips / ".hidden.mp4").write_bytes(b"")
    return clips


def test_a_folder_keeps_its_shape_and_is_resumed(
    start: Start, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert start(folder, "--out", out, "--jobs", 0) == 0
    names = {"a.wav", "a.mp4", "a.json", "deep/b.wav", "deep/b.mp4", "deep/b.json", "report.json"}
    first = files_of(out)
    assert set(first) == names
    assert "2 made, 0 already there, 0 failed" in capsys.readouterr().out

    changed = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    assert start(folder, "--out", out, "--jobs", 0) == 0
    assert "0 made, 2 already there, 0 failed" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == t for path, t in changed.items() if path.name != "report.json")

    (out / "a.wav").write_bytes(first["a.wav"][:1000])  # cut off by a crash of the machine
    (out / "deep" / "b.json").unlink()
    assert start(folder, "--out", out, "--jobs", 0) == 0
    assert "2 made, 0 already there" in capsys.readouterr().out
    again = files_of(out)
    assert {name: again[name] for name in names - {"report.json"}} == {
        name: first[name] for name in names - {"report.json"}
    }
    (folder / "deep" / "b.mkv").unlink()
    assert start(folder, "--out", out, "--jobs", 0, "--seed", 1) == 0
    assert "1 made, 0 already there" in capsys.readouterr().out
    assert start(folder, "--out", out, "--jobs", 0, "--seed", 1, "--overwrite") == 0
    assert "1 made, 0 already there" in capsys.readouterr().out


def test_failures_of_a_folder_are_reported_and_tried_again(
    start: Start, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    (folder / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    assert start(folder, "--out", out, "--jobs", 0) == 1
    shown = capsys.readouterr()
    assert "2 made, 0 already there, 1 failed" in shown.out
    assert str(folder / "broken.mp4") in shown.err
    report = json.loads((out / "report.json").read_text())
    assert [Path(made["clip"]).name for made in report["made"]] == ["a.mp4", "b.mkv"]
    assert [Path(failed["clip"]).name for failed in report["failed"]] == ["broken.mp4"]
    assert "cannot be read" in report["failed"][0]["problems"][0]
    write_lamp(folder / "broken.mp4", n=3)
    assert start(folder, "--out", out, "--jobs", 0) == 0
    assert "1 made, 2 already there, 0 failed" in capsys.readouterr().out


def test_ctrl_c_leaves_what_is_done_and_a_report(
    start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real, calls = music_work.write_files, [0]

    def write(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(music_work, "write_files", write)
    out = tmp_path / "out"
    assert start(folder, "--out", out, "--jobs", 0) == 130
    assert "1 clips are done; the same command goes on from there" in capsys.readouterr().out
    assert set(files_of(out)) == {"a.wav", "a.mp4", "a.json", "report.json"}
    assert json.loads((out / "report.json").read_text())["stopped"] is True
    monkeypatch.setattr(music_work, "write_files", real)
    assert start(folder, "--out", out, "--jobs", 0) == 0
    assert "1 made, 1 already there" in capsys.readouterr().out


def test_the_output_folder_may_lie_in_the_folder(start: Start, folder: Path, capsys: Capture) -> None:
    for _ in range(2):
        assert start(folder, "--out", folder / "music", "--jobs", 0, "-f", "mp4") == 0
    assert "0 made, 2 already there" in capsys.readouterr().out
    assert not (folder / "music" / "music").exists()


def test_clips_of_one_name_keep_their_suffix(start: Start, folder: Path, tmp_path: Path) -> None:
    write_lamp(folder / "a.mkv", n=3)
    assert start(folder, "--out", tmp_path / "out", "--jobs", 0, "-f", "wav") == 0
    names = {path.name for path in (tmp_path / "out").glob("*.wav")}
    assert names == {"a_mkv.wav", "a_mp4.wav"}


def test_an_empty_folder_is_said(start: Start, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert start(tmp_path / "empty", "--out", tmp_path / "out") == 1
    assert "a folder with video files, got none" in capsys.readouterr().err


def test_without_ray_the_error_names_the_extra(
    start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    assert start(folder, "--out", tmp_path / "out", "--ray", "local") == 1
    assert "pip install 'expotion[ray]', or work without --ray" in capsys.readouterr().err
