"""One tiny run of the world of lamps, made once, and the command line over that world in this process.

Nothing heavy is imported on top: the process that hands the tests out reads this file, too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from expotion.plugins import Registry


@pytest.fixture(scope="session")
def world() -> ModuleType:
    import lamp_world

    return lamp_world


@pytest.fixture(scope="session")
def model(world: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = world.write_model(tmp_path_factory.mktemp("model") / "random")
    return folder


@pytest.fixture(scope="session")
def lamps(world: ModuleType, model: Path) -> Registry:
    """The registry of the world."""
    registry: Registry = world.registry_of(model)
    return registry


@contextlib.contextmanager
def among_lamps(registry: Registry, cache: Path) -> Iterator[None]:
    """The world in place of the installed plugins; no worker processes; an own cache; a codec is built once."""
    import expotion.musicgen.engine  # binds the real `discover` before a test replaces it
    import expotion.plugins

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expotion.musicgen.load.codec_from_hf", _codec)
        patch.setattr(expotion.plugins, "discover", lambda: registry)
        patch.setenv("EXPOTION_WORKERS", "1")
        patch.setenv("EXPOTION_CACHE", str(cache))
        patch.setenv("COLUMNS", "200")
        yield


_BUILT: dict[object, Any] = {}


def _codec(tensors: Any, config: Any, where: str) -> Any:
    """A folder's codec, the same object while its files are as they were; nobody changes it.

    It takes longer to put together than a lamp's music takes to make.
    """
    from expotion import machine
    from expotion.musicgen.codec_files import codec_from_hf

    if machine.auto_precision("cpu", "codec") != "fp32" or not Path(where).is_dir():  # it is changed to that type
        return codec_from_hf(tensors, config, where)
    files = [path.stat() for path in sorted(Path(where).iterdir())]
    key = (where, *((file.st_mtime_ns, file.st_size, file.st_ino) for file in files))
    if key not in _BUILT:
        _BUILT[key] = codec_from_hf(tensors, config, where)
    return _BUILT[key]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def in_the_world_of_lamps(lamps: Registry, cache: Path) -> Iterator[None]:
    with among_lamps(lamps, cache):
        yield


@pytest.fixture(scope="session")
def recipe_file(world: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "lamps.yaml"
    path.write_text(world.RECIPE)
    return path


@pytest.fixture(scope="session")
def run_lamps(recipe_file: Path) -> Callable[..., int]:
    """`expotion recipe run lamps.yaml --out OUT --set ...` in this process; returns the exit code."""

    from expotion.cli.main import run

    def start(out: Path, *sets: str) -> int:
        options = [part for one in sets for part in ("--set", one)]
        return run(["recipe", "run", str(recipe_file), "--out", str(out), *options])

    return start


@pytest.fixture(scope="session")
def finished(
    run_lamps: Callable[..., int], lamps: Registry, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    with among_lamps(lamps, cache):
        assert run_lamps(folder) == 0
    return folder


LESS = ("data.train_clips=2", "data.clip_s=0.2", "evaluate.conditions=[glow, sway, all, codec_ceiling]")
"""Makes a run less than half as long, for tests that need a run of their own."""


@pytest.fixture(scope="session")
def run_less(run_lamps: Callable[..., int]) -> Callable[..., int]:
    """`run_lamps` with less to do."""

    def start(out: Path, *sets: str) -> int:
        return run_lamps(out, *LESS, *sets)

    return start


@pytest.fixture(scope="session")
def finished_less(
    run_less: Callable[..., int], lamps: Registry, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What `run_less` makes when nothing stops it; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "finished_less"
    with among_lamps(lamps, cache):
        assert run_less(folder) == 0
    return folder


@pytest.fixture
def copy_of_finished(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def copy_of_less(finished_less: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished_less, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def results() -> Callable[[Path], dict[str, bytes]]:
    """What a run made, byte for byte: the adaptor, every sound and every code."""

    def read(folder: Path) -> dict[str, bytes]:
        kept = [
            folder / "adaptor" / "adaptor.safetensors",
            *folder.glob("samples/*/*.wav"),
            *folder.glob("samples/*/*.npy"),
        ]
        return {str(path.relative_to(folder)): path.read_bytes() for path in kept if path.exists()}

    return read


@pytest.fixture(scope="session")
def leftovers() -> Callable[[Path], list[str]]:
    """Drafts that were neither finished nor removed."""

    def find(folder: Path) -> list[str]:
        return [
            os.path.join(where, name)
            for where, folders, files in os.walk(folder)
            for name in [*folders, *files]
            if name.startswith(".")
        ]

    return find
