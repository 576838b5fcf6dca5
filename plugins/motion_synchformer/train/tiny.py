"""Train the tiny Synchformer encoder on the conductor world: audio-visual synchrony, no labels.

    python plugins/motion_synchformer/train/tiny.py --minutes 15

A video encoder (the plugin's own model) and a small audio encoder learn together. As in Synchformer's first
stage, segments of picture and sound that belong together are pulled together against those of other places
and other clips; here also every row (80 ms) against all other rows of the batch. Linear heads on the same
rows moreover predict what the sound does around that moment: its onset envelope, the phase and rate of its
pulse, its level; and a linear head on every patch predicts the patch's mean DIS flow between its two frames,
a dense signal that gets the layers going (for the first 15% of the time alone, patch by patch). All targets
come from waveform and pixels (`rhythm.py`, `conductor_clips.py`); the world's plan is read by the probes
only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rhythm
import torch
from beat_probe import Example, probe
from conductor_clips import FPS, MOTION_CELL_PX, World, render
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from expotion_conductor.plan import DEVELOPMENT_SEEDS, ENCODER_SEEDS
from expotion_motion_synchformer import segments
from expotion_motion_synchformer.loader import SHIPPED
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


def draw(world: World, n_clips: int, geometry: Geometry, rng: np.random.Generator) -> dict[str, Tensor]:
    """A batch of one segment of each of `n_clips` clips, pictures varied, and its targets."""
    length = world.frames.shape[1]
    picks = rng.choice(len(world.sounds), size=n_clips, replace=len(world.sounds) < n_clips)
    starts = geometry.tubelet * rng.integers(0, (length - geometry.frames) // geometry.tubelet + 1, size=n_clips)
    pictures = np.stack([world.frames[c, s : s + geometry.frames] for c, s in zip(picks, starts, strict=True)])
    offsets = np.arange(geometry.rows) * geometry.tubelet + (geometry.tubelet - 1) / 2
    out: dict[str, list[NDArray[np.float32]]] = {
        key: [] for key in ("log_mel", "at", "onset", "pulse", "tempo", "level")
    }
    margin, span = 15, round(geometry.frames / FPS * rhythm.HOP_HZ) + 30
    for clip, start in zip(picks, starts, strict=True):
        heard = world.sounds[clip]
        times_s = (start + offsets) / FPS
        first = round(start / FPS * rhythm.HOP_HZ) - margin
        index = np.clip(np.arange(first, first + span), 0, len(heard.log_mel) - 1)
        turn = 2 * np.pi * heard.phase(times_s)
        out["log_mel"].append(heard.log_mel[index].T)
        out["at"].append((times_s * rhythm.HOP_HZ - first).astype(np.float32))
        out["onset"].append(rhythm.onset_windows(heard, times_s))
        out["pulse"].append(np.stack((np.cos(turn), np.sin(turn)), axis=1).astype(np.float32))
        out["tempo"].append(np.full((len(times_s), 1), np.log2(heard.tempo_hz) - 1.0, dtype=np.float32))
        grid_s = np.arange(len(heard.level)) / rhythm.HOP_HZ
        out["level"].append(np.interp(times_s, grid_s, heard.level)[:, None].astype(np.float32))
    batch = {key: torch.from_numpy(np.stack(values)) for key, values in out.items()}
    rows = starts // geometry.tubelet
    moves = np.stack([world.motion[c, r : r + geometry.rows] for c, r in zip(picks, rows, strict=True)])
    frames = scale_pixels(torch.from_numpy(pictures)).transpose(1, 2)
    batch["frames"], batch["motion"] = vary(frames, torch.from_numpy(moves).float(), geometry, rng)
    return batch


def vary(video: Tensor, motion: Tensor, geometry: Geometry, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Shift, mirror, brightness, contrast and loss of colour, constant within a segment.

    video [B, 3, F, H, W]; motion [B, t, 2, H / 3, W / 3], moved and mirrored with the picture and then
    averaged over each patch: [B, t n, 2].
    """
    pictures, moves = [], []
    for segment, flow in zip(video, motion, strict=True):
        dy, dx = (int(value) for value in rng.integers(-1, 2, size=2))
        x = segment.roll((MOTION_CELL_PX * dy, MOTION_CELL_PX * dx), dims=(2, 3))
        y = flow.roll((dy, dx), dims=(2, 3))
        if rng.random() < 0.5:
            x = x.flip(3)
            y = y.flip(3) * torch.tensor([-1.0, 1.0])[:, None, None]
        if rng.random() < 0.2:
            x = x.mean(0, keepdim=True).expand_as(x)
        pictures.append((x * float(rng.uniform(0.7, 1.3)) + float(rng.uniform(-0.25, 0.25))).clamp(-1.5, 1.5))
        moves.append(y)
    target = _patch_targets(torch.stack(moves).flatten(0, 1), geometry)
    return torch.stack(pictures), target.unflatten(0, (len(video), -1)).flatten(1, 2)


