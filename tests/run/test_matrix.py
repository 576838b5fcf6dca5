"""A matrix over the world of lamps: cells, failures, interruptions, the table, and rows from outside."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from expotion import contracts
from expotion.cli.main import run
from expotion.errors import Problem
from expotion.matrix import run as matrix_run
from expotion.matrix.declare import load_matrix
from expotion.matrix.folder import CellsFailed
from expotion.matrix.run import Job
from expotion.plugins import Registry
from expotion.video.sound_files import write_wav
from expotion.workers import WorkerDiedError

MATRIX = """
matrix:
  reference_row: frozen
  players: 1
  rows:
    glow: {labels: {control: glow}, conditions: [{name: glow, encoder: glow, rank: 2}]}
    both: {labels: {control: both}}
    broken: {labels: {control: broken}, train: {workers: 99}}
    frozen: {labels: {control: frozen}, conditions: [], train: {steps: 0}}
  published: {source: a paper about lamps, rows: {glow: {loudness: 0.5}, Sun: {loudness: 9}}}
"""


@pytest.fixture(scope="module")
def matrix_file(world: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "lamps.yaml"
    recipe = world.RECIPE.replace("bootstrap: 50}", "conditions: [all, shuffled]}").replace(
        "clip_s: 1.0", "clip_s: 0.2"
    )
    path.write_text(recipe + MATRIX)
    return path


@pytest.fixture(scope="module")
def registry(world: ModuleType, model: Path) -> Registry:
    """The lamps, and a metric that somebody else wrote, in a distribution of its own."""
    module = ModuleType("acme_metrics")
    spec = contracts.MetricSpec(
        "peak",
        "largest sample, by Acme",
        lambda: lambda scored: contracts.Score(float(np.abs(scored.samples).max())),
        higher_is_better=True,
    )
    module.expotion_metrics = contracts.hookimpl(lambda: [spec])  # type: ignore[attr-defined]
    module.expotion_metrics.__name__ = "expotion_metrics"  # type: ignore[attr-defined]
    point = SimpleNamespace(
        name="acme", dist=SimpleNamespace(name="acme-metrics", version="2.1"), load=lambda: module
    )
    found: Registry = world.registry_of(model, [point])
    return found


@pytest.fixture(autouse=True)
def _with_acme(registry: Registry, monkeypatch: pytest.MonkeyPatch, in_the_world_of_lamps: None) -> None:
    monkeypatch.setattr("expotion.plugins.discover", lambda: registry)


Start = Callable[..., int]


@pytest.fixture(scope="module")
def start(matrix_file: Path) -> Start:
    def command(out: Path, *sets: str) -> int:
        options = [part for one in sets for part in ("--set", one)]
        return run(["recipe", "run", str(matrix_file), "--out", str(out), *options])

    return command


@pytest.fixture(scope="module")
def made(start: Start, registry: Registry, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix that was run, with one cell that fails; not to be changed."""
    out = tmp_path_factory.mktemp("matrix") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expotion.plugins.discover", lambda: registry)
        patch.setenv("EXPOTION_WORKERS", "1")
        patch.setenv("EXPOTION_CACHE", str(cache))
        assert start(out, "evaluate.metrics=[loudness, peak]") == 1
    return out


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def rows_of(folder: Path) -> dict[str, Any]:
    return {row["name"]: row for row in results(folder)["rows"]}


def test_each_cell_is_an_ordinary_run_and_a_failed_one_stops_no_other(made: Path) -> None:
    for name in ("glow", "both", "frozen"):
        assert (made / "cells" / name / "report.html").is_file()
    states = json.loads((made / "matrix.json").read_text())["cells"]
    assert {name: state["state"] for name, state in states.items()} == {
        "glow": "done", "both": "done", "broken": "failed", "frozen": "done",
    }  # fmt: skip
    assert "at most one worker per training clip" in states["broken"]["error"]
    assert run(["recipe", "check", str(made / "cells" / "glow" / "recipe.yaml")]) == 0


