"""Train the tiny Synchformer encoder on conductors and people: audio-visual synchrony, no labels.

    python plugins/motion_synchformer/train/tiny.py --minutes 12 --out FILE

A video encoder (the plugin's own model) and a small audio encoder learn together. As in Synchformer's first
stage, segments of picture and sound that belong together are pulled together against those of other places
and other clips; here also every row (80 ms) against all other rows of the batch. Linear heads on the same
rows moreover predict what the sound does around that moment: its onset envelope, the phase and rate of its
pulse, its level; and a linear head on every patch predicts the patch's mean DIS flow between its two frames,
a dense signal that gets the layers going (for the first 15% of the time alone, patch by patch). All targets
come from waveform and pixels (`rhythm.py`, `world_clips.py`); the worlds' plans are read by the probes only.

Three of eight segments show people, the others conductors; a camera is drawn for each (`framing.py`), and of its
pictures the encoder sees what it looks at (`place.py`). The probe is fitted as drawn and scored in every framing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import rhythm
import torch
from batches import draw
from beat_probe import Example, Probe, probe
from framing import changed, reframe
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from world_clips import DURATION_S, FPS, World, render

from expotion_conductor.people.shot import CHANGES
from expotion_conductor.plan import DEVELOPMENT_SEEDS, ENCODER_SEEDS
from expotion_motion_synchformer import segments
from expotion_motion_synchformer.encoder import seen
from expotion_motion_synchformer.loader import load
from expotion_motion_synchformer.model import VisualEncoder, scale_pixels, seeded
from expotion_motion_synchformer.options import GEOMETRIES, Geometry

N_ONSET = len(rhythm.LAGS_S)


class AudioEncoder(nn.Module):
    """Convolutions over the log-mel of a segment and 0.3 s on either side; rows are read at their own times."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(rhythm.BANDS, dim, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(dim, dim, 5, padding=4, dilation=2),
            nn.GELU(),
            nn.Conv1d(dim, dim, 5, padding=8, dilation=4),
            nn.GELU(),
            nn.Conv1d(dim, dim, 1),
        )

    def forward(self, log_mel: Tensor, at: Tensor) -> Tensor:
        """log_mel [B, 32, L]; at [B, t] fractional positions -> [B, t, D]."""
        x = self.layers(log_mel)
        low = at.floor().long().clamp(0, x.shape[-1] - 2)
        part = (at - low).unsqueeze(1)
        index = low.unsqueeze(1).expand(-1, x.shape[1], -1)
        rows = x.gather(2, index) * (1 - part) + x.gather(2, index + 1) * part
        return rows.transpose(1, 2)


