"""From cold to sound: `expotion generate CLIP.mp4` of a 10 s clip in a fresh process, stage by stage.

    uv run python benchmarks/cold.py
    uv run python benchmarks/cold.py --base PATH     # beside another tree with an environment of its own (.venv)
    uv run python benchmarks/cold.py --repeats 1     # shorter

The last line is one JSON object. `imports_s`, `models_s`, `features_s`, `first_chunk_s`, `rest_s`: what each stage
of a process adds, with compiled code and our caches warm but for the clip's features; `total_s` the command itself,
from its start to its end. `speedup_vs_b377914`: the other tree's command over ours, in turns, the best of each;
`speedup_vs_b377914_empty`: the same with all caches empty, compiled code included; null without --base. `notes`
name what ran beside other work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from expotion.video.writing import write_video
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan

sys.path.insert(0, str(Path(__file__).resolve().parent))
from peers import load

SEED, SECONDS = 5_000_700, 10.0
STAGES = """
import json, os, sys, time
told, before = {}, float(os.environ["STARTED"])
def mark(name):
    global before
    now = time.time()
    told[name], before = now - before, now
from pathlib import Path
import expotion.cli.main, expotion.music.make
from expotion import plugins
from expotion.music.composer import open_composer
from expotion.video.clip import FileClip
mark("imports_s")
composer = open_composer(None, plugins.discover())
mark("models_s")
clip = FileClip(Path(sys.argv[1]))
composer.controls.extract(list(composer.encoders), clip)
mark("features_s")
chunks = composer.stream(clip)
next(chunks)
mark("first_chunk_s")
for _ in chunks:
    pass
mark("rest_s")
print(json.dumps(told))
"""


def clip_file(folder: Path) -> Path:
    """A conductor of 10 s with the sound of his world, as a file."""
    clip = ConductorClip(make_plan(SEED, SECONDS))
    rate_hz = 32_000
    sound = clip.audio(rate_hz)
    times_s = clip.video.frame_times_s
    path = folder / "conductor.mp4"
    write_video(path, list(clip.video.frames_at(times_s)), times_s, np.asarray(sound, np.float32), rate_hz)
    return path


def environment(caches: Path) -> dict[str, str]:
    """Caches of our own and compiled code; Python's bytecode, which an installation brings, beside them."""
    own = {
        "EXPOTION_CACHE": str(caches / "expotion"),
        "NUMBA_CACHE_DIR": str(caches / "numba"),
        "PYTHONPYCACHEPREFIX": str(caches.parent / "bytecode"),
    }
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}, **own}


def command_s(python: Path, clip: Path, caches: Path, out: Path) -> float:
    """Seconds of the whole command in a tree's own environment."""
    started = time.perf_counter()
    code = "from expotion.cli.main import main; main()"
    arguments = ["generate", str(clip), "--out", str(out / "music.wav")]
    done = subprocess.run(
        [str(python), "-c", code, *arguments], env=environment(caches), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return time.perf_counter() - started


def stages(clip: Path, caches: Path) -> dict[str, float]:
    """Seconds of each stage in a fresh process."""
    own = {**environment(caches), "STARTED": repr(time.time())}
    done = subprocess.run(
        [sys.executable, "-c", STAGES, str(clip)], env=own, capture_output=True, text=True, check=True
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def measure(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The object to print."""
    notes: list[str] = []
    clip = clip_file(folder)
    trees = {"ours": Path(sys.executable)}
    if asked.base is not None:
        trees["base"] = asked.base / ".venv" / "bin" / "python"
    for name, python in trees.items():  # bytecode and caches are there from here on
        command_s(python, clip, folder / name, folder)
    empty = {name: command_s(python, clip, folder / f"{name}_empty", folder) for name, python in trees.items()}
    warm: dict[str, float] = {}
    for _ in range(asked.repeats):
        for name, python in trees.items():
            seconds = load.undisturbed(
                name, lambda n=name, p=python: command_s(p, clip, folder / n, folder), notes, better=lambda s: s
            )
            warm[name] = min(seconds, warm.get(name, float("inf")))
            print(f"{name:6s} {seconds:7.2f} s", file=sys.stderr, flush=True)
    parts = load.undisturbed(
        "stages", lambda: stages(clip, folder / "ours"), notes, better=lambda told: sum(told.values())
    )
    with_base = "base" in trees
    return {
        **{name: round(seconds, 2) for name, seconds in parts.items()},
        "total_s": round(warm["ours"], 2),
        "total_empty_s": round(empty["ours"], 2),
        "speedup_vs_b377914": round(warm["base"] / warm["ours"], 2) if with_base else None,
        "speedup_vs_b377914_empty": round(empty["base"] / empty["ours"], 2) if with_base else None,
        "machine": load.about(),
        "notes": notes,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", type=Path, help="another tree, with its environment in .venv")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(asked, Path(folder))))


if __name__ == "__main__":
    main()
