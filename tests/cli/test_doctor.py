"""`expotion doctor`: a page for a bug report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from expotion import machine
from expotion.cli.main import run
from expotion.contracts import Probed
from expotion.machine import probe
from expotion.musicgen import engine


@pytest.fixture
def undecided(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(machine.AUTO)
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    machine.forget()
    yield
    machine.forget()


def test_it_names_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    machine.forget()
    assert run(["doctor"]) == 0
    told = capsys.readouterr().out
    for wanted in (
        "expotion 0.",
        "torch 2.",
        "cores for us of",
        "memory: ",
        "GPU: ",
        "cache: ",
        "training on cpu: fp32: EXPOTION_AUTO=fp32",
        "generation on cpu: fp32",
        "ray ",
        "expotion-fast",
        ", ok",
    ):
        assert wanted in told, wanted


@pytest.mark.usefixtures("undecided")
def test_it_measures_anew_when_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    speed, asked = [0.9], []

    def found() -> dict[str, Probed]:
        asked.append(speed[0])
        return {"fp32": Probed((1.0,) * 3, 0.0), "bf16": Probed((speed[0],) * 3, 0.002)}

    monkeypatch.setattr(probe, "products", lambda device: dict.fromkeys(probe.RIGHT, found()))
    monkeypatch.setattr("expotion.musicgen.engine.probe.probe_steps", lambda build, modes, device: found())
    assert run(["doctor"]) == 0
    assert "generation on cpu: fp32 (fused): fused: bf16 is only 1.11 to 1.11 times" in capsys.readouterr().out
    speed[0], n_asked = 0.25, len(asked)
    machine.forget()
    assert run(["doctor"]) == 0
    assert len(asked) == n_asked and "training on cpu: fp32: square" in capsys.readouterr().out
    machine.forget()
    assert run(["doctor", "--probe"]) == 0
    told = capsys.readouterr().out
    assert "generation on cpu: bf16 (fused): fused: bf16 is 4.00 to 4.00 times" in told
    assert "encoders on cpu: bf16: square: bf16 is 4.00" in told
    assert "codec on cpu: fp32: convolution: bf16 is wrong here: its error is 0.002" in told
    assert engine.choose(__import__("torch").device("cpu"))[1] == "bf16"
