"""Two runs into one folder: the second is told at once, and nothing of the first is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from media import encode

from expotion import lock
from expotion.cli.main import run
from expotion.errors import OutputError, RunFolderError
from expotion.lock import LOCK, held
from expotion.music import make

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")
HOLD = "import sys; from pathlib import Path; from expotion.lock import held\n"
HOLD += "with held(Path(sys.argv[1]), sys.argv[2:]): print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def other(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that works in `tmp_path/run`, or at the pieces in it that a test names."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run"), *getattr(request, "param", [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_run_is_one_clear_error_and_touches_nothing(
    copy_of_finished: Path, other: subprocess.Popen[str], run_lamps: Callable[..., int], capsys: Capture
) -> None:
    draft = copy_of_finished / "samples" / ".0123456789ab.part.wav"  # what the other is writing
    draft.write_bytes(b"half of it")
    assert run_lamps(copy_of_finished) == 1
    (line,) = capsys.readouterr().err.splitlines()
    wanted, host = "a folder that no other run is working in", os.uname().nodename
    fix = "wait for it, stop it, or give another --out"
    assert line == f"{copy_of_finished}: {wanted}, got process {other.pid} on {host}; {fix}"
    assert run(["recipe", "run", "--resume", str(copy_of_finished)]) == 1
    assert draft.exists()
    other.kill()
    other.wait()
    assert run_lamps(copy_of_finished) == 0  # its lock is stale now, and so is its draft
    assert not draft.exists() and not (copy_of_finished / LOCK).exists()


def test_the_lock_is_one_line_of_host_process_and_start(tmp_path: Path) -> None:
    with held(tmp_path / "new"):
        text = (tmp_path / "new" / LOCK).read_text()
        host, pid, start = text.split(" ")
        assert (host.partition("/")[0], int(pid)) == (os.uname().nodename, os.getpid())
        assert int(start) > 0
        with held(tmp_path / "new"):  # a cell of a matrix, in the same process
            pass
        assert (tmp_path / "new" / LOCK).read_text() == text
    assert list(tmp_path.iterdir()) == []  # nothing came into the folder


def test_another_process_of_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    host, pid, start = f"{lock._host()} {os.getppid()} {lock._start_of(os.getppid())}".split(" ")
    (tmp_path / LOCK).write_text(f"{host} {pid} {start}")
    with pytest.raises(RunFolderError, match=f"process {pid} on"), held(tmp_path):
        pass
    (tmp_path / LOCK).write_text(f"{host} {pid} {int(start) + 1}")
    with held(tmp_path):
        assert (tmp_path / LOCK).read_text().split(" ")[1] == str(os.getpid())


@pytest.mark.parametrize("line", ["elsewhere/1 1 1", f"{os.uname().nodename}/1 1 1", ""])
def test_a_run_on_another_machine_is_there_as_long_as_it_beats(tmp_path: Path, line: str) -> None:
    path = tmp_path / LOCK
    path.write_text(line)
    with pytest.raises(RunFolderError, match=f"if it is gone, remove {path}"), held(tmp_path):
        pass
    assert path.read_text() == line
    silent_s = path.stat().st_mtime - lock.SILENT_S
    os.utime(path, (silent_s - 1, silent_s - 1))
    with held(tmp_path):
        assert path.read_text() != line
    assert not path.exists()


def test_a_run_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = threading.Event()
    monkeypatch.setattr(lock, "BEAT_S", 0.001)
    monkeypatch.setattr(os, "utime", lambda path: beaten.set() if path == tmp_path / LOCK else None)
    with held(tmp_path):
        assert beaten.wait(5)
    assert lock.BEAT_S < lock.SILENT_S / 4


def test_of_two_that_find_a_stale_lock_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, quicker = tmp_path / LOCK, f"{lock._host()} {os.getppid()} {lock._start_of(os.getppid())}"
    path.write_text(f"{lock._host()} 999999999 1")
    seen = lock._is_alive

    def late(where: Path, line: str) -> bool:
        alive = seen(where, line)
        where.write_text(quicker)  # between seeing and doing
        return alive

    monkeypatch.setattr(lock, "_is_alive", late)
    with pytest.raises(RunFolderError, match=f"process {os.getppid()} on"), held(tmp_path):
        pass
    assert [each.name for each in tmp_path.iterdir()] == [LOCK] and path.read_text() == quicker


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = r"a folder that can be written to, got .*; give another --out"
    for place in ("file", "file/run"):
        with pytest.raises(OutputError, match=told), held(tmp_path / place):
            pass


def test_a_matrix_is_locked_too(
    tmp_path: Path, other: subprocess.Popen[str], recipe_file: Path, capsys: Capture
) -> None:
    text = recipe_file.read_text() + "matrix: {rows: {glow: {labels: {control: glow}}}}\n"
    (tmp_path / "matrix.yaml").write_text(text)
    assert run(["recipe", "run", str(tmp_path / "matrix.yaml"), "--out", str(tmp_path / "run")]) == 1
    assert f"got process {other.pid} on" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_two_that_make_music_or_a_manifest_in_one_folder(
    tmp_path: Path, other: subprocess.Popen[str], finished: Path, capsys: Capture
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    encode(clips / "a.mp4")
    told = f"{tmp_path / 'run'}: a folder that no other run is working in, got process {other.pid} on"
    generate = ["generate", str(clips), "--adaptor", str(finished)]
    for command in (generate, ["data", "prepare", str(clips)], ["data", "export", "lamps"]):
        assert run([*command, "--out", str(tmp_path / "run")]) == 1
        assert capsys.readouterr().err.startswith(told)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


@pytest.mark.parametrize("other", [["a"]], indirect=True)
def test_two_that_make_one_piece(
    tmp_path: Path, other: subprocess.Popen[str], finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Its files and their record must be of one of them; others in the folder may be made."""
    worked: list[object] = []
    monkeypatch.setattr(make, "_outcomes", lambda *given: worked.append(given) or iter(()))
    encode(tmp_path / "a.mp4")
    generate = ["generate", str(tmp_path / "a.mp4"), "--adaptor", str(finished)]
    for out in ("run/", "run/a.wav"):
        assert run([*generate, "--out", str(tmp_path / out)]) == 1
        told = f"{tmp_path / 'run' / 'a'}: music that no other run is making, got process {other.pid} on"
        assert capsys.readouterr().err.startswith(told)
    assert not worked
    assert run([*generate, "--out", str(tmp_path / "run" / "b.wav")]) == 0
    other.kill()
    other.wait()
    assert run([*generate, "--out", str(tmp_path / "run" / "a.wav")]) == 0
    assert len(worked) == 2 and list((tmp_path / "run").iterdir()) == []
