"""How time and memory grow: generation with a clip's length, training with clips, extraction with length.

    uv run python benchmarks/growth.py
    uv run python benchmarks/growth.py --seconds 5 10 20 --clips 32 64 128       # shorter

Generation: a clip of 10 s to 10 min, in the tiny model, from features to samples. Training: 20 steps on 32 to 2,048
clips, and what it takes to hold them. Extraction: the two tiny video encoders over 10 s to 10 min of a conductor.
Each point is a process of its own, so that its peak of resident memory is its own. What would not end
in its part of six minutes is left out, and said.

The last line is one JSON object. `time_exponent_*` is the slope of log time over log size, `memory_exponent_*` that
of the memory that came on top of loaded models: 1 is linear growth, 0 none. `points` are what they come from,
`notes` name what ran beside other work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from peers import load

SECONDS = (10, 60, 600)
CLIPS = (32, 256, 2048)
ENDS = {"generate": 0.45, "train": 0.65, "extract": 1.0}
"""When each part has ended, as a share of the time that there is: none takes another's."""
STEPS = 20
Point = dict[str, float]


def generate(seconds: int) -> None:
    """Music for a clip whose features are at hand: random tracks, which cost as much as others."""
    from expotion.contracts import SmoothedTrack  # noqa: PLC0415
    from expotion.music.compose import compose  # noqa: PLC0415
    from expotion.music.composer import load as load_composer  # noqa: PLC0415
    from expotion.music.request import Request  # noqa: PLC0415
    from expotion.music.sound import to_sound  # noqa: PLC0415
    from expotion.music.windows import Windows  # noqa: PLC0415

    composer = load_composer()
    rate_hz = composer.backbone.frame_rate_hz
    n_frames = round(seconds * rate_hz)
    drawn = np.random.default_rng(0)
    tracks = {
        name: SmoothedTrack(
            drawn.normal(size=(n_frames + 1, encoder.spec.width(encoder.options))).astype(np.float32),
            np.ones(n_frames + 1, bool),
        )
        for name, encoder in composer.encoders.items()
    }
    steering = composer.resolved(None, {})
    request = Request(n_frames, composer.prompts[steering.prompt], tracks, dict.fromkeys(tracks, 1.0), 0)
    engine = composer.engine(steering.precision)
    begin()
    codes = compose(engine, composer.adaptor, [request], steering, Windows(composer.window_frames))[0]
    assert composer.backbone.codec is not None
    to_sound(composer.backbone.codec, codes, round(seconds * composer.backbone.sample_rate_hz))


def train(clips: int) -> None:
    """Twenty steps of the tiny model's sizes; a step draws its batch from all clips."""
    from scaling import N_FRAMES, TINY, build_lm  # noqa: PLC0415

    from expotion.adaptor.adaptor import Adaptor  # noqa: PLC0415
    from expotion.adaptor.config import AdaptorConfig, Modality  # noqa: PLC0415
    from expotion.recipe.schema import Train  # noqa: PLC0415
    from expotion.train.examples import Examples  # noqa: PLC0415
    from expotion.train.loop import Loop, SteeredMusic  # noqa: PLC0415

    width = TINY.text_width or TINY.width
    drawn = torch.Generator().manual_seed(0)
    lm = build_lm(TINY)
    begin()
    examples = Examples(
        codes=torch.randint(0, TINY.card, (clips, TINY.n_codebooks, N_FRAMES), generator=drawn),
        n_frames=torch.full((clips,), N_FRAMES),
        text=torch.zeros(clips, 16, width),
        text_mask=torch.ones(clips, 16, dtype=torch.bool),
        controls={"motion": torch.randn(clips, N_FRAMES + 1, 192, generator=drawn)},
        valid={"motion": torch.ones(clips, N_FRAMES + 1, dtype=torch.bool)},
    )
    config = AdaptorConfig((Modality("motion", 192, 12),), TINY.width, TINY.n_layers, TINY.n_layers)
    run = Loop(
        SteeredMusic(lm, Adaptor(config, seed=1), examples, Train(steps=10**6, batch_size=4), 0),
        Train(steps=10**6, batch_size=4),
    )
    for _ in range(STEPS):
        run.step()


