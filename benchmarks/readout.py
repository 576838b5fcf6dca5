"""How much of beat and intensity a line reads from the encoders' rows when only the framing changes.

    uv run python benchmarks/readout.py [--clips 24] [--encoders motion_synchformer ...] [--trained FILE]

A ridge from single rows (`plugins/motion_synchformer/train/beat_probe.py`) is fitted to clips as they are drawn and
scored on others, once for each change of framing, for conductors (`conductor-1`: the beats) and for people who beat
time (`style: people`, steady music: their own marks, which may be early or late). F1 of the pulse's peaks, 70 ms;
correlation with the intensity within a clip, mean. Where an encoder sees nothing (no face) it says 0 throughout.
`--trained` adds weights that `plugins/motion_synchformer/train/tiny.py` wrote. Development seeds; 10 s a clip. The
last line is JSON: both by encoder, world and change.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Encoder, TimedFeatures
from expotion.plugins import discover
from expotion_conductor.clip import ConductorClip
from expotion_conductor.figure import Figure, Floats
from expotion_conductor.people.cast import people_plan
from expotion_conductor.people.shot import CHANGES, Shot, draw_shot
from expotion_conductor.plan import DEVELOPMENT_SEEDS, Plan, make_plan
from expotion_motion_synchformer import SynchformerOptions
from expotion_motion_synchformer.encoder import SynchformerEncoder

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "plugins" / "motion_synchformer" / "train"))

from beat_probe import Example, probe  # noqa: E402 - of the encoders' training

FIRST_SEED = DEVELOPMENT_SEEDS + 3000
STANDARD = ("motion_synchformer", "motion_dis", "face_marlin")
MEASURES = {"beat_f1": "beat F1", "intensity_r_in_clip": "intensity r in a clip"}


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


def examples(
    encoders: Mapping[str, Encoder], make: Callable[[int, str], ConductorClip], seeds: range, change: str
) -> dict[str, list[Example]]:
    """What each encoder makes of these clips, beside the beats that are seen."""
    found: dict[str, list[Example]] = {name: [] for name in encoders}
    for seed in seeds:
        clip = make(seed, change)
        truth = clip.truth
        assert truth.ictus_s is not None
        if len(truth.ictus_s) > 2:
            tempo_bpm = 60.0 / float(np.median(np.diff(truth.ictus_s)))
            for name, encoder in encoders.items():
                values, times_s = seen(encoder.extract(clip), clip.duration_s)
                told = (truth.ictus_s, tempo_bpm, truth.intensity_times_s, truth.intensity)
                found[name].append(Example(values, times_s, *told))
        clip.close()
    return found


def seen(track: TimedFeatures, duration_s: float) -> tuple[NDArray[np.float32], Floats]:
    """The rows that are valid, and their times."""
    if track.valid.sum() < 2:
        return np.zeros((2, track.values.shape[1]), np.float32), np.array([0.0, duration_s])
    return track.values[track.valid], track.times_s[track.valid]


def main() -> None:
    """Extract, fit, score, print a table of each measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24, help="to fit, and as many to score for each change")
    parser.add_argument("--encoders", nargs="+", default=list(STANDARD))
    parser.add_argument("--trained", type=Path, help="weights of motion_synchformer's geometry tiny_moving")
    parser.add_argument("--out", type=Path, help="where the JSON is written as well")
    args = parser.parse_args()
    fit, test = (range(FIRST_SEED + at, FIRST_SEED + at + args.clips) for at in (0, 500))
    specs = {name: discover().encoder(name) for name in args.encoders}
    encoders: dict[str, Encoder] = {name: spec.build(spec.options()) for name, spec in specs.items()}
    if args.trained is not None:
        encoders["trained"] = SynchformerEncoder(SynchformerOptions(geometry="tiny_moving", weights=args.trained))
    result: dict[str, dict[str, dict[str, dict[str, float]]]] = {
        name: {world: {} for world in WORLDS} for name in encoders
    }
    for world, make in WORLDS.items():
        fitted = examples(encoders, make, fit, "as drawn")
        for change in CHANGES:
            for name, scored in examples(encoders, make, test, change).items():
                read = probe(fitted[name], scored)
                result[name][world][change] = {measure: round(getattr(read, measure), 3) for measure in MEASURES}
    for measure, label in MEASURES.items():
        print(f"| {label} | world | " + " | ".join(CHANGES) + " |")
        print("|" + " --- |" * (2 + len(CHANGES)))
        for name, worlds in result.items():
            for world, row in worlds.items():
                cells = " | ".join(f"{each[measure]:.2f}" for each in row.values())
                print(f"| {name} | {world} | {cells} |")
        print()
    print(json.dumps(result))
    if args.out is not None:
        args.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
