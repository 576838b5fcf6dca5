"""Items over processes: what dies or fails is one item, and nothing is left running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import errands
import pytest

from expotion import machine, workers
from expotion.errors import ExpotionError
from expotion.workers import WorkerDiedError, n_workers, spread


@pytest.fixture(autouse=True)
def _nothing_decided() -> Iterator[None]:
    """What other tests decided would travel to each worker, which imports numpy to read it."""
    machine.forget()
    yield


def test_here_one_failure_does_not_stop_the_others() -> None:
    results = list(spread(errands.errand, ["a", "raise", "b"]))
    assert [index for index, _ in results] == [0, 1, 2]
    assert results[0][1] == "a" and results[2][1] == "b"
    assert isinstance(results[1][1], ValueError)
    with pytest.raises(ValueError, match="no models"):
        list(spread(errands.count, [1], build=errands.unopened))
    assert list(spread(errands.count, [], build=errands.unopened, workers=2)) == []


def test_each_worker_builds_once_and_all_items_come() -> None:
    done = dict(spread(errands.count, range(6), build=errands.opened, workers=2))
    assert {index: result[0] for index, result in done.items()} == {i: i * i for i in range(6)}  # type: ignore[index]
    used: dict[int, list[int]] = {}
    for _, pid, n in done.values():  # type: ignore[misc]
        used.setdefault(pid, []).append(n)
    assert len(used) == 2 and os.getpid() not in used
    assert all(sorted(counts) == list(range(1, len(counts) + 1)) for counts in used.values())


def test_what_dies_fails_or_does_not_travel_is_one_item() -> None:
    items = ["a", "kill", "raise", "b", "exit", "stubborn", "unpicklable", lambda: None, "c"]
    done = dict(spread(errands.errand, items, workers=2))
    assert [done[i] for i in (0, 3, 8)] == ["a", "b", "c"]
    assert isinstance(done[1], WorkerDiedError)
    assert str(done[1]) == "the process died (signal 9): it may have run out of memory"
    assert "exit code 3" in str(done[4])
    assert isinstance(done[2], ValueError) and str(done[2]) == "no good"
    assert 'case "raise"' not in str(done[2]) and "in errand" in done[2].__notes__[0]
    assert str(done[5]) == "StubbornError: does not travel"
    assert all(re.search("pickle|local object", str(done[i])) for i in (6, 7))  # in the words of either Python


def test_one_worker_is_a_process_of_its_own() -> None:
    done = dict(spread(errands.errand, ["a", "kill", "leave", "b"], workers=1))
    assert (done[0], done[3]) == ("a", "b")
    assert "signal 9" in str(done[1])
    assert str(done[2]) == "it ended with SystemExit: 3"
    assert str(next(spread(errands.errand, ["leave"]))[1]) == "it ended with SystemExit: 3"


def test_deaths_in_a_row_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers.DEATHS_IN_A_ROW == 3
    monkeypatch.setattr(workers, "DEATHS_IN_A_ROW", 2)
    done = dict(spread(errands.errand, ["kill"] * 4 + ["a"], workers=2))
    told = [str(done[i]) for i in range(5)]
    assert sum("signal 9" in text for text in told) == 3  # one was under way
    assert "not tried: 2 processes in a row have died" in told[4]
    fresh = dict(spread(errands.errand, ["kill"] * 2 + ["a"], workers=1, fresh=True))
    assert fresh[2] == "a"


def test_a_death_is_tried_again_where_asked(tmp_path: Path) -> None:
    items = [("twice", str(tmp_path / "a")), "b", ("once", str(tmp_path / "c"))]
    done = dict(spread(errands.errand, items, workers=2, tries=2))
    assert done[0] == items[0] and done[1] == "b"
    assert isinstance(done[2], FileExistsError)  # its second try found the mark of the first


def test_fresh_processes_and_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPOTION_WORKERS", raising=False)
    pids = {result for _, result in spread(errands.errand, ["pid"] * 2, workers=1, fresh=True)}
    assert len(pids) == 2
    assert dict(spread(errands.errand, ["threads"], workers=2, threads=3)) == {0: ("3", "3")}
    assert "EXPOTION_WORKERS" not in os.environ


def test_a_builder_that_fails_is_raised() -> None:
    with pytest.raises(ValueError, match="no models here"):
        list(spread(errands.count, [1, 2, 3], build=errands.unopened, workers=2))


def test_closing_the_iterator_interrupts_the_workers(tmp_path: Path) -> None:
    items = ["a", ("sleep", 60, str(tmp_path / "started"), str(tmp_path / "tidied"))]
    results = spread(errands.errand, items, workers=2)
    assert next(results) == (0, "a")
    _until((tmp_path / "started").exists)
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 5.0
    assert (tmp_path / "tidied").exists()
    assert _gone(tmp_path / "started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_is_stopped(tmp_path: Path, number: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, errands.__file__, str(tmp_path)], stderr=subprocess.PIPE, start_new_session=True
    )
    started = [tmp_path / f"{i}.started" for i in range(2)]
    try:
        _until(lambda: all(path.exists() and path.read_text() for path in started))
        os.killpg(parent.pid, number)  # as a terminal does
        _, error = parent.communicate(timeout=20)
    finally:
        parent.kill()
    assert parent.returncode == -number
    assert error.decode().count("Traceback") == (1 if number == signal.SIGINT else 0)  # none of a worker
    _until(lambda: all(_gone(path) for path in started))
    assert all(path.with_suffix(".tidied").exists() for path in started)


def test_the_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPOTION_WORKERS", raising=False)
    monkeypatch.setattr(workers.machine, "cores", lambda: 4)
    assert [n_workers(n) for n in (0, 1, 2, 3, 9)] == [0, 0, 2, 3, 4]
    assert [n_workers(n, items_per_worker=8) for n in (1, 2, 15, 16, 31, 99)] == [0, 1, 1, 2, 3, 4]
    monkeypatch.setenv("EXPOTION_WORKERS", "2")
    assert n_workers(9) == 2
    monkeypatch.setenv("EXPOTION_WORKERS", "1")
    assert n_workers(9) == 0
    monkeypatch.setenv("EXPOTION_WORKERS", "none")
    assert n_workers(9) == 4


def test_no_ray_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExpotionError, match=r"--ray 127.0.0.1:1: a Ray cluster that answers, got .*refused"):
        list(spread(errands.errand, ["a"], ray="127.0.0.1:1"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExpotionError, match=r"--ray: Ray .*expotion\[ray\]"):
        list(spread(errands.errand, ["a"], ray="local"))


@pytest.fixture(scope="module")
def started_ray() -> Iterator[None]:
    """A Ray that `local` finds started; its workers find the errands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(errands.__file__).parent), prepend=os.pathsep)
        with workers.connected("local", cpus=2):
            yield