def extract(seconds: int) -> None:
    """The tiny encoders of a face and of motion over a conductor's picture, which is drawn as it is asked for."""
    from expotion import plugins  # noqa: PLC0415
    from expotion.features.encoders import build_encoder  # noqa: PLC0415
    from expotion_conductor.clip import ConductorClip  # noqa: PLC0415
    from expotion_conductor.plan import make_plan  # noqa: PLC0415

    registry = plugins.discover()
    encoders = [build_encoder(registry.encoder(name), {}) for name in ("face_marlin", "motion_synchformer")]
    clip = ConductorClip(make_plan(5_000_600, float(seconds)))
    begin()
    for encoder in encoders:
        encoder.extract(clip)


WORK: dict[str, Callable[[int], None]] = {"generate": generate, "train": train, "extract": extract}
_begun: list[tuple[float, float]] = []


def begin() -> None:
    """What comes now is measured; the peak of memory starts at what is held."""
    Path("/proc/self/clear_refs").write_text("5")
    _begun.append((time.perf_counter(), peak_mib()))


def peak_mib() -> float:
    """Peak resident memory of this process since it began to be measured."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def child(kind: str, size: int) -> Point:
    """A point, in this process."""
    WORK[kind](size)
    started, before_mib = _begun[-1]
    return {"seconds": time.perf_counter() - started, "mib": peak_mib() - before_mib}


def apart(kind: str, size: int) -> Point:
    """A point, in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--point", kind, str(size)], stdout=subprocess.PIPE, check=True
    )
    point: Point = json.loads(done.stdout.splitlines()[-1])
    return {**point, "wall": time.perf_counter() - started}


def exponent(points: dict[int, Point], what: str) -> float | None:
    """Slope of log `what` over log size; None with fewer than two points."""
    sizes = np.log(list(points))
    values = np.log([max(1e-3, point[what]) for point in points.values()])
    return round(float(np.polyfit(sizes, values, 1)[0]), 3) if len(points) > 1 else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=SECONDS)
    parser.add_argument("--clips", type=int, nargs="+", default=CLIPS)
    parser.add_argument("--point", nargs=2, metavar=("KIND", "SIZE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.point:
        print(json.dumps(child(asked.point[0], int(asked.point[1]))))
        return
    notes: list[str] = []
    told: dict[str, Any] = {}
    points: dict[str, dict[int, Point]] = {}
    for kind in WORK:
        points[kind] = {}
        sizes: list[int] = asked.clips if kind == "train" else asked.seconds
        apart(kind, min(sizes))  # from here on what is compiled is there
        for size in sizes:
            if points[kind]:
                last, before = max(points[kind].items())
                grown = 1.0 if kind == "train" else size / last  # a training's steps are always as many
                expected_s = before["wall"] + before["seconds"] * (grown - 1.0)
                if not load.time_for(expected_s, ENDS[kind]):
                    notes.append(f"{kind} {size}: about {expected_s:.0f} s, for which there was no time")
                    continue
            point = load.undisturbed(
                f"{kind} {size}", lambda k=kind, s=size: apart(k, s), notes, tries=1, better=lambda p: p["seconds"]
            )
            points[kind][size] = point
            print(
                f"{kind} {size:5d}  {point['seconds']:8.2f} s {point['mib']:8.0f} MiB", file=sys.stderr, flush=True
            )
        told[f"time_exponent_{kind}"] = exponent(points[kind], "seconds")
        told[f"memory_exponent_{kind}"] = exponent(points[kind], "mib")
    print(json.dumps({**told, "points": points, "machine": load.about(), "notes": notes}))


if __name__ == "__main__":
    main()