class Synchrony(nn.Module):
    """The two encoders, the heads and the losses."""

    def __init__(self, geometry: Geometry, seed: int) -> None:
        super().__init__()
        self.video = seeded(geometry, seed)
        start_on_motion(self.video)
        self.audio = AudioEncoder(geometry.dim)
        self.video_out = nn.Linear(geometry.dim, 64)
        self.audio_out = nn.Linear(geometry.dim, 64)
        self.heads = nn.Linear(geometry.dim, N_ONSET + 4)
        self.motion = nn.Linear(geometry.dim, 2)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Loss and its parts."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            patches = self.video.norm(self.video.tokens(batch["frames"])[:, 1:])
            rows = self.video.aggregate(patches).float()  # [B, t, D]
            motion = self.motion(patches).float()  # [B, t n, 2]
        v = functional.normalize(self.video_out(rows), dim=-1)
        a = functional.normalize(self.audio_out(self.audio(batch["log_mel"], batch["at"])), dim=-1)
        scale = self.log_scale.exp().clamp(max=50.0)
        heads = self.heads(rows)
        onset, pulse, tempo, level = heads.split((N_ONSET, 2, 1, 1), dim=-1)
        parts = {
            "rows": _contrast(v.flatten(0, 1), a.flatten(0, 1), scale, near=v.shape[1]),
            "segments": _contrast(
                functional.normalize(v.flatten(1), dim=-1), functional.normalize(a.flatten(1), dim=-1), scale
            ),
            "motion": functional.mse_loss(motion, batch["motion"]),
            "onset": functional.mse_loss(onset, batch["onset"]),
            "pulse": functional.mse_loss(pulse, batch["pulse"]),
            "tempo": functional.mse_loss(tempo, batch["tempo"]),
            "level": functional.mse_loss(level, batch["level"]),
        }
        loss = sum(WEIGHTS[name] * part for name, part in parts.items())
        assert isinstance(loss, Tensor)
        return loss, {name: float(part.detach()) for name, part in parts.items()}

    def patch_motion(self, tubelets: Tensor) -> Tensor:
        """Motion of lone patches, without attention: [N, n, 3 f p p] pixels as PatchEmbed3d orders them ->
        [N, n, 2].
        """
        video = self.video
        embed, block = video.patch_embed_3d.proj, video.blocks[0]
        x = functional.linear(tubelets, embed.weight.flatten(1), embed.bias) + video.pos_embed[:, 1:]
        result: Tensor = self.motion(video.norm(x + block.mlp(block.norm2(x))))
        return result


STILL_PART = 0.05
WEIGHTS = {"rows": 0.25, "segments": 0.1, "motion": 1.0, "onset": 1.0, "pulse": 2.0, "tempo": 0.5, "level": 0.5}


def start_on_motion(model: VisualEncoder) -> None:
    """Start values that learn fast at this width: Xavier for the matrices, half of the patch filters as
    differences.

    A difference filter is the second frame's minus the first's, so that motion is linearly present in the
    tokens from the first step on; nothing about the architecture changes.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_embed"):
                nn.init.normal_(parameter, std=0.2)
            elif name.startswith("blocks.0") and name.endswith("proj.weight"):
                nn.init.zeros_(parameter)  # the first block starts as the MLP that the warm start has trained
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
        weight = model.patch_embed_3d.proj.weight
        nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        half = weight.shape[0] // 2
        difference = 3.0 * weight[:half, :, 1:]
        weight[half:] *= 0.5
        weight[:half] = torch.cat((-difference, difference), dim=2)


def _contrast(v: Tensor, a: Tensor, scale: Tensor, near: int = 0) -> Tensor:
    """Symmetric InfoNCE of [N, d] against [N, d]. With `near` rows per segment, direct neighbours are left out."""
    logits = scale * v @ a.T
    if near:
        place = torch.arange(len(v))
        same = place[:, None] // near == place // near
        logits = logits.masked_fill(same & ((place[:, None] - place).abs() == 1), -1e4)
    wanted = torch.arange(len(v))
    return (functional.cross_entropy(logits, wanted) + functional.cross_entropy(logits.T, wanted)) / 2


def embed(
    model: VisualEncoder, frames: NDArray[np.uint8], step: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Rows of one clip as the encoder would give them before standardising: values [n, D] and times [n]."""
    geometry = model.geometry
    plan = segments.plan_segments(
        len(frames) / FPS, fps=FPS, frames=geometry.frames, tubelet=geometry.tubelet, step=step, windows="cover"
    )
    points = np.minimum(plan.starts[:, None] + np.arange(geometry.frames), len(frames) - 1)
    pictures = seen(torch.from_numpy(np.asarray(frames)[points]), geometry)
    with torch.inference_mode():
        rows = model(scale_pixels(pictures).transpose(1, 2)).numpy()
    values, ticks = segments.merge_rows(rows, plan, overlap="central")
    return values, segments.tick_times_s(ticks, FPS)


