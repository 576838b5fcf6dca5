"""Makes the samples of what b377914 wrote, in a checkout of that commit and its environment:

    git worktree add ../then b377914 && cd ../then
    OMP_NUM_THREADS=1 uv run python PATH/OF/make_samples.py /tmp/then

/tmp/then then holds `samples/`, to be put here; a name after the folder (`interrupted`) makes that part alone, with
the model in the folder's `samples/model`. Everything is as small as the formats allow: half-second clips of
16 x 16 pixels, a random MusicGen of two layers, the world of lamps of that commit's own tests
(tests/pipeline/world.py).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np

THEN = Path.cwd()
sys.path.insert(0, str(THEN / "tests" / "pipeline"))

RECIPE_CHANGES = (
    ("train_clips: 3, test_clips: 2, clip_s: 1.0", "train_clips: 2, test_clips: 1, clip_s: 0.5"),
    ("  - {name: sway, encoder: sway, rank: 3}\n", ""),
    ("steps: 4", "steps: 2"),
)
MATRIX = """
matrix:
  reference_row: frozen
  players: 0
  rows:
    glow: {labels: {control: glow}}
    frozen: {labels: {control: frozen}, conditions: [], train: {steps: 0}}
  published: {source: a paper about lamps, rows: {glow: {loudness: 0.5}, Sun: {loudness: 9}}}
"""


def expotion(*arguments: str) -> None:
    """One command; it must succeed."""
    from expotion.cli.main import run

    code = run(list(arguments))
    if code != 0:
        raise SystemExit(f"expotion {' '.join(arguments)}: {code}")


def clip(path: Path, n_frames: int, light: int, hz: float) -> None:
    """A flickering picture at 10 fps, with a tone."""
    from expotion.data.mux import write_video

    frames = [np.full((16, 16, 3), light - 10 * (i % 5), np.uint8) for i in range(n_frames)]
    tone = (0.1 * np.sin(2 * np.pi * hz * np.arange(n_frames * 800) / 8000)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, np.arange(n_frames) / 10, tone, 8000)


def runs(recipe: str) -> None:
    """A finished run, its cache of features as an archive, a record of music made with it, a matrix."""
    Path("lamps.yaml").write_text(recipe)
    expotion("recipe", "run", "lamps.yaml", "--out", "run")
    expotion("features", "export", "features.tar")
    clip(Path("clip.mp4"), 5, 200, 220.0)
    steering = ("--seed", "7", "--prompt", "warm lamp", "--strength", "glow=0:1,0.4:0.2", "--temperature", "0.9")
    expotion("generate", "clip.mp4", "--adaptor", "run", "--out", "music.wav", *steering)
    Path("matrix.yaml").write_text(recipe + MATRIX)
    expotion("recipe", "run", "matrix.yaml", "--out", "matrix")


def interrupted(recipe: str) -> None:
    """A run that was stopped in its training, after step 2 of 4, with a checkpoint of those."""
    from expotion.training.loop import TrainingRun

    from expotion.cli.main import run

    step = TrainingRun.step

    def stop(training: TrainingRun) -> dict[str, Any]:
        if training.step_number == 2:
            raise KeyboardInterrupt
        return step(training)

    Path("stopped.yaml").write_text(recipe.replace("steps: 2", "steps: 4"))
    TrainingRun.step = stop  # type: ignore[method-assign]
    assert run(["recipe", "run", "stopped.yaml", "--out", "interrupted"]) == 130
    TrainingRun.step = step  # type: ignore[method-assign]


def corpus() -> None:
    """A manifest, its split, and the videos that it lists."""
    for number in range(4):
        clip(Path("corpus") / "videos" / f"v{number}.mp4", 25, 120 + 40 * number, 200.0 + 70 * number**2)
    given = ["--out", "corpus", "--clip", "1", "--min", "1", "--prompt", "a lamp"]
    expotion("data", "prepare", "corpus/videos", *given)
    expotion("data", "split", "corpus/manifest.jsonl", "--test", "0.3", "--validation", "0")
    shutil.rmtree("corpus/examined")  # what prepare remembers of files, made again when it is missing


def study() -> None:
    """A listening test of two systems on two clips, and the answers of three people."""
    from expotion.data.mux import write_wav
    from expotion.study.model import ANSWERS_FILE, Study
    from expotion.study.session import trials_of
    from expotion.study.store import Answers

    rng = np.random.default_rng(1)
    for name in ("walk", "run"):
        clip(Path("sources") / "videos" / f"{name}.mp4", 4, 180, 220.0)
        for system in ("alpha", "beta"):
            write_wav(Path("sources") / system / f"{name}.wav", rng.normal(0, 0.1, 3200).astype(np.float32), 8000)
    expotion("study", "build", "sources/alpha", "sources/beta", "--videos", "sources/videos", "--out", "study",
             "--ratings", "2", "--comparisons", "1", "--attention", "0")  # fmt: skip
    made = Study.load(Path("study"))
    answers = Answers(Path("study") / ANSWERS_FILE, made.id)
    rows: list[tuple[Any, ...]] = []
    for number in range(3):
        person = answers.join("beginner")
        answers.add_attempt(person.id, 0, 6, True)
        for trial in trials_of(made, person.slot):
            response: dict[str, Any] = {"heard": 1.0, "seconds": 20.0}
            if trial.kind == "rating":
                system = made.stimuli[trial.stimuli[0]].system
                response["ratings"] = dict.fromkeys(made.criteria, 2 + 2 * system + number % 2)
            else:
                response["preferred"] = "left"
            rows.append(
                (person.id, trial.number, trial.kind, json.dumps(trial.stimuli), json.dumps(response), "then")
            )
    with sqlite3.connect(answers.path) as connection:
        connection.executemany("insert into answers values (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("update participants set finished = seen")
        connection.execute("pragma journal_mode = delete")
    expotion("study", "results", "study", "--out", "study/results")
    for folder in ("sources", "study/media"):  # sounds of megabytes, which results do not need
        shutil.rmtree(folder)


def main() -> None:
    out, parts = Path(sys.argv[1]).resolve() / "samples", sys.argv[2:]
    sys.argv = ["expotion"]  # what the runs say that they were started by
    out.mkdir(parents=True, exist_ok=bool(parts))
    os.chdir(out)
    os.environ |= {"EXPOTION_CACHE": str(out / "cache"), "EXPOTION_WORKERS": "1", "COLUMNS": "200"}
    import world as lamp_world

    import expotion.plugins

    sys.modules["lamp_world"] = lamp_world
    model = Path("model") if parts else lamp_world.write_model(Path("model"))
    lamps = lamp_world.registry_of(model.absolute())
    recipe = lamp_world.RECIPE
    for old, new in RECIPE_CHANGES:
        assert old in recipe, old
        recipe = recipe.replace(old, new)
    installed = expotion.plugins.discover
    expotion.plugins.discover = lambda: lamps  # type: ignore[assignment]
    if not parts:
        runs(recipe)
    interrupted(recipe)
    expotion.plugins.discover = installed  # type: ignore[assignment]
    if not parts:
        corpus()
        study()
    shutil.rmtree("cache")


if __name__ == "__main__":
    main()