def test_the_table_has_systems_controls_and_the_failure(made: Path) -> None:
    rows = rows_of(made)
    assert list(rows) == [
        "glow", "both", "broken", "frozen",
        "glow/shuffled", "both/shuffled", "ground_truth", "codec_ceiling", "silence",
    ]  # fmt: skip
    assert "train.workers" in rows["broken"]["error"] and rows["broken"]["clips"] == 0
    assert rows["frozen"]["role"] == "reference"
    assert rows["silence"]["cells"]["loudness"]["mean"] == 0.0
    truth = rows["ground_truth"]["cells"]["loudness"]
    own = json.loads((made / "cells" / "glow" / "metrics.json").read_text())["glow"]["loudness"]["mean"]
    assert rows["glow"]["cells"]["loudness"]["mean"] == pytest.approx(own)
    assert truth["n"] == 2 and truth["mean"] > 0.01
    assert rows["glow"]["cells"]["loudness"]["published"] == 0.5
    assert rows["glow"]["cells"]["loudness"]["difference"]["n"] == 2
    assert rows["glow"]["cells"]["loudness"]["against_shuffled"]["n"] == 2


def test_a_metric_of_another_distribution_is_in_every_form_of_the_table(made: Path) -> None:
    assert [metric["name"] for metric in results(made)["metrics"]] == ["loudness", "peak"]
    assert rows_of(made)["both"]["cells"]["peak"]["mean"] > 0
    for name in ("results.md", "results.tex", "results.csv", "report.html"):
        assert "peak" in (made / name).read_text(encoding="utf-8")
    versions = (made / "cells" / "both" / "recipe.yaml").read_text()
    assert "acme-metrics: '2.1'" in versions


def test_the_page_shows_rows_players_published_numbers_and_what_failed(made: Path) -> None:
    page = (made / "report.html").read_text(encoding="utf-8")
    assert "at most one worker per training clip" in page
    assert page.count("<audio") == 7  # rows with sounds, but silence
    assert "a paper about lamps" in page and "Sun" in page
    assert 'href="cells/glow/report.html"' in page
    assert "http://" not in page and "https://" not in page


