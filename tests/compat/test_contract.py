"""What plugins wrote against at version 1.2 of the contract is there: names, signatures, wheels."""

from __future__ import annotations

import inspect
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from expotion import contracts
from expotion.cli.main import run
from expotion.plugins import ENTRY_POINT_GROUP, discover

HERE = Path(__file__).parent
SAVED = HERE / "samples" / "landmarks"
AT_1_2: dict[str, list[str] | None] = json.loads((HERE / "contract.json").read_text(encoding="utf-8"))
"""`name` and `Class.member` -> the parameters as they were written; None for what cannot be called."""


def parameters(value: Any) -> list[str] | None:
    """Each parameter of something that can be called; classes are named as the contract exports them."""
    if not inspect.isclass(value) and not inspect.isfunction(value):
        return None
    return [
        re.sub(r" at 0x\w+|(?<=expotion\.contracts)\.\w+(?=\.\w)", "", str(one))
        for one in inspect.signature(value).parameters.values()
    ]


def now(name: str) -> Any:
    owner, _, member = name.partition(".")
    found = getattr(contracts, owner)
    return vars(found)[member] if member else found


@pytest.mark.parametrize("name", AT_1_2)
def test_a_name_takes_what_it_took(name: str) -> None:
    before = AT_1_2[name]
    today = parameters(now(name))  # `now` raises where it is gone
    assert (today is None) == (before is None)
    before, today = before or [], today or []
    assert today[: len(before)] == before
    assert all(" = " in more for more in today[len(before) :]), "a new parameter without a default"


def test_every_public_name_is_listed() -> None:
    assert {name for name in AT_1_2 if "." not in name} <= set(contracts.__all__)
    assert all(hasattr(contracts, name) for name in contracts.__all__)


@pytest.fixture
def beside_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path into which the wheels are unpacked, without a network; discovery looks at it anew."""
    for wheel in (HERE / "wheels").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(tmp_path)
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = discover(entry_points(group=ENTRY_POINT_GROUP))
    monkeypatch.setattr("expotion.plugins.discover", lambda: registry)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("no network in this test"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("plugin", "arguments"),
    [
        ("sensor", ["--track", "wrist_accelerometer=wrist.csv"]),
        ("pose", ["--set", "source=results", "--track", f"pose={SAVED}/pose.jsonl"]),
        ("gaze", ["--set", "source=results", "--track", f"gaze={SAVED}/gaze.jsonl"]),
    ],
)
def test_a_wheel_built_for_1_2_is_found_and_keeps_the_contract(
    plugin: str, arguments: list[str], beside_the_wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["time_s,x_m_per_s2,y_m_per_s2,z_m_per_s2"] + [f"{i / 50},{i % 9},{i % 7},9.81" for i in range(400)]
    (beside_the_wheels / "wrist.csv").write_text("\n".join(lines), encoding="utf-8")
    code = run(["plugin", "check", plugin, *arguments])
    told = "".join(capsys.readouterr())
    assert code == 0, told
    assert ", 0 failed" in told
    assert str(sys.modules[f"expotion_{plugin}"].__file__).startswith(str(beside_the_wheels))
