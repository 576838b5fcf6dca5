"""Does `movement_beat` find the beat of people whose beat is known, and say where there is none?

    uv run python benchmarks/movement_beat.py [--through truth models flow] [--clips 60] [--out FILE.json]

Rendered people (`tests/shared/rendered_people.py`), 10 s each, half of them beating time, at a steady or a changing
tempo. `truth`: their true joints with noise of 1 % of a shoulder width, hands lost a fifth of the time; `models`:
what MediaPipe's networks see in the picture (`expotion models pull mediapipe_person`); `flow`: what is left where
they were not pulled. F1 of the beats (70 ms) over clips with a beat, mir_eval's continuity at any level beside it
(AMLt), and how often "no beat" is said. The last line is JSON. Exits with 1 where truth or models break a bar: F1
at least 0.85; "no beat" for at least 90 % of those without, at most 10 % of those with one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mir_eval.beat
import numpy as np

from expotion_person_landmarks.beat import causal_movement_beat, movement_beat
from expotion_person_landmarks.events import Movement, movement
from expotion_person_landmarks.flow import flow_movement
from expotion_person_landmarks.measure import movement_of

ROOT = Path(__file__).resolve().parent.parent
F1_BAR, NONE_BAR, MISSED_BAR = 0.85, 0.9, 0.1
BARRED = ("truth", "models")
SETTLED_S = 4.0
"""From when on the causal variant is counted."""


def _truth(clip: Any) -> Movement:
    from rendered_people import true_landmarks  # noqa: PLC0415 - of the tests

    found = true_landmarks(clip, noise=0.01, lost=0.2)
    return movement(found.points, found.times_s, clip.duration_s)


WAYS: dict[str, Callable[[Any], Movement]] = {"truth": _truth, "models": movement_of, "flow": flow_movement}


def measured(people: list[Any], way: Callable[[Any], Movement]) -> dict[str, Any]:
    """All numbers of one way of seeing, and what is said of each clip."""
    f1, causal, any_level, said = [], [], [], []
    for clip in people:
        moves, beats_s = way(clip), clip.script.beats_s
        found = movement_beat(moves)
        said.append(found.has_beat)
        told = ""
        if len(beats_s):
            live_s = causal_movement_beat(moves).beats_s
            f1.append(float(mir_eval.beat.f_measure(beats_s, found.beats_s, 0.07)))
            causal.append(_f1_after(SETTLED_S, beats_s, live_s))
            any_level.append(float(mir_eval.beat.continuity(beats_s, found.beats_s)[3]))
            told = f"F1 {f1[-1]:.2f}, as live {causal[-1]:.2f}"
        print(f"  {clip.id:20} {'beat' if said[-1] else 'no beat':7} {found.overall:.2f}  {told}", flush=True)
    beating = np.array([len(clip.script.beats_s) > 0 for clip in people])
    none = ~np.array(said)
    return {
        "f1": round(float(np.mean(f1)), 3),
        "f1_lowest": round(min(f1), 3),
        "f1_causal": round(float(np.mean(causal)), 3),
        "continuity_any_level": round(float(np.mean(any_level)), 3),
        "no_beat_said_without": round(float(none[~beating].mean()), 3),
        "no_beat_said_with": round(float(none[beating].mean()), 3),
        "n_clips": len(people),
    }


def _f1_after(start_s: float, beats_s: Any, found_s: Any) -> float:
    return float(mir_eval.beat.f_measure(beats_s[beats_s >= start_s], found_s[found_s >= start_s], 0.07))


def main() -> int:
    """Draw the people, look at them, tell; 1 where a bar is broken."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--through", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--clips", type=int, default=60, help="of the 60, evenly over the kinds")
    parser.add_argument("--out", type=Path, help="where the JSON is written as well")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "shared"))
    from rendered_people import rendered_people  # noqa: PLC0415

    everybody = list(rendered_people())
    people = [everybody[k] for k in np.linspace(0, len(everybody) - 1, args.clips).round().astype(int)]
    tables = {}
    for name in args.through:
        print(name)
        tables[name] = measured(people, WAYS[name])
    print(json.dumps(tables))
    if args.out is not None:
        args.out.write_text(json.dumps(tables) + "\n", encoding="utf-8")
    held = all(
        table["f1"] >= F1_BAR
        and table["no_beat_said_without"] >= NONE_BAR
        and table["no_beat_said_with"] <= MISSED_BAR
        for name, table in tables.items()
        if name in BARRED
    )
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