def test_a_second_run_of_what_is_complete_only_prints(
    copied: Path, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = ("evaluate.metrics=[loudness, peak]", "matrix.exclude=[{row: broken}]")
    assert start(copied, *fewer) == 0
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*.*") if path.suffix in (".html", ".csv")}
    first = capsys.readouterr().out

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(matrix_run, "prepare", never)
    monkeypatch.setattr(matrix_run, "run_cell", never)
    monkeypatch.setattr("expotion.matrix.results.build_table", never)
    assert start(copied, *fewer) == 0
    second = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "3 cells, 3 done" in second
    table = second[second.index("control") :]
    assert table == first[first.index("control") :]


def test_a_rerun_does_only_what_failed(copied: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    original = matrix_run.run_cell

    def counted(job: Job, *rest: Any) -> None:
        ran.append(job.folder.name)
        original(job, *rest)

    monkeypatch.setattr(matrix_run, "run_cell", counted)
    assert start(copied, "evaluate.metrics=[loudness, peak]") == 1
    assert ran == ["broken"]


def test_rows_from_outside_are_measured_without_running_a_cell(
    copied: Path, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "human"
    folder.mkdir()
    write_wav(folder / "lamp-100.wav", np.full(44_100, 0.5, np.float32), 44_100)
    write_wav(folder / "stray.wav", np.zeros(10, np.float32), 44_100)
    monkeypatch.setattr(matrix_run, "prepare", lambda *args: pytest.fail("a cell was run"))
    settings = (
        "evaluate.metrics=[loudness, peak]",
        "matrix.exclude=[{row: broken}]",
        f"evaluate.outside.human={folder}",
    )
    assert start(copied, *settings) == 0
    human = rows_of(copied)["human"]
    assert human["role"] == "outside" and human["clips"] == 1
    assert human["cells"]["loudness"]["mean"] == pytest.approx(0.5, abs=0.02)
    notes = " ".join(results(copied)["notes"])
    assert "no sound for lamp-101" in notes and "stray.wav" in notes
    assert start(copied, *settings[:2], "evaluate.outside.ghost=/nowhere") == 2


def test_changed_cells_are_not_run_over_old_ones(
    copied: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(copied, "evaluate.metrics=[loudness, peak]", "train.steps=5") == 1
    said = capsys.readouterr().err
    assert "cells/glow" in said and "give another --out" in said
    assert start(Path(__file__).parent) == 1
    assert "a folder with other files" in capsys.readouterr().err


def test_an_interruption_can_be_resumed_by_its_folder(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    original, started = matrix_run.run_cell, list[Job]()

    def stopped(job: Job, *rest: Any) -> None:
        started.append(job)
        if len(started) == 2:
            raise KeyboardInterrupt
        original(job, *rest)

    monkeypatch.setattr(matrix_run, "run_cell", stopped)
    fewer = "matrix.exclude=[{row: [broken, both]}]"
    assert start(out, fewer) == 130
    said = capsys.readouterr()
    assert f"--resume {out}" in said.err.replace("\n", "")
    monkeypatch.setattr(matrix_run, "run_cell", original)
    assert run(["recipe", "run", "--resume", str(out)]) == 0
    assert "2 cells, 1 done" in capsys.readouterr().out
    assert set(rows_of(out)) >= {"glow", "frozen"}


def test_seeds_are_one_row(tmp_path: Path, start: Start) -> None:
    out = tmp_path / "out"
    code = start(
        out, "matrix.exclude=[{row: [broken, both, frozen]}]", "matrix.axes={seed: [1, 2]}",
        "matrix.reference_row=null", "matrix.players=0", "evaluate.conditions=[all]",
    )  # fmt: skip
    assert code == 0
    row = rows_of(out)["glow"]
    assert (row["seeds"], row["clips"]) == (2, 2)
    assert row["cells"]["loudness"]["n_seeds"] == 2
    both = [
        json.loads((out / "cells" / f"glow-seed_{seed}" / "metrics.json").read_text())["glow"] for seed in (1, 2)
    ]
    mean = np.mean([one["loudness"]["mean"] for one in both])
    assert row["cells"]["loudness"]["mean"] == pytest.approx(mean)


def test_the_plan_is_shown_before_anything_runs(matrix_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipe", "check", str(matrix_file)]) == 0
    said = capsys.readouterr().out
    assert "features of glow" in said and "glow, both" in said
    assert "4 cells in 4 rows; estimate:" in said and "compared with: frozen" in said


def no_registry() -> int:
    return 0


def test_processes_that_fail_or_die_are_failed_cells(
    tmp_path: Path, matrix_file: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given to processes travels; one fails in its own work, one dies (`tests/workers` starts them)."""
    matrix = load_matrix(matrix_file, registry=registry, sets=["matrix.exclude=[{row: [both, broken]}]"])
    assert matrix is not None

    def spread(work: Any, jobs: list[Job], **how: Any) -> Iterator[tuple[int, Exception]]:
        assert (how["workers"], how["fresh"], how["ray"]) == (2, True, None)
        yield 1, WorkerDiedError(Problem("the process died (signal 6)", "it may have run out of memory"))
        there, job = pickle.loads(pickle.dumps((work, jobs[0])))
        with pytest.raises(AttributeError) as raised:
            there(job)
        yield 0, raised.value

    monkeypatch.setattr(matrix_run, "spread", spread)
    monkeypatch.setattr(matrix_run, "prepare", lambda *_: None)
    monkeypatch.setattr(matrix_run, "write_table", lambda *_: None)
    with pytest.raises(CellsFailed) as raised:
        matrix_run.run_matrix(
            matrix=matrix, registry=registry, out_dir=tmp_path / "out", console=Console(quiet=True),
            parallel=2, open_registry=no_registry,  # type: ignore[arg-type]
        )  # fmt: skip
    died, failed = sorted(map(str, raised.value.problems), key=lambda problem: "AttributeError" in problem)
    assert "signal 6" in died and "AttributeError" in failed
    assert (tmp_path / "out" / "logs").is_dir()
