"""A recipe from end to end: what it leaves, how it goes on, what it refuses."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from expotion import machine
from expotion.cli.main import run
from expotion.run import generation as generation_stage
from expotion.run import stages
from expotion.train import checkpoints
from expotion.train.loop import Loop

Run = Callable[..., int]
Results = Callable[[Path], dict[str, bytes]]
Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
CONDITIONS = [
    "text_only",
    "glow",
    "sway",
    "glow+sway",
    "shuffled",
    "lenders_truth",
    "codec_ceiling",
    "ground_truth",
]


def read_metrics(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def read_per_clip(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics_per_clip.json").read_text())
    return found


# ------------------------------------------------------------------------------------------ what it leaves


def test_the_run_folder_is_complete(finished: Path, leftovers: Callable[[Path], list[str]]) -> None:
    for name in (
        "README.md",
        "recipe.yaml",
        "run.json",
        "report.html",
        "metrics.json",
        "metrics_per_clip.json",
        "comparisons.json",
        "training.jsonl",
        "log.txt",
        "adaptor/adaptor.safetensors",
        "adaptor/adaptor.json",
        "adaptor/README.md",
        "checkpoints/step_000004/tensors.safetensors",
        "samples/lamp-100.mp4",
    ):
        assert (finished / name).is_file(), name
    assert leftovers(finished) == []
    state = json.loads((finished / "run.json").read_text())
    assert all(stage["done"] for stage in state["stages"].values())
    assert list(state["stages"]) == ["clips", "training", "generation", "evaluation", "report"]
    assert len((finished / "training.jsonl").read_text().splitlines()) == 4


def test_metrics_have_conditions_at_the_top_and_intervals_below(finished: Path) -> None:
    metrics = read_metrics(finished)
    assert list(metrics) == CONDITIONS
    for condition, row in metrics.items():
        assert set(row) == {"loudness"}, condition
        value = row["loudness"]
        assert set(value) == {"mean", "ci_low", "ci_high", "n"}
        assert value["n"] == 2
        assert value["ci_low"] <= value["mean"] <= value["ci_high"]


def test_every_sound_is_as_long_as_its_clip_and_finite(finished: Path) -> None:
    wavs = list(finished.glob("samples/*/*.wav"))
    assert len(wavs) == 2 * 6
    for path in wavs:
        samples, rate_hz = soundfile.read(path)
        assert (len(samples), rate_hz) == (32_000, 32_000)
        assert np.isfinite(samples).all()
    codes = np.load(finished / "samples" / "glow+sway" / "lamp-100.codes.npy")
    assert codes.shape == (4, 50)
    assert codes.min() >= 0 and codes.max() < 16


def test_controls_change_the_music(finished: Path) -> None:
    def codes(condition: str) -> np.ndarray:
        return np.load(finished / "samples" / condition / "lamp-100.codes.npy")

    assert not np.array_equal(codes("glow+sway"), codes("text_only"))
    assert not np.array_equal(codes("glow+sway"), codes("shuffled"))


def test_a_recipe_without_conditions_trains_nothing(run_lamps: Run, tmp_path: Path) -> None:
    sets = ("conditions=[]", "train.steps=0", "data.test_clips=1", "data.clip_s=0.4", "device=cuda")
    assert run_lamps(tmp_path / "run", *sets) == 0
    assert "device cuda is not used: a run computes on the processor" in (tmp_path / "run/log.txt").read_text()
    assert list(read_metrics(tmp_path / "run")) == ["text_only", "codec_ceiling", "ground_truth"]
    assert not (tmp_path / "run" / "adaptor").exists()
    assert (tmp_path / "run" / "report.html").is_file()


def test_one_condition_one_test_clip_and_windows(run_lamps: Run, tmp_path: Path) -> None:
    """A clip of two and a half training windows; with one clip there is no other to shuffle with."""
    one = 'conditions=[{"name": "glow", "encoder": "glow", "rank": 2}]'
    folder = tmp_path / "run"
    more = ("evaluate.control_alone=true", "evaluate.probes=2", "data.clip_s=0.4", "data.test_s=1.0")
    assert run_lamps(folder, one, "train.steps=1", "data.test_clips=1", *more) == 0
    metrics = read_metrics(folder)
    alone, bounds = ["fader_on_frozen", "clicks_on_frozen"], ["codec_ceiling", "ground_truth"]
    probe = "probe_other_lamps"
    assert list(metrics) == ["text_only", "glow", "shuffled", "lenders_truth", *alone, *bounds, probe]
    assert [metrics[row]["nats_per_code"]["n"] for row in metrics] == [1, 1, 0, 0, 0, 0, 0, 1, 2]
    assert all(metrics[row]["loudness"]["n"] == 1 for row in alone), "a readout of clips without a beat is none"
    assert list(read_per_clip(folder)[probe]) == ["lamp-200", "lamp-201"]
    nothing = {"mean": None, "ci_low": None, "ci_high": None, "n": 0}
    assert metrics["shuffled"]["loudness"] == nothing
    for condition in ("text_only", "glow", "codec_ceiling"):
        samples, _ = soundfile.read(folder / "samples" / condition / "lamp-100.wav")
        assert len(samples) == 32_000
    assert np.load(folder / "samples" / "glow" / "lamp-100.codes.npy").shape == (4, 50)


# -------------------------------------------------------------------------------------------- how it goes on


def raise_at(patch: Patch, owner: Any, name: str, error: BaseException, call: int = 1) -> None:
    """Let the `call`-th call of a function raise, once."""
    real, calls = getattr(owner, name), [0]

    def counted(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise error
        return real(*arguments, **named)

    patch.setattr(owner, name, counted)


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    run_less: Run, finished_less: Path, results: Results, tmp_path: Path, capsys: Capture
) -> None:
    """One run that is interrupted in every place, and goes on each time from where it was."""
    folder = tmp_path / "run"
    places: list[tuple[Any, str, int]] = [
        (Loop, "step", 4),  # between two steps, of which three are done
        (Loop, "_update_average", 1),  # inside the fourth
        (stages, "save_adaptor", 1),
        (generation_stage, "run_job", 3),
        (stages, "evaluate", 1),
        (stages, "write_run_report", 1),
    ]
    for n, (owner, name, call) in enumerate(places):
        with pytest.MonkeyPatch.context() as patch:
            raise_at(patch, owner, name, KeyboardInterrupt(), call)
            assert (run_less(folder) if n == 0 else run(["recipe", "run", "--resume", str(folder)])) == 130, name
        assert f"expotion recipe run --resume {folder}" in capsys.readouterr().err
    assert run(["recipe", "run", "--resume", str(folder)]) == 0
    assert results(folder) == results(finished_less)
    assert (folder / "metrics.json").read_bytes() == (finished_less / "metrics.json").read_bytes()
    records = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [0, 1, 2, 3]


def test_a_run_goes_on_with_another_number_of_workers(copy_of_less: Path, capsys: Capture) -> None:
    """Those of now share out the batches of then, so that the results stay."""

    def with_(*options: str) -> tuple[int | None, int | None]:
        assert run(["recipe", "run", "--resume", str(copy_of_less), *options]) == 0
        recipe = yaml.safe_load((copy_of_less / "recipe.yaml").read_text())
        return recipe["train"]["workers"], recipe["cluster"]["workers"]

    assert with_("--workers", "2") == (0, 2)
    assert with_() == (0, 2)
    assert with_("--workers", "0") == (0, None)
    assert run(["recipe", "run", "--resume", str(copy_of_less), "--workers", "2", "--set", "train.steps=9"]) != 0
    assert "a recipe with other settings" in capsys.readouterr().err


def test_a_finished_run_is_left_as_it_is(run_less: Run, copy_of_less: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        changing = {"run.json", "log.txt"}
        files = [p for p in copy_of_less.rglob("*") if p.is_file() and p.name not in changing]
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}

    before = state()
    assert run_less(copy_of_less) == 0
    assert state() == before


def test_what_a_killed_process_left_half_written_is_removed(run_less: Run, copy_of_less: Path) -> None:
    for name in (".1a2b.part", ".1a2b.old", ".adaptor.x1"):
        (copy_of_less / name).mkdir()
        (copy_of_less / name / "adaptor.json").write_text("{")
    (copy_of_less / "samples" / ".3c4d.part.wav").write_bytes(b"half")
    assert run_less(copy_of_less) == 0
    assert not [path for path in copy_of_less.rglob(".*")]


def test_what_was_made_with_other_weights_is_made_again(
    run_less: Run, copy_of_less: Path, finished_less: Path, results: Results
) -> None:
    path = copy_of_less / "run.json"
    state = json.loads(path.read_text())
    for stage in state["stages"].values():
        stage["key"] = "of other weights"
    path.write_text(json.dumps(state))
    victim = copy_of_less / "samples" / "glow" / "lamp-100.wav"
    victim.write_bytes(b"old")
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, generation_stage, "run_job", KeyboardInterrupt())
        assert run_less(copy_of_less) == 130
    assert run_less(copy_of_less) == 0
    assert results(copy_of_less) == results(finished_less)


def test_a_run_goes_on_in_what_auto_stood_for(run_lamps: Run, copy_of_finished: Path) -> None:
    path = copy_of_finished / "run.json"
    state = json.loads(path.read_text())
    assert {use: one["precision"] for use, one in state["auto"]["cpu"].items()} == dict.fromkeys(
        ("codec", "encoders", "training"), "fp32"
    )
    state["auto"]["cpu"]["training"] = {"precision": "bf16"}
    state["stages"]["training"]["key"] = "of other weights"
    path.write_text(json.dumps(state))
    seen: list[str] = []

    def stop(*arguments: Any, **named: Any) -> None:
        seen.append(machine.auto_precision())
        raise KeyboardInterrupt

    machine.forget()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stages, "train_adaptor", stop)
            assert run_lamps(copy_of_finished) == 130
        assert seen == ["bf16"]
        assert json.loads(path.read_text())["auto"] == state["auto"]
    finally:
        machine.forget()


def test_a_batch_that_fails_is_listed_and_made_by_the_next_run(
    run_less: Run, finished_less: Path, results: Results, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, generation_stage, "run_job", RuntimeError("out of [memory]"))
        assert run_less(folder) == 0
    assert "failed lamp-100: glow: out of [memory]" in capsys.readouterr().out
    assert read_metrics(folder)["glow"]["loudness"]["n"] == 0
    assert read_metrics(folder)["sway"]["loudness"]["n"] == 2
    assert "out of [memory]" in (folder / "report.html").read_text()
    assert run_less(folder) == 0
    assert results(folder) == results(finished_less)
    assert read_metrics(folder) == read_metrics(finished_less)


def test_generation_that_fails_everywhere_ends_the_run(run_less: Run, tmp_path: Path, capsys: Capture) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no such instruction")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation_stage, "run_job", fail)
        assert run_less(tmp_path / "run", "train.steps=1") == 1
    assert "no such instruction" in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_clip_that_no_encoder_can_read_is_listed(run_less: Run, tmp_path: Path, capsys: Capture) -> None:
    failing = "conditions[glow].options.fail_on=lamp-101"
    assert run_less(tmp_path / "run", failing, "train.steps=1") == 0
    assert "failed lamp-101: glow: RuntimeError: the lens cap [is] on" in capsys.readouterr().out
    assert read_metrics(tmp_path / "run")["sway"]["loudness"]["n"] == 1


# ------------------------------------------------------------------------------------------- what it refuses


def test_another_recipe_may_not_use_the_folder(run_less: Run, copy_of_less: Path, capsys: Capture) -> None:
    before = (copy_of_less / "run.json").read_bytes()
    assert run_less(copy_of_less, "train.steps=5") == 1
    error = capsys.readouterr().err
    assert "the same recipe that this run was started with" in error and "--out" in error
    assert (copy_of_less / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 99}', "a run folder of format 1, got format 99"),
        ("[]", "a run folder of format 1, got format list"),
        ('{"format": 1}', "the fields"),
        ('{"format": 1, "recipe', "a readable state file"),
        ("", "a readable state file"),
        ("\x80", "a readable state file"),
    ],
)
def test_a_state_that_cannot_be_read(
    content: str, message: str, run_less: Run, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "run.json").write_bytes(content.encode("latin-1"))
    assert run_less(tmp_path) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "run.json") in error
    assert message in error and "new folder" in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_with_other_files_is_not_written_to(run_less: Run, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run_less(tmp_path) == 1
    assert "a folder with other files; give another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder(run_less: Run, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "run").write_text("a file")
    assert run_less(tmp_path / "run") == 1
    assert "run: a folder that can be written to, got file exists" in capsys.readouterr().err.lower()


# ------------------------------------------------------------------------------------------------ a full disk


def fill_disk_for(patch: Patch, ending: str) -> None:
    """No file whose path ends so can be put into place."""
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if str(target).endswith(ending):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)

    patch.setattr(os, "replace", replace)


ENDINGS = (
    "run.json",
    "recipe.yaml",
    "training.jsonl",
    "codes.npy",
    "glow/lamp-101.wav",
    "metrics.json",
    ".mp4",
    ".html",
)
"""Files of a run, one of each kind, in the order in which they are written."""


def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_later(
    run_less: Run,
    finished_less: Path,
    results: Results,
    leftovers: Callable[[Path], list[str]],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    """A disk that fills up before each kind of file; every start makes what the one before could not write."""
    folder = tmp_path / "run"
    for ending in ENDINGS:
        with pytest.MonkeyPatch.context() as patch:
            fill_disk_for(patch, ending)
            assert run_less(folder) == 1, ending
        error = capsys.readouterr().err
        assert error.count("No space left on device") == 1, ending
        assert ending in error and "Traceback" not in error
        assert leftovers(folder) == [], ending
        assert not [path for path in folder.rglob("*") if str(path).endswith(ending)], ending
    assert run_less(folder) == 0
    assert results(folder) == results(finished_less)
    assert (folder / "recipe.yaml").is_file()


def test_a_disk_that_fills_up_while_the_adaptor_is_written(
    run_less: Run,
    finished_less: Path,
    results: Results,
    leftovers: Callable[[Path], list[str]],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    from expotion.adaptor import checkpoint as adaptor_files

    full = OSError(errno.ENOSPC, "No space left on device")
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, adaptor_files, "_card", full)
        assert run_less(folder) == 1
    error = capsys.readouterr().err
    assert error.count("No space left on device") == 1 and "Traceback" not in error
    assert leftovers(folder) == []
    assert run_less(folder) == 0
    assert results(folder) == results(finished_less)


def test_a_disk_without_room_for_a_checkpoint_is_named_and_training_goes_on(
    run_less: Run,
    finished_less: Path,
    results: Results,
    leftovers: Callable[[Path], list[str]],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, checkpoints, "to_bytes", full, call=1)
        assert run_less(folder) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "training goes on without a checkpoint of step 2" in told and "No space left on device" in told
    assert leftovers(folder) == []
    assert results(folder) == results(finished_less)


def test_a_cache_that_cannot_be_written_does_not_stop_a_run(
    run_less: Run, finished_less: Path, results: Results, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    fill_disk_for(monkeypatch, ".safetensors")
    assert run_less(tmp_path / "run") == 0
    assert "are not kept" in (tmp_path / "run" / "log.txt").read_text()
    assert results(tmp_path / "run") == results(finished_less)
