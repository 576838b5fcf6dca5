"""Which engine and which mode `auto` stands for: by each engine's own step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from expotion import machine, plugins
from expotion.contracts import EngineSpec, Mode, Probed
from expotion.errors import ExpotionError
from expotion.machine import probe as products
from expotion.musicgen import engine
from expotion.musicgen.engine import probe
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.engine.weights import int8_fits

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def undecided(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(machine.AUTO)
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    machine.forget()
    yield
    machine.forget()


def spec(name: str, priority: int, error: float, bf16: tuple[float, float, float], asked: list[str]) -> EngineSpec:
    def step(modes: Any, device: torch.device) -> dict[Mode, Probed]:
        asked.append(name)
        return {
            "fp32": Probed((1.0, 1.0, 1.0), error),
            "bf16": Probed(bf16, 0.01),
            "int8": Probed((0.1,) * 3, 0.01),
        }

    def build(lm: Any, mode: Mode) -> Any:
        return SimpleNamespace(name=name, mode=mode)

    return EngineSpec(name, "", lambda mode, device: True, build, priority, step)


def installed(monkeypatch: pytest.MonkeyPatch, *specs: EngineSpec) -> None:
    table = {one.name: plugins.Offer(one, "some", "1.0") for one in specs}
    registry = plugins.Registry((), {kind: table if kind == "engine" else {} for kind in plugins.KINDS})
    monkeypatch.setattr(plugins, "discover", lambda: registry)


def test_auto_is_the_faster_mode_of_the_best_engine_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, asked = SimpleNamespace(device=CPU), []
    half, same = (0.5, 0.5, 0.5), (1.0, 0.5, 0.5)
    installed(monkeypatch, spec("low", 1, 0.0, half, asked), spec("high", 2, 0.0, half, asked))
    assert vars(engine.prepare(lm)) == {"name": "high", "mode": "bf16"}  # int8 is faster: by name only
    assert machine.choice()["cpu"]["generation"] == {"precision": "bf16", "engine": "high"}
    machine.forget()
    installed(monkeypatch, spec("low", 1, 0.0, same, asked), spec("broken", 2, 0.9, half, asked))
    assert vars(engine.prepare(lm)) == {"name": "low", "mode": "fp32"}
    machine.forget()
    engine.prepare(lm)
    assert asked == ["high", "broken", "low"]  # what was measured is kept
    assert vars(engine.prepare(lm, "bf16")) == {"name": "broken", "mode": "bf16"}  # by name nothing is asked
    machine.forget()
    installed(monkeypatch, spec("broken", 2, float("nan"), half, asked))
    with pytest.raises(ExpotionError, match="float32 is right"):
        engine.prepare(lm)


def test_an_engine_of_before_is_judged_by_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    old = dataclasses.replace(spec("old", 1, 0.0, (1.0,) * 3, []), probe=None)
    found = {"fp32": Probed((1.0,) * 3, 0.0), "bf16": Probed((0.5,) * 3, 0.003)}
    monkeypatch.setattr(products, "products", lambda device: {"two rows": found})
    installed(monkeypatch, old)
    assert engine.choose(CPU) == (old, "bf16")


def test_a_host_without_the_chosen_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    installed(monkeypatch, spec("other", 1, 0.0, (0.5, 0.5, 0.5), asked))
    machine.adopt({"cpu": {"generation": {"precision": "bf16", "engine": "fused"}}}, handed=True)
    with pytest.raises(ExpotionError, match=r"host .*the engine 'fused' in bf16.*none that can run"):
        engine.choose(CPU)


def test_a_host_on_which_the_chosen_engine_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, spec("fused", 1, 0.8, (0.5, 0.5, 0.5), []))
    machine.adopt({"cpu": {"generation": {"precision": "fp32", "engine": "fused"}}}, handed=True)
    with pytest.raises(ExpotionError, match=r"host .*the engine 'fused' in fp32.*error of 0\.8"):
        engine.choose(CPU)


@pytest.mark.parametrize("name", ["plain", "fused"])
def test_engines_probe_their_own_step(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(probe, "GEOMETRY", dataclasses.replace(probe.GEOMETRY, width=64, ffn_width=128, card=50))
    monkeypatch.setattr(products, "LEAST_BYTES", 2**16)
    monkeypatch.setattr(products, "MOST_BYTES", 2**17)
    found = engine.probed(plugins.discover().offers("engine")[name].spec, CPU)
    assert found["fp32"].error < 1e-5 < found["bf16"].error < engine.RIGHT
    assert all(len(one.seconds) == products.TRIES and min(one.seconds) > 0 for one in found.values())
    assert found["int8"].error < engine.RIGHT if "int8" in found else not int8_fits(CPU)


def test_an_engine_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "GEOMETRY", dataclasses.replace(probe.GEOMETRY, width=64, ffn_width=128, card=50))
    monkeypatch.setattr(products, "MOST_BYTES", 2**17)
    monkeypatch.setattr(products, "LEAST_BYTES", 2**16)

    class Wrong(Engine):
        def embed(self, tokens: torch.Tensor) -> torch.Tensor:
            return super().embed(tokens.flip(1))

    found = probe.probe_steps(Wrong, ["fp32"], CPU)
    assert found["fp32"].error > engine.RIGHT


def test_compiling_ahead_is_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    done = threading.Event()
    one = dataclasses.replace(spec("fused", 1, 0.0, (0.5,) * 3, []), compile=done.set)
    installed(monkeypatch, one)
    engine.compile_ahead()
    assert done.wait(5)