def embed(
    model: VisualEncoder, frames: NDArray[np.uint8], step: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Rows of one clip as the encoder would give them before standardising: values [n, D] and times [n]."""
    geometry = model.geometry
    plan = segments.plan_segments(
        len(frames) / FPS, fps=FPS, frames=geometry.frames, tubelet=geometry.tubelet, step=step, windows="cover"
    )
    points = np.minimum(plan.starts[:, None] + np.arange(geometry.frames), len(frames) - 1)
    with torch.inference_mode():
        rows = model(scale_pixels(torch.from_numpy(np.asarray(frames)[points])).transpose(1, 2)).numpy()
    values, ticks = segments.merge_rows(rows, plan, overlap="central")
    return values, segments.tick_times_s(ticks, FPS)


def examples(
    world: World, track: Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float64]]]
) -> list[Example]:
    """Every clip's track beside its truth."""
    return [
        Example(*track(frames), truth.beats_s, truth.tempo_bpm, truth.intensity_times_s, truth.intensity)
        for frames, truth in zip(world.frames, world.truths, strict=True)
    ]


def warm_start(
    model: Synchrony, world: World, geometry: Geometry, *, minutes: float, seed: int, say: Callable[[str], None]
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
        clips, rows = (rng.integers(0, len(world.sounds), size=96), rng.integers(0, world.motion.shape[1], size=96))
        pictures = np.stack(
            [world.frames[c, tubelet * r : tubelet * (r + 1)] for c, r in zip(clips, rows, strict=True)]
        )
        moves = np.stack([world.motion[c, r] for c, r in zip(clips, rows, strict=True)])
        video = scale_pixels(torch.from_numpy(pictures)).transpose(1, 2).contiguous()  # [N, 3, f, H, W]
        video = video * float(rng.uniform(0.7, 1.3)) + float(rng.uniform(-0.2, 0.2))
        target = _patch_targets(torch.from_numpy(moves).float(), geometry)  # [N, n, 2]
        x = (
            video.view(len(video), 3, tubelet, side, patch, side, patch)
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


def _patch_targets(motion: Tensor, geometry: Geometry) -> Tensor:
    """Cells [N, 2, h, w] averaged over each patch, scaled to about unit size: [N, n, 2]."""
    pooled = functional.avg_pool2d(motion, geometry.patch // MOTION_CELL_PX)
    return (2.0 * pooled).flatten(2).transpose(1, 2).clamp(-4.0, 4.0)


def train(
    world: World,
    geometry: Geometry,
    *,
    minutes: float,
    seed: int,
    clips_per_step: int,
    peak_lr: float,
    say: Callable[[str], None],
    check: Callable[[VisualEncoder], str] | None = None,
) -> tuple[Synchrony, list[dict[str, float]]]:
    """AdamW under a budget of processor time: warm-up over the first 4%, then cosine to a hundredth of the peak."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 7])
    model = Synchrony(geometry, seed)
    warm_start(model, world, geometry, minutes=0.15 * minutes, seed=seed, say=say)
    minutes = 0.85 * minutes
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
        loss, parts = model(draw(world, clips_per_step, geometry, rng))
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
            extra = check(model.video.eval()) if check and len(history) % 4 == 0 else ""
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
        "--minutes", type=float, default=15.0, help="processor time of the training, after rendering"
    )
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--clips", type=int, default=600, help="training clips, from ENCODER_SEEDS")
    arguments.add_argument("--probe-clips", type=int, default=80, help="held-out clips, half to fit the probes")
    arguments.add_argument("--clips-per-step", type=int, default=16)
    arguments.add_argument("--lr", type=float, default=1.5e-3)
    arguments.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "expotion" / "train")
    arguments.add_argument("--out", type=Path, default=SHIPPED)
    arguments.add_argument(
        "--smoke", action="store_true", help="a few steps on a few short clips, to see that it runs"
    )
    options = arguments.parse_args()
    duration_s = 10.0
    if options.smoke:
        options.minutes, options.clips, options.probe_clips, options.clips_per_step = 0.001, 3, 3, 2
        duration_s = 2.0
    geometry = GEOMETRIES["tiny"]

    def say(text: str) -> None:
        print(text, flush=True)

    train_world = render(
        range(ENCODER_SEEDS, ENCODER_SEEDS + options.clips), options.cache, geometry, duration_s=duration_s, say=say
    )
    held_out = render(
        range(DEVELOPMENT_SEEDS, DEVELOPMENT_SEEDS + options.probe_clips),
        options.cache,
        geometry,
        duration_s=duration_s,
        say=say,
    )
    half = options.probe_clips // 2

    def score(model: VisualEncoder) -> str:
        found = examples(held_out, lambda frames: embed(model, frames, geometry.segment_step))
        return probe(found[:half], found[half:]).row()

    def keep(model: VisualEncoder) -> None:
        rows = np.concatenate(
            [embed(model, frames, geometry.segment_step)[0] for frames in train_world.frames[:40]]
        )
        save(model, rows.mean(0).astype(np.float32), rows.std(0).astype(np.float32), options.out)

    def check(model: VisualEncoder) -> str:
        keep(model)
        return score(model)

    say("phase r | beat F1 | log tempo r | intensity r | intensity r within a clip")
    say("random weights: " + score(seeded(geometry, options.seed).eval()))
    model, history = train(
        train_world, geometry, minutes=options.minutes, seed=options.seed, clips_per_step=options.clips_per_step,
        peak_lr=options.lr, say=say, check=check,
    )  # fmt: skip
    video = model.video.eval()
    say("trained: " + score(video))
    keep(video)
    say(f"{len(history)} reports; wrote {options.out} ({options.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