def examples(world: World, model: VisualEncoder, change: str = "") -> list[Example]:
    """Every clip's track beside its truth, in a changed framing."""
    found = []
    for number, (frames, truth) in enumerate(zip(world.frames, world.truths, strict=True)):
        camera = changed(change, number, len(frames), FPS, frames.shape[1]) if change else None
        track = embed(model, reframe(frames, camera) if camera else frames, model.geometry.segment_step)
        found.append(Example(*track, truth.beats_s, truth.tempo_bpm, truth.intensity_times_s, truth.intensity))
    return found


def score(model: VisualEncoder, held_out: Mapping[str, World], changes: Sequence[str]) -> dict[str, Probe]:
    """Probes by world and change: fitted to half of the clips as drawn, scored on the others."""
    rows = {}
    for name, world in held_out.items():
        half = len(world.sounds) // 2
        fit = examples(world.part(0, half), model)
        for change in changes:
            test = examples(world.part(half, 2 * half), model, "" if change == "as drawn" else change)
            rows[f"{name}, {change}"] = probe(fit, test)
    return rows


def warm_start(
    model: Synchrony,
    worlds: Sequence[World],
    geometry: Geometry,
    *,
    minutes: float,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Teach the patch embedding and the first MLP what moves, patch by patch and without attention, which is cheap.

    Target: each patch's DIS flow; of the patches that stand still only a few are used.
    """
    rng = np.random.default_rng([seed, 5])
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    begin = said = time.process_time()
    step, lost, power, tubelet, patch = 0, 0.0, 0.0, geometry.tubelet, geometry.patch
    side = geometry.image // patch
    while (done := (time.process_time() - begin) / (60.0 * minutes)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (done + 1e-3) / 0.04) * (0.05 + 0.95 * (1.0 - done))
        batch = draw(worlds, 6, geometry, rng)
        video = batch["frames"].unflatten(2, (-1, tubelet)).transpose(1, 2).flatten(0, 1)  # [N, 3, f, H, W]
        target = batch["motion"].unflatten(1, (-1, geometry.patches)).flatten(0, 1)  # [N, n, 2]
        x = (
            video.reshape(len(video), 3, tubelet, side, patch, side, patch)
            .permute(0, 3, 5, 1, 2, 4, 6)
            .flatten(3)
            .flatten(1, 2)
        )
        moving = (target.abs().amax(2) > 0.1) | torch.from_numpy(rng.random(target.shape[:2]) < 0.1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model.patch_motion(x).float()
        loss = functional.mse_loss(found[moving], target[moving])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step, lost, power = (step + 1, lost + float(loss.detach()), power + float(target[moving].square().mean()))
        if time.process_time() - said > 10.0 * min(1.0, minutes):
            say(f"warm start step {step}: {1 - lost / power:.3f} of the patches' motion explained")
            said, lost, power = time.process_time(), 0.0, 0.0


def train(
    worlds: Sequence[World],
    geometry: Geometry,
    *,
    minutes: float,
    seed: int,
    clips_per_step: int,
    peak_lr: float,
    say: Callable[[str], None],
    check: Callable[[VisualEncoder], str] | None = None,
    start: Path | None = None,
) -> tuple[Synchrony, list[dict[str, float]]]:
    """AdamW under a budget of processor time: warm-up over the first 4%, then cosine to a hundredth of the peak.

    With `start` the video encoder begins as that file has it, and stands still until the heads know it.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 7])
    model = Synchrony(geometry, seed)
    if start is None:
        warm_start(model, worlds, geometry, minutes=0.15 * minutes, seed=seed, say=say)
        minutes = 0.85 * minutes
    else:
        model.video.load_state_dict(load(start, geometry).model.state_dict())
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
        lr=peak_lr,
        betas=(0.9, 0.98),
    )
    begin = time.process_time()  # a busy machine delays the training but does not shorten it
    history: list[dict[str, float]] = []
    sums: dict[str, float] = {}
    step = 0
    said = begin
    while (done := (time.process_time() - begin) / (60.0 * minutes)) < 1.0:
        rate = peak_lr * min(1.0, (done + 1e-3) / 0.04) * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = rate
        model.video.requires_grad_(start is None or done > STILL_PART)
        loss, parts = model(draw(worlds, clips_per_step, geometry, rng))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value
        if time.process_time() - said > 20.0 * min(1.0, minutes / 5):
            since = step - (int(history[-1]["step"]) if history else 0)
            record = {name: round(value / since, 4) for name, value in sums.items()}
            history.append({"step": step, "seconds": round(time.process_time() - begin, 1), **record})
            sums, said = {}, time.process_time()
            extra = check(model.video.eval()) if check and len(history) % 8 == 0 else ""
            model.train()
            say(json.dumps(history[-1]) + (" " + extra if extra else ""))
    return model, history


