"""Machines that are not a user's own: no home, nothing that can be written but temporary files, long paths."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import errands
import pytest
from media import encode

from expotion import files, workers
from expotion.errors import ExpotionError

CACHES = ("EXPOTION_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR")
SAID = (
    "no cache of this user can be written; caches are in {} (set EXPOTION_CACHE to a folder that can, to keep them)"
)
STRANGER = 54_321
"""A user whom no machine knows: without a name, without a home."""


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files of a process whose home is no folder."""
    for name in CACHES:
        monkeypatch.setenv(name, "")  # restored at the end, whatever is set meanwhile
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files._private_folder.cache_clear()
    yield tmp_path
    files._private_folder.cache_clear()


def test_without_a_home_caches_are_in_a_private_temporary_folder(
    no_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = no_home / f"expotion-{os.getuid()}"
    with caplog.at_level(logging.WARNING):
        files.lend_caches()
        files.lend_caches()
        assert files.cache_folder() == own
    assert caplog.messages == [SAID.format(own)]
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert os.environ["NUMBA_CACHE_DIR"] == str(own / "numba")
    assert os.environ["HF_HOME"] == str(own / "huggingface")


def test_a_cache_that_is_named_comes_first(no_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(no_home / "named"))
    files.lend_caches()
    assert os.environ["NUMBA_CACHE_DIR"] == str(no_home / "named" / "numba")
    assert not (no_home / f"expotion-{os.getuid()}").exists()
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere")
    files.lend_caches()
    assert os.environ["NUMBA_CACHE_DIR"] == "/somewhere"  # what a user has set stays


def test_a_home_that_can_be_written_keeps_everything(no_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(no_home))
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    files.lend_caches()
    assert no_home in files.cache_folder().parents and files.cache_folder().name == "expotion"
    assert "NUMBA_CACHE_DIR" not in os.environ and "HF_HOME" not in os.environ
    assert list(no_home.iterdir()) == []  # nothing is made to find out


def test_a_folder_that_others_may_write_to_is_not_taken(no_home: Path) -> None:
    planted = no_home / f"expotion-{os.getuid()}"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    taken = files.cache_folder()
    assert taken != planted and taken.parent == no_home
    assert stat.S_IMODE(taken.stat().st_mode) == 0o700


def test_without_any_folder_everything_works_without_caches(no_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null/tmp")
    files.lend_caches()
    assert files.cache_folder() == Path("/dev/null/home/.cache/expotion")
    compile_ = pytest.importorskip("expotion_fast.compile")
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    def add(a: int, b: int) -> int:
        return a + b

    assert compile_.entry(add).py_func is add  # compiled when it is called, and kept nowhere


def as_stranger(tmp_path: Path, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """A program run by a user without name and home, who reads everything and writes into `tmp_path` alone."""
    if not hasattr(os, "getuid") or os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to become another user")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.name.startswith(("pytest-", "popen-", "test_")) or folder == tmp_path:
            folder.chmod(0o777)
    user = [f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    if not os.access(sys.executable, os.X_OK) or Path(sys.executable).resolve().is_relative_to("/root"):
        user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    kept = {name: value for name, value in os.environ.items() if name not in (*CACHES, "HOME")}
    env = {**kept, "TMPDIR": str(tmp_path), "PYTHONPYCACHEPREFIX": str(tmp_path / "pyc"), **env}
    command = ["setpriv", *user, sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
    if "setpriv" in done.stderr or ("Permission denied" in done.stderr and "Traceback" not in done.stderr):
        pytest.skip(f"another user cannot run this Python: {done.stderr.strip()}")
    return done


def test_a_user_without_name_and_home(tmp_path: Path) -> None:
    code = (
        "from expotion.files import *; lend_caches(); print(cache_folder()); print(os.environ['NUMBA_CACHE_DIR'])"
    )
    done = as_stranger(tmp_path, "-c", f"import os; {code}")
    own = tmp_path / f"expotion-{STRANGER}"
    assert done.stdout.splitlines() == [str(own), str(own / "numba")], done.stderr
    assert done.stderr.splitlines() == [SAID.format(own)]
    done = as_stranger(tmp_path, "-c", f"import os; {code}", EXPOTION_CACHE=str(tmp_path / "named"))
    assert done.stdout.splitlines()[1] == str(tmp_path / "named" / "numba")
    assert done.stderr == ""
    assert not (tmp_path / "~").exists()


@pytest.mark.slow
def test_music_for_a_user_without_name_and_home(tmp_path: Path) -> None:
    """Everything that keeps a cache: numba, the hub, torch's compiler, features."""
    encode(tmp_path / "clip.mp4")
    code = """
import os, sys
from expotion.cli.main import run
code = run(["generate", "clip.mp4", "--out", "music.wav"])
import huggingface_hub.constants, torch
from expotion.features.store import FeatureStore
from torch._inductor.runtime.cache_dir_utils import cache_dir
print(huggingface_hub.constants.HF_HOME, cache_dir(), FeatureStore().folder, sep="\\n")
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)))
sys.exit(code)
"""
    done = as_stranger(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "music.wav").stat().st_size > 10_000
    assert done.stderr.count("no cache of this user can be written") == 1
    own = tmp_path / f"expotion-{STRANGER}"
    hub, inductor, features, two = done.stdout.splitlines()[-4:]
    assert (hub, features, two) == (str(own / "huggingface"), str(own / "features"), "tensor([2.])")
    assert Path(inductor).is_relative_to(tmp_path)
    assert list((own / "numba").rglob("*.nbc"))
    assert not (tmp_path / "~").exists()
    assert json.loads((tmp_path / "music.json").read_text())


# Ray's sockets


@pytest.fixture
def no_folder_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_folder_named")
@pytest.mark.skipif(sys.platform != "linux", reason="TMPDIR counts on Linux only")
def test_sockets_of_ray_get_a_folder_whose_paths_are_short_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = "/session_2026-11-28_17-12-00_123456_4194304/sockets/plasma_store"  # the highest number of a process

    def fits(folder: str) -> bool:
        return len(folder + socket) < 108  # unix(7), with the zero at its end

    assert workers._socket_folder() is None
    for name in ("TMPDIR", "RAY_TMPDIR"):  # the second comes first
        for n in (20, 34, 35, 36, 38, 39, 40, 41, 82, 200):
            folder = f"/tmp/{'x' * n}"[:n]
            monkeypatch.setenv(name, folder)
            chosen = workers._socket_folder()
            assert (chosen is None) == fits(f"{folder}/ray")
            assert chosen is None or (fits(chosen) and os.access(Path(chosen).parent, os.W_OK))
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null/x")  # short, and cannot be made
    assert workers._socket_folder() == "/tmp/ray"


@pytest.mark.usefixtures("no_folder_named")
def test_without_a_folder_for_sockets_the_fix_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp/" + "x" * 90)
    monkeypatch.setattr(workers, "can_write", lambda folder: False)
    with pytest.raises(ExpotionError, match=r"at most 4. characters, got .*; set RAY_TMPDIR to a short one"):
        next(workers.spread(print, ["a"], ray="local"))


def test_what_ray_says_is_told_in_our_words() -> None:
    def failure(kind: str, base: type[Exception], text: str) -> Exception:
        error: Exception = type(kind, (base,), {})(text)
        return error

    paragraph = "The worker died unexpectedly.\nCheck python-core-worker-*.log files for more information."
    assert (
        workers.in_our_words(failure("WorkerCrashedError", Exception, paragraph)) == "killed, or ended by a fault"
    )
    without = failure(
        "WorkerGroupError", RuntimeError, "The actor is dead because its worker process has died. OOM .."
    )
    assert workers.in_our_words(without) == "killed, or ended by a fault"
    report = (
        "Training failed on 1 worker:\n[Rank 0]\nray.exceptions.OutOfMemoryError: Task was killed ..\nSee the docs."
    )
    told = workers.in_our_words(failure("WorkerGroupError", RuntimeError, report))
    assert told == "ended by Ray, since the machine ran out of memory"
    assert workers.in_our_words(ValueError("ray::task()\nValueError: no good")) == "ValueError: no good"


def in_place_of_ray(fake: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray._private.ray_constants", SimpleNamespace())


def test_what_ray_raises_while_it_works_is_an_error_with_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    class NodeDiedError(Exception):
        pass

    nothing: Any = lambda *_, **__: None  # noqa: E731
    names = {"init": nothing, "shutdown": nothing, "is_initialized": bool}
    fake = SimpleNamespace(**names, exceptions=SimpleNamespace(RayError=NodeDiedError))
    in_place_of_ray(fake, monkeypatch)
    with pytest.raises(ExpotionError) as caught, workers.connected("local", cpus=1):
        raise NodeDiedError("a paragraph\nof Ray")
    fix = "work without Ray: no --ray, and train.workers 0"
    assert str(caught.value) == (
        f"--ray local: a Ray that works to the end, got its machine has left the cluster; {fix}"
    )


def test_a_ray_that_gives_no_task_a_worker_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class GetTimeoutError(Exception):
        pass

    def get(task: object, timeout: float) -> None:
        assert timeout == workers.ANSWER_S
        raise GetTimeoutError("Get timed out: some object(s) not ready.")

    waited: list[float] = []
    nothing: Any = lambda *_, **__: None  # noqa: E731
    names = {"init": nothing, "shutdown": nothing, "is_initialized": bool, "put": nothing, "get": get}
    names |= {
        "cluster_resources": dict,
        "wait": lambda tasks, num_returns, timeout: waited.append(timeout) or ([], tasks),
    }
    names["remote"] = lambda **_: lambda work: SimpleNamespace(remote=lambda *_: "a task")
    fake = SimpleNamespace(**names, exceptions=SimpleNamespace(RayError=GetTimeoutError), cancel=nothing)
    in_place_of_ray(fake, monkeypatch)
    with pytest.raises(
        ExpotionError, match=r"--ray local: a Ray that works .* no worker for a task .* in 120 s; work"
    ):
        list(workers.spread(print, ["a"], ray="local"))
    assert waited[0] == workers.SILENT_S == 60


@pytest.mark.parametrize("failures", [1, 2])
def test_a_ray_that_does_not_start_in_time_is_started_once_more(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def init(address: str, **_: object) -> None:
        started.append(address)
        if len(started) <= failures:
            raise Exception("The current node timed out during startup. ..")

    names: dict[str, Any] = {"init": init, "shutdown": lambda: None, "is_initialized": bool}
    fake = SimpleNamespace(**names, exceptions=SimpleNamespace(RayError=KeyError))
    in_place_of_ray(fake, monkeypatch)
    for name, _ in workers._PATIENCE:
        monkeypatch.setenv(name, "")  # restored at the end
        monkeypatch.delenv(name)
    told = "a Ray that starts here, got The current node timed out during startup"
    expected = contextlib.nullcontext() if failures == 1 else pytest.raises(ExpotionError, match=told)
    with expected, workers.connected("local", cpus=1):
        pass
    assert started == ["local"] * 2
    assert all(os.environ[name] == value for name, value in workers._PATIENCE)


@pytest.mark.slow
@pytest.mark.timeout(600)  # Ray starts slowly where a machine is busy; one that hangs is named after three minutes
def test_ray_with_a_long_folder_and_a_worker_that_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    long = tmp_path / ("x" * 82)
    long.mkdir()
    code = """
import errands
from expotion.workers import spread
done = dict(spread(errands.errand, ["a", "kill"], workers=2, ray="local"))
for index, result in sorted(done.items(), key=lambda pair: pair[0]):
    print(index, result)
"""
    env = {**os.environ, "TMPDIR": str(long), "PYTHONPATH": str(Path(errands.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.splitlines() == [
        "0 a",
        "1 the process died (killed, or ended by a fault): it may have run out of memory",
    ]
    assert (done.returncode, done.stderr) == (0, "")
