"""The training script runs from end to end on two short clips, and what it writes loads."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from expotion_face_marlin import FaceMarlinOptions
from expotion_face_marlin.encoder import load_network

TRAIN = Path(__file__).parents[1] / "train"


@pytest.fixture(scope="module")
def tiny() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("marlin_train_tiny", TRAIN / "tiny.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TRAIN))
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the windows are kept that the first run renders."""
    return tmp_path_factory.mktemp("rendered")


@pytest.mark.parametrize("wander", ["0", "0.04"])
def test_training_runs_end_to_end(
    wander: str,
    tiny: ModuleType,
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "tiny.safetensors"
    given = ["--smoke", "--seed", "1", "--wander", wander, "--data", str(rendered), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["tiny.py", *given])
    monkeypatch.setattr(tiny, "SAMPLES", 60)
    tiny.main()
    assert "trained weights" in capsys.readouterr().out
    assert len(list(rendered.iterdir())) == 4  # of conductors and of people
    _, head, sha256 = load_network(FaceMarlinOptions(weights=out))
    assert len(sha256) == 64
    assert sorted(key for key, _ in head.named_buffers()) == ["mean", "std"]
    assert out.with_suffix(".json").is_file()
