"""What plugins wrote against at version 1.2 of the contract is there: names, signatures, wheels."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from expotion import contracts

HERE = Path(__file__).parent
SAVED = HERE / "samples" / "landmarks"
AT_1_2: dict[str, list[str] | None] = json.loads((HERE / "contract.json").read_text(encoding="utf-8"))
"""`name` and `Class.member` -> the parameters as they were written; None for what cannot be called."""

CHECK = """
import socket, sys
def refuse(*_): raise OSError("no network in this test")
socket.socket.connect = refuse
from expotion.cli.main import run
sys.exit(run(["plugin", "check", *sys.argv[1:]]))
"""


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


@pytest.mark.parametrize(
    ("plugin", "arguments"),
    [
        ("sensor", ["--track", "wrist_accelerometer=wrist.csv"]),
        ("pose", ["--set", "source=results", "--track", f"pose={SAVED}/pose.jsonl"]),
        ("gaze", ["--set", "source=results", "--track", f"gaze={SAVED}/gaze.jsonl"]),
    ],
)
def test_a_wheel_built_for_1_2_is_found_and_keeps_the_contract(
    plugin: str, arguments: list[str], tmp_path: Path
) -> None:
    with zipfile.ZipFile(HERE / "wheels" / f"expotion_{plugin}-0.1.0-py3-none-any.whl") as wheel:
        wheel.extractall(tmp_path)
    lines = ["time_s,x_m_per_s2,y_m_per_s2,z_m_per_s2"] + [f"{i / 50},{i % 9},{i % 7},9.81" for i in range(400)]
    (tmp_path / "wrist.csv").write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CHECK, plugin, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed" in done.stdout
    assert str(tmp_path) in _where(plugin, tmp_path)


def _where(plugin: str, folder: Path) -> str:
    """The file that the plugin's package is imported from."""
    code = f"import expotion_{plugin} as found; print(found.__file__)"
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