def save(model: VisualEncoder, mean: NDArray[np.float32], std: NDArray[np.float32], path: Path) -> None:
    """fp16 safetensors with the rows' mean and standard deviation, written beside and renamed."""
    from safetensors.torch import save_file  # noqa: PLC0415 - only to save

    state = {key: value.detach().half().contiguous() for key, value in model.state_dict().items()}
    state |= {"output.mean": torch.from_numpy(mean), "output.std": torch.from_numpy(std)}
    temporary = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, temporary)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def main() -> None:
    """Render, train, standardise, probe, save."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--minutes", type=float, default=12.0, help="processor time of the training, after rendering"
    )
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--clips", type=int, default=240, help="of each world, from ENCODER_SEEDS")
    arguments.add_argument("--probe-clips", type=int, default=40, help="held-out clips, half to fit the probes")
    arguments.add_argument("--clips-per-step", type=int, default=8)
    arguments.add_argument("--lr", type=float, default=2e-3)
    arguments.add_argument("--start", type=Path, help="weights to begin from, in place of the warm start")
    arguments.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "expotion" / "train")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument(
        "--smoke", action="store_true", help="a few steps on a few short clips, to see that it runs"
    )
    options = arguments.parse_args()
    duration_s = DURATION_S
    if options.smoke:
        options.minutes, options.clips, options.probe_clips, options.clips_per_step = 0.001, 2, 2, 2
        duration_s = 2.0
    geometry = GEOMETRIES["tiny_moving"]
    torch.set_num_threads(1)

    def say(text: str) -> None:
        print(text, flush=True)

    def rendered(style: str, first: int, count: int) -> World:
        seeds = range(first, first + count)
        return render(seeds, options.cache, geometry, style=style, duration_s=duration_s, say=say)

    conductors, people = (rendered(style, ENCODER_SEEDS, options.clips) for style in ("conductor-1", "people"))
    worlds = [conductors, people, conductors]
    held_out = {
        style: rendered(style, DEVELOPMENT_SEEDS, options.probe_clips) for style in ("conductor-1", "beating")
    }

    def keep(model: VisualEncoder) -> None:
        rows = np.concatenate(
            [embed(model, frames, geometry.segment_step)[0] for world in worlds[:2] for frames in world.frames[:30]]
        )
        save(model, rows.mean(0).astype(np.float32), rows.std(0).astype(np.float32), options.out)

    def check(model: VisualEncoder) -> str:
        return " ".join(f"{probed.beat_f1:.3f}" for probed in score(model, held_out, ["as drawn"]).values())

    model, history = train(
        worlds, geometry, minutes=options.minutes, seed=options.seed, clips_per_step=options.clips_per_step,
        peak_lr=options.lr, say=say, check=check, start=options.start,
    )  # fmt: skip
    video = model.video.eval()
    keep(video)
    say("| world, change | phase r | beat F1 | log tempo r | intensity r | intensity r within a clip |")
    for name, probed in score(video, held_out, tuple(CHANGES)).items():
        say(f"| {name} | {probed.row()} |")
    say(f"{len(history)} reports; wrote {options.out} ({options.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
