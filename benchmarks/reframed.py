"""Does the music keep the beat when only the framing changes? The whole system, from pixels to sound.

    uv run python benchmarks/reframed.py [--adaptor RUN] [--clips 24] [--worlds conductor-1] [--out FILE.json]

Clips of the worlds of `benchmarks/readout.py` (other development seeds), as drawn and in each change of framing,
with the same prompts and seeds: beat F1 against the world's true beats and correlation of the level with the
intensity, means with 95 % intervals over clips. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from readout import FIRST_SEED, WORLDS

import expotion
from expotion.contracts import Scored
from expotion.evaluate.registry import BUILT_IN
from expotion.evaluate.statistics import mean_interval
from expotion.features.extract import extract_many
from expotion.features.smooth import smooth_track
from expotion.music.compose import compose
from expotion.music.request import Request
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion_conductor.clip import ConductorClip
from expotion_conductor.people.shot import CHANGES

METRICS = ("beat_f1", "intensity_correlation")


def music(composer: expotion.Composer, clips: list[ConductorClip]) -> list[Scored]:
    """Music for each clip, by its caption and its own seed."""
    codec, rate_hz = composer.backbone.codec, composer.backbone.sample_rate_hz
    assert codec is not None
    frame_rate_hz = composer.backbone.frame_rate_hz
    found = extract_many(composer.encoders, clips)
    requests = []
    for number, clip in enumerate(clips):
        n_frames = round(clip.duration_s * frame_rate_hz)
        tracks = {
            name: smooth_track(composer.encoders[name], track, n_frames, frame_rate_hz)
            for name, track in found.features[clip.id].items()
        }
        requests.append(Request(n_frames, composer.prompts[clip.caption], tracks, {}, 1000 + number))
    settings = Steering().over(composer.recipe)
    codes = compose(composer.engine("auto"), composer.adaptor, requests, settings, Windows(composer.window_frames))
    pairs = zip(codes, clips, strict=True)
    return [Scored(to_sound(codec, c, round(clip.duration_s * rate_hz)), rate_hz, clip) for c, clip in pairs]


def main() -> None:
    """Compose in every framing, score, print a table of each metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adaptor", default="pixels", help="an adaptor or run folder, or one that ships")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--changes", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--out", type=Path, help="where the JSON is written as well")
    args = parser.parse_args()
    composer = expotion.load(args.adaptor)
    functions = {name: BUILT_IN[name].build() for name in METRICS}
    seeds = range(FIRST_SEED + 1000, FIRST_SEED + 1000 + args.clips)
    result: dict[str, dict[str, dict[str, list[float]]]] = {}
    print("| world | framing | beat F1 | intensity r |\n|---|---|---|---|")
    for world in args.worlds:
        result[world] = {}
        for change in args.changes:
            clips = [WORLDS[world](seed, change) for seed in seeds]
            row: dict[str, list[float]] = {}
            scored = music(composer, clips)
            for name, function in functions.items():
                values = [function(one).value for one in scored]
                mean = mean_interval([value for value in values if value is not None])
                row[name] = [round(each or 0.0, 3) for each in (mean.mean, mean.ci_low, mean.ci_high)]
            result[world][change] = row
            cells = " | ".join(f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high in row.values())
            print(f"| {world} | {change} | {cells} |", flush=True)
            for clip in clips:
                clip.close()
    print(json.dumps(result))
    if args.out is not None:
        args.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
