"""What every process of the suite does before it imports anything heavy, and the fixtures that all may use.

One thread per process: two workers fill two cores, and sums keep their order. `auto` stands for fp32 everywhere: no
test measures the machine but those that say so. Compiled bytecode lies in `.cache/bytecode`, for the programs that
tests start as well: with PYTHONDONTWRITEBYTECODE set (as in many containers) each of them would compile torch anew,
which takes longer than most tests. Nothing that tests write has to outlive the machine, so that they do not wait
for its disk.
"""

import gc
import itertools
import os
import re
import sys
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ["EXPOTION_AUTO"] = "fp32"
os.environ["EXPOTION_ADAPTOR"] = "pixels"  # whatever models were pulled here

sys.dont_write_bytecode = False
sys.pycache_prefix = str(Path(__file__).parent / ".cache" / "bytecode")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

os.fsync = lambda _file: None

pytest_plugins = ["chromium_fixtures", "lamp_fixtures", "model_fixtures", "sound_fixtures"]


gc.disable()  # nearly all that is made while tests are collected stays


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not walk through it, nor walk so often."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Of a test that passes, a worker tells the call only: its setup and teardown are most of what is sent.

    Failures, skips and `--durations` are told whole.
    """
    if not hasattr(item.config, "workerinput") or item.config.option.durations:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


_folders = itertools.count()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pytest's own, without looking through all that were made before."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}{next(_folders)}"
    folder.mkdir(mode=0o700)
    return folder
