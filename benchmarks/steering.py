"""What each control's guidance scale does: control against quality, with the adaptor that the package ships.

    uv run python benchmarks/steering.py                # 12 development clips, 9 settings

For every setting the same clips and seeds: beat F1 (the motion's part), intensity correlation (the face's),
and a reference-free look at quality: the mean log-likelihood, in nats per token, of what was drawn under the
frozen model (higher is more like music that the model makes by itself). `rows` is the cost, in rows of the
decoder's batch for each clip. A Markdown table comes on standard error; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import torch

import expotion
from expotion.contracts import Scored
from expotion.evaluate.registry import BUILT_IN
from expotion.features.extract import extract_many
from expotion.features.smooth import smooth_track
from expotion.music.compose import compose
from expotion.music.guidance import plan
from expotion.music.request import Request, text_sources
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen import delay
from expotion.train.objective import codebook_loss
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan

FIRST_SEED = 5_000_400
METRICS = ["beat_f1", "intensity_correlation"]
SETTINGS: list[tuple[float | None, dict[str, float]]] = [
    (None, {}),
    (2.0, {}),
    (4.0, {}),
    (6.0, {}),
    (4.0, {"face": 0.0}),
    (4.0, {"face": 2.0}),
    (4.0, {"face": 6.0}),
    (4.0, {"motion": 0.0}),
    (4.0, {"motion": 2.0}),
]
"""(control_scale, scales)."""


@torch.inference_mode()
def likelihood(composer: expotion.Composer, requests: list[Request], codes: list[torch.Tensor]) -> float:
    """Mean log-likelihood of codes under the frozen model with the prompt, nats per token."""
    lm = composer.backbone.lm
    source, _ = text_sources(lm, [request.text for request in requests])
    stacked = torch.stack(codes)
    sequence = delay.build(stacked, lm.geometry.special_token, lm.geometry.delays, valid_only=True)
    mask = torch.ones_like(stacked, dtype=torch.bool)
    return -float(codebook_loss(lm, lm.hidden(sequence, source), stacked, mask))


def main() -> None:
    """Compose under every setting and score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=12)
    asked = parser.parse_args()
    composer = expotion.load("pixels")
    codec = composer.backbone.codec
    assert codec is not None
    clips = [ConductorClip(make_plan(FIRST_SEED + k)) for k in range(asked.clips)]
    found = extract_many(composer.encoders, clips)
    n_frames = round(clips[0].duration_s * composer.backbone.frame_rate_hz)
    requests = []
    for k, clip in enumerate(clips):
        tracks = {
            name: smooth_track(composer.encoders[name], track, n_frames, composer.backbone.frame_rate_hz)
            for name, track in found.features[clip.id].items()
        }
        requests.append(Request(n_frames, composer.prompts[clip.caption], tracks, {}, 1000 + k))
    base, windows = Steering().over(composer.recipe), Windows(composer.window_frames)
    lm = composer.engine("auto")
    functions = {name: BUILT_IN[name].build() for name in METRICS}
    print("| control_scale | scales | rows | beat F1 | intensity r | log-likelihood |", file=sys.stderr)
    print("|---|---|---|---|---|---|", file=sys.stderr)
    table = []
    for control_scale, scales in SETTINGS:
        settings = base.model_copy(update={"control_scale": control_scale, "guidance": scales})
        codes = compose(lm, composer.adaptor, requests, settings, windows)
        rate = composer.backbone.sample_rate_hz
        sounds = [to_sound(codec, c, round(clip.duration_s * rate)) for c, clip in zip(codes, clips, strict=True)]
        row: dict[str, object] = {"control_scale": control_scale, "scales": scales}
        row["rows"] = len(plan(list(composer.encoders), settings.cfg_scale, control_scale, scales))
        for name, function in functions.items():
            values = [function(Scored(s, rate, clip)).value for s, clip in zip(sounds, clips, strict=True)]
            row[name] = round(float(np.mean([value for value in values if value is not None])), 3)
        row["log_likelihood"] = round(likelihood(composer, requests, codes), 3)
        table.append(row)
        shown = " | ".join(str(value) for value in row.values())
        print(f"| {shown} |", file=sys.stderr, flush=True)
    print(json.dumps({"table": table, "clips": len(clips), "notes": []}))


if __name__ == "__main__":
    main()
