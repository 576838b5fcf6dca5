"""What `auto` stands for: by measurement, decided once, handed on, never wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from errands import told

from expotion import machine
from expotion.contracts import Mode, Probed
from expotion.errors import ExpotionError
from expotion.machine import auto, probe
from expotion.workers import spread

Found = dict[str, dict[Mode, Probed]]
pytestmark = pytest.mark.usefixtures("undecided")


def found(times: tuple[float, ...] = (2.0, 2.0, 2.0), error: float = 0.003, convolution: float = 0.003) -> Found:
    """A machine whose bf16 is so many times as fast as fp32 in each try."""
    fp32 = Probed((1.0,) * len(times), 0.0)
    fast = tuple(1.0 / each for each in times)
    return {
        "square": {"fp32": fp32, "bf16": Probed(fast, error)},
        "two rows": {"fp32": fp32, "bf16": Probed(fast, error)},
        "convolution": {"fp32": fp32, "bf16": Probed(fast, convolution)},
    }


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Found], list[str]]:
    """Let the probe find this; the list tells how often it was asked."""

    def let(what: Found) -> list[str]:
        asked: list[str] = []
        monkeypatch.setattr(probe, "products", lambda device: (asked.append(device), what)[1])
        return asked

    return let


@pytest.mark.parametrize(
    ("times", "error", "wanted"),
    [
        ((1.3, 2.0, 1.21), 0.003, "bf16"),
        ((1.3, 2.0, 1.19), 0.003, "fp32"),  # one try is not enough faster
        ((9.0, 9.0, 9.0), 0.03, "fp32"),  # fast and wrong
        ((9.0, 9.0, 9.0), float("nan"), "fp32"),
        ((), 0.003, "fp32"),  # hopeless on small numbers, never timed
    ],
)
def test_right_goes_before_fast(
    measured: Callable[[Found], list[str]], times: tuple[float, ...], error: float, wanted: str
) -> None:
    measured(found(times, error))
    assert machine.auto_precision() == machine.auto_precision(torch.device("cpu"), "encoders") == wanted
    assert machine.multiplies_bfloat16() == (wanted == "bf16")


def test_a_codec_takes_nothing_that_is_heard(measured: Callable[[Found], list[str]]) -> None:
    measured(found(convolution=0.003))
    assert machine.auto_precision("cpu", "codec") == "fp32"
    machine.forget()
    measured(found(convolution=0.0005))
    assert machine.auto_precision("cpu", "codec") == "fp32"  # the kept measurement says so
    assert machine.products(anew=True)["convolution"]["bf16"].error == 0.0005
    assert machine.auto_precision("cpu", "codec") == "fp32"  # and what is decided stays
    machine.forget()
    assert machine.auto_precision("cpu", "codec") == "bf16"


def test_it_is_measured_once_for_a_machine_and_its_software(
    measured: Callable[[Found], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = measured(found())
    for change in (lambda: None, lambda: monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "AVX2")):
        change()
        for _ in range(2):
            machine.forget()
            machine.decide()
    assert asked == ["cpu", "cpu"]
    for name, value in (("processor", lambda: "another"), ("cores", lambda: 77), ("quota", lambda: [1, 2])):
        monkeypatch.setattr(auto, name, value)
        machine.forget()
        machine.decide()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 13)
    machine.forget()
    machine.decide()
    assert len(asked) == 6


def test_where_nothing_can_be_written_every_command_measures(
    measured: Callable[[Found], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "file" / "below"))
    asked = measured(found())
    for _ in range(2):
        machine.forget()
        assert machine.auto_precision() == "bf16"
    assert len(asked) == 2


def test_a_damaged_measurement_is_made_again(measured: Callable[[Found], list[str]], tmp_path: Path) -> None:
    asked = measured(found())
    machine.decide()
    for text in ("{", '{"probed": {"square": 3}}', "[]"):
        for path in (tmp_path / "cache" / "machine").iterdir():
            path.write_text(text)
        machine.forget()
        assert machine.auto_precision() == "bf16"
    assert len(asked) == 4


def test_a_worker_is_told_and_does_not_measure(measured: Callable[[Found], list[str]]) -> None:
    asked = measured(found())
    machine.take("encoders", "cuda", machine.Chosen("bf16"))
    ((_, (theirs, encoders)),) = list(spread(told, [None], workers=2))
    assert not asked and encoders == "bf16"
    assert theirs == machine.choice() == {"cuda": {"encoders": {"precision": "bf16"}}}


def test_a_worker_that_was_not_told_names_its_host() -> None:
    machine.adopt({"cpu": {"training": {"precision": "fp32"}}}, handed=True)
    assert machine.auto_precision() == "fp32"
    with pytest.raises(ExpotionError, match=r"host .*: what auto means for encoders on cpu.*training on cpu"):
        machine.auto_precision("cpu", "encoders")


def test_a_host_on_which_it_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "error_of", lambda precision, kind: 0.9 if kind == "convolution" else 0.003)
    machine.adopt({"cpu": {"training": {"precision": "bf16"}, "codec": {"precision": "fp32"}}}, handed=True)
    with pytest.raises(ExpotionError, match=r"host .*bf16 products as near to fp32 as codec.*error of 0\.9"):
        machine.adopt({"cpu": {"codec": {"precision": "bf16"}}}, handed=True)


def test_it_can_be_fixed(measured: Callable[[Found], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measured(found())
    monkeypatch.setenv(machine.AUTO, "fp32")
    machine.decide()
    assert not asked and machine.choice()["cpu"]["training"] == {"precision": "fp32"}
    machine.forget()
    monkeypatch.setenv(machine.AUTO, "bf16")
    monkeypatch.setattr(probe, "error_of", lambda precision, kind: 0.9 if kind == "convolution" else 0.003)
    machine.decide()
    assert {use: one["precision"] for use, one in machine.choice()["cpu"].items()} == {
        "encoders": "bf16",
        "training": "bf16",
        "codec": "fp32",
    }
    machine.forget()
    monkeypatch.setenv(machine.AUTO, "int8")
    with pytest.raises(ExpotionError, match="fp32, bf16 or fp16"):
        machine.decide()


def test_other_devices_compute_in_fp32() -> None:
    assert machine.auto_precision("mps") == "fp32"


def test_a_gpu_without_bfloat16_takes_fp16() -> None:
    probed = {"fp32": Probed((1.0, 1.0, 1.0), 0.0), "fp16": Probed((0.2, 0.2, 0.2), 1e-4)}
    probed["bf16"] = Probed((), float("inf"))
    assert machine.best_of(probed, "cuda", 0.02).precision == "fp16"
    assert machine.best_of(probed, "cpu", 0.02).precision == "fp32"


# The probe itself, on small numbers: it measures, so nothing is said of how fast anything is.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SQUARE", 64)
    monkeypatch.setattr(probe, "WIDTH", 64)
    monkeypatch.setattr(probe, "LEAST_BYTES", 2**16)
    monkeypatch.setattr(probe, "MOST_BYTES", 2**17)


@pytest.mark.usefixtures("small")
def test_the_probe_times_and_compares() -> None:
    measured = probe.products()
    assert set(measured) == set(probe.RIGHT)
    for kind, modes in measured.items():
        assert modes["fp32"].error == 0.0 and len(modes["fp32"].seconds) == probe.TRIES, kind
        assert min(modes["fp32"].seconds) > 0.0
        assert modes["bf16"].error > 1e-4, kind  # rounding is seen
    assert measured["square"]["bf16"].error < probe.RIGHT["square"]
    assert json.loads(json.dumps(machine.choice())) == {}


@pytest.mark.usefixtures("small")
def test_a_wrong_path_is_found_by_comparing_with_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.nn.functional.conv1d

    def wrong(x: torch.Tensor, w: torch.Tensor, *, stride: int) -> torch.Tensor:
        return right(x, w, stride=stride) if x.dtype == torch.float32 else right(x, w.flip(1), stride=stride)

    monkeypatch.setattr(probe.functional, "conv1d", wrong)
    assert probe.products()["convolution"]["bf16"].error > 0.5
    assert probe.error_of("bf16", "convolution") > 0.5
    assert probe.error_of("bf16", "square") < 0.02


@pytest.mark.usefixtures("small")
def test_what_cannot_be_run_or_is_hopeless_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.bfloat16:
            raise RuntimeError("no kernel")
        return x @ w.T

    monkeypatch.setattr(probe.functional, "linear", refuse)
    square = probe.products()["square"]
    assert square["bf16"] == Probed((), float("inf"))
    monkeypatch.undo()
    monkeypatch.setattr(probe, "HOPELESS", 0.0)
    monkeypatch.setattr(probe, "HOPELESS_S", 0.0)
    assert all(not one.seconds for one in probe.products()["square"].values())
