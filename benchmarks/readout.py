"""How much of the beat a line reads from the motion encoders' rows when only the framing changes.

    uv run python benchmarks/readout.py [--clips 24] [--encoders motion_synchformer ...] [--out FILE.json]

A ridge from single rows (`plugins/motion_synchformer/train/beat_probe.py`) is fitted to clips as they are drawn and
scored on others, once for each change of framing, for conductors (`conductor-1`: the beats) and for people who beat
time (`style: people`, steady music: their own marks, which may be early or late). F1 of the pulse's peaks, 70 ms.
Development seeds; 10 s a clip. The last line is JSON: F1 by encoder, world and change.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from expotion.plugins import discover
from expotion_conductor.clip import ConductorClip
from expotion_conductor.figure import Figure, Floats
from expotion_conductor.people.cast import people_plan
from expotion_conductor.people.shot import CHANGES, Shot, draw_shot
from expotion_conductor.plan import DEVELOPMENT_SEEDS, Plan, make_plan

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "plugins" / "motion_synchformer" / "train"))

from beat_probe import Example, probe  # noqa: E402 - of the encoders' training

FIRST_SEED = DEVELOPMENT_SEEDS + 3000
STANDARD = ("motion_synchformer", "motion_dis")


class Reframed(Figure):
    """A conductor before a camera whose framing has changed."""

    def __init__(self, plan: Plan, size_px: int, shot: Shot) -> None:
        super().__init__(plan, size_px)
        self._shot = shot

    def camera_matrices(self, times_s: Floats) -> Floats:
        """World to pixels: [n, 2, 3]."""
        shot, zoom = self._shot, self._shot.zoom
        shaken = replace(shot, zoom=1.0, offset=(0.0, 0.0)).matrices(np.asarray(times_s))[:, :, 2]
        # Closer, the middle of the enlargement is further up, or the head would leave the picture.
        middle = np.array([0.5, min(1.0, 1.6 - 0.6 * zoom)])
        matrices = zoom * super().camera_matrices(times_s)
        matrices[:, :, 2] += self.size_px * ((1 - zoom) * middle + np.array(shot.offset) + shaken)
        return matrices


class Changed(ConductorClip):
    """A conductor's clip in a changed framing."""

    def __init__(self, seed: int, change: str) -> None:
        super().__init__(make_plan(seed))
        self._change = change
        if change != "as drawn":
            self._video._scene.figure = Reframed(self.plan, self._video.size[0], CHANGES[change](draw_shot(seed)))

    @property
    def content_hash(self) -> str:
        """The clip's, and the change."""
        return f"{super().content_hash}{self._change}"


def conductor(seed: int, change: str) -> ConductorClip:
    """A conductor of `conductor-1`."""
    return Changed(seed, change)


def beating(seed: int, change: str) -> ConductorClip:
    """Somebody who beats time to steady music."""
    return ConductorClip(people_plan(seed, performed=False, role="beats", change=change))


WORLDS: dict[str, Callable[[int, str], ConductorClip]] = {"conductor-1": conductor, "people": beating}


def examples(encoder: Any, make: Callable[[int, str], ConductorClip], seeds: range, change: str) -> list[Example]:
    """What the encoder makes of these clips, beside the beats that are seen."""
    found = []
    for seed in seeds:
        clip = make(seed, change)
        truth, track = clip.truth, encoder.extract(clip)
        assert truth.ictus_s is not None
        clip.close()
        if len(truth.ictus_s) > 2:
            tempo_bpm = 60.0 / float(np.median(np.diff(truth.ictus_s)))
            times_s, levels = truth.intensity_times_s, truth.intensity
            found.append(Example(track.values, track.times_s, truth.ictus_s, tempo_bpm, times_s, levels))
    return found


def main() -> None:
    """Extract, fit, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="to fit, and as many to score for each change")
    parser.add_argument("--encoders", nargs="+", default=list(STANDARD))
    parser.add_argument("--out", type=Path, help="where the JSON is written as well")
    args = parser.parse_args()
    fit, test = (range(FIRST_SEED + at, FIRST_SEED + at + args.clips) for at in (0, 500))
    result: dict[str, dict[str, dict[str, float]]] = {}
    print("| encoder | world | " + " | ".join(CHANGES) + " |")
    for name in args.encoders:
        spec = discover().encoder(name)
        encoder = spec.build(spec.options())
        result[name] = {}
        for world, make in WORLDS.items():
            fitted = examples(encoder, make, fit, "as drawn")
            row = {
                change: round(probe(fitted, examples(encoder, make, test, change)).beat_f1, 3) for change in CHANGES
            }
            result[name][world] = row
            print(
                f"| {name} | {world} | " + " | ".join(f"{value:.2f}" for value in row.values()) + " |", flush=True
            )
    print(json.dumps(result))
    if args.out is not None:
        args.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