@pytest.mark.slow
@pytest.mark.usefixtures("started_ray")
def test_ray_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Three deaths may come in a row here, by chance of which worker starts first; giving up is tested above.
    monkeypatch.setattr(workers, "DEATHS_IN_A_ROW", 10)
    items = ["a", "kill", "raise", "b", "stubborn", "unpicklable", ("twice", str(tmp_path / "a")), "threads"]
    done = dict(spread(errands.errand, items, workers=2, ray="local", tries=2))
    assert [done[i] for i in (0, 3, 6)] == ["a", "b", items[6]]
    assert isinstance(done[1], WorkerDiedError)
    assert isinstance(done[2], ValueError) and str(done[2]) == "no good"
    assert str(done[4]) == "StubbornError: does not travel"
    assert "pickle" in str(done[5])
    assert done[7] == ("1", "1")
    with pytest.raises(ValueError, match="no models here"):
        list(spread(errands.count, [1, 2], build=errands.unopened, workers=2, ray="local"))


@pytest.mark.slow
@pytest.mark.usefixtures("started_ray")
def test_closing_the_iterator_interrupts_what_ray_does(tmp_path: Path) -> None:
    items = ["a", ("sleep", 60, str(tmp_path / "started"), str(tmp_path / "tidied"))]
    results = spread(errands.errand, items, workers=2, ray="local", grace_s=20.0)
    assert next(results) == (0, "a")
    _until((tmp_path / "started").exists)
    results.close()  # type: ignore[attr-defined]
    assert (tmp_path / "tidied").exists()


def test_processes_and_ray_are_started_in_one_place_only() -> None:
    """Ray Train's launcher starts its own workers on the Ray that was started there."""
    root = Path(workers.__file__).parents[3]
    words = ("ProcessPoolExecutor", "ray.init", "import multiprocessing", "get_context", "Process(", "Pool(")
    found = [
        f"{path.relative_to(root)}: {word}"
        for folder in ("core/src", "extensions")
        for path in sorted((root / folder).rglob("*.py"))
        if path != Path(workers.__file__) and path.parts[-2:] != ("matrix", "job.py")
        for word in words
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def _gone(written: Path) -> bool:
    try:
        os.kill(int(written.read_text()), 0)
    except ProcessLookupError:
        return True
    return False
