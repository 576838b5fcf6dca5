"""Whether this tree's main job steers as well as another tree's: three trainings of each, the same held-out clips.

    uv run python benchmarks/control.py --base PATH               # another tree with its environment in .venv
    uv run python benchmarks/control.py --base PATH --folder runs/control     # stopped? the same command goes on

Each training is `recipe run recipes/face_motion.yaml` of its tree with `train.seed` set, all controls together on
96 test clips, on caches of its own tree; the trees take turns. What was finished stays in --folder, and a run that
was cut off is resumed, so that this may be stopped and begun again at will. With --base-set and --own-set a tree
gets settings of its own (b377914 takes fp32 by name where the other is measured: see docs/performance.md).

The last line is one JSON object: by metric the mean of each tree, and `difference`, this tree's minus the other's,
averaged over the seeds of each clip and paired by clip, with a 95 % bootstrap interval over clips, whose lower end
is `low`. `difference_seeds` draws the seeds as well. `seconds` is each run's, beside whatever else ran.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from peers import load

from expotion.evaluate.statistics import SeedValues, difference, mean_interval

ROW = "face+motion"
METRICS = ("beat_f1", "intensity_correlation")
OWN = Path(__file__).resolve().parent.parent
CODE = "from expotion.cli.main import main; main()"
DONE = "seconds.txt"


def train(tree: Path, python: Path, out: Path, caches: Path, settings: Sequence[str]) -> float:
    """One run of the main job, gone on with where it was begun before; the seconds of the part that was left."""
    if (out / DONE).is_file():
        return float((out / DONE).read_text())
    began = (out / "run.json").is_file()
    sets = [word for setting in settings for word in ("--set", setting)]
    where = ["--resume", str(out)] if began else ["--out", str(out)]
    command = [str(python), "-c", CODE, "recipe", "run", "recipes/face_motion.yaml", *where, *sets]
    started = time.perf_counter()
    environment = {**os.environ, "EXPOTION_CACHE": str(caches)}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(command, cwd=tree, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise SystemExit(f"{out}: ended with {done.returncode}")
    seconds = time.perf_counter() - started
    (out / DONE).write_text(f"{seconds:.1f}")
    return seconds


def values_of(out: Path, metric: str) -> dict[str, float]:
    """Clip id -> value of the row of all controls."""
    by_clip: dict[str, dict[str, Any]] = json.loads((out / "metrics_per_clip.json").read_text())[ROW]
    plain = {clip: one[metric] for clip, one in by_clip.items() if metric in one}
    told = {clip: one["value"] if isinstance(one, dict) else one for clip, one in plain.items()}
    return {clip: float(value) for clip, value in told.items() if value is not None}


def over_seeds(seeds: SeedValues) -> dict[str, float]:
    """Clip id -> mean over the seeds in which it has a value."""
    clips = dict.fromkeys(clip for one in seeds for clip in one)
    return {clip: float(np.mean([one[clip] for one in seeds if clip in one])) for clip in clips}


def mean_of(values: Mapping[str, float]) -> float | None:
    """Over clips; None without any."""
    return round(float(np.mean(list(values.values()))), 4) if values else None


def compared(own: SeedValues, base: SeedValues) -> dict[str, Any]:
    """A metric of both trees, and the paired difference."""
    mine, theirs = over_seeds(own), over_seeds(base)
    both = [clip for clip in mine if clip in theirs]
    found = mean_interval([mine[clip] - theirs[clip] for clip in both])
    return {
        "ours": mean_of(mine),
        "base": mean_of(theirs),
        "by_seed": {"ours": [mean_of(one) for one in own], "base": [mean_of(one) for one in base]},
        "difference": found.mean,
        "low": found.ci_low,
        "high": found.ci_high,
        "clips": len(both),
        "difference_seeds": asdict(difference(own, base)),
    }


def main() -> None:
    """Train what is not trained yet, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="another tree, with its environment in .venv")
    parser.add_argument("--folder", type=Path, default=OWN / "runs" / "control")
    parser.add_argument("--seeds", type=int, nargs="+", default=(1, 2, 3), help="of the trainings")
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for both trees")
    parser.add_argument("--base-set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--own-set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    trees = {"ours": (OWN, Path(sys.executable)), "base": (asked.base, asked.base / ".venv" / "bin" / "python")}
    shared = [f"data.test_clips={asked.clips}", f"evaluate.conditions=[{ROW}]", "generate.samples=0", *asked.set]
    own_sets = {"ours": [*asked.own_set, "evaluate.control_alone=false"], "base": asked.base_set}
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, list[float]] = {name: [] for name in trees}
    for seed in asked.seeds:
        for name, (tree, python) in trees.items():
            out = folder / f"{name}_{seed}"
            settings = [*shared, *own_sets[name], f"train.seed={seed}"]
            seconds[name].append(round(train(tree, python, out, folder / f"{name}_cache", settings), 1))
            print(f"{name} {seed}: {seconds[name][-1]:.0f} s", file=sys.stderr, flush=True)
    told = {}
    for metric in METRICS:
        values = {name: [values_of(folder / f"{name}_{seed}", metric) for seed in asked.seeds] for name in trees}
        told[metric] = compared(values["ours"], values["base"])
    print(json.dumps({**told, "seeds": list(asked.seeds), "seconds": seconds, "machine": load.about()}))


if __name__ == "__main__":
    main()
