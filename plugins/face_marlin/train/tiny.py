"""Trains the tiny face encoder by masked autoencoding on conductors and people, probes it, writes its weights.

    python plugins/face_marlin/train/tiny.py --minutes 8 --seed 0 --wander 0.04

As MARLIN: part of the face is hidden (the same places in all frames of a window: tubes), the encoder sees the
rest, and from that the face is drawn again. Two things differ, both because a network this small, trained for
minutes on few faces, would otherwise spend itself on who it is. What is drawn is the difference from the
clip's average look, in principal components: not the person but the expression and the pose. And it is drawn
by a linear map from the pooled vector, not token by token, so that the vector itself must hold it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tiny_data import STYLES, Windows, collect
from tiny_probe import probe
from torch import Tensor

from expotion_conductor.plan import ENCODER_SEEDS
from expotion_face_marlin import TINY_WEIGHTS
from expotion_face_marlin.geometry import GEOMETRIES, MarlinGeometry
from expotion_face_marlin.model import MarlinEncoder, initialise

PROBE_SEED_OFFSET = 5_000
"""Probe clips are ENCODER_SEEDS + this + i: never seen in training."""
VISIBLE = (0.25, 0.5, 0.75)
"""Visible parts of a window; each batch takes one."""
COMPONENTS = 48
SAMPLES = 600
"""Windows from which the components are computed."""
LEARNING_RATE = 2e-3
WARM_UP = 60
SHIFT_PX = 2
COARSE_SHARE, COARSEST = 0.35, 0.4
"""Parts of the windows that are seen as if the face were smaller in the picture, and how much smaller at most."""
LOG_EVERY = 50


def windows(style: str, first_seed: int, n_clips: int, every: int, folder: Path | None, clip_s: float) -> Windows:
    """Windows of these clips, rendered, or read from `folder` where an earlier run kept them."""
    kept = folder / f"{style}_{first_seed}_{n_clips}_{every}_{clip_s:g}s.npz" if folder else None
    if kept is not None and kept.is_file():
        return Windows.load(kept)
    data = collect(range(first_seed, first_seed + n_clips), every, clip_s, style)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        data.save(kept)
    return data


@dataclasses.dataclass(frozen=True)
class Batch:
    """Clips float32 [B, 3, T, S, S] in 0..1 and what is to be drawn: differences [B, 2, pixels]."""

    clips: Tensor
    differences: Tensor


def batch(data: Windows, rows: NDArray[np.int64], rng: np.random.Generator, wander: float = 0.0) -> Batch:
    """Windows and their differences from the clip's average look, shifted, mirrored and relit alike.

    With `wander` the crop alone is moved and scaled, by up to this part of its side, and what is drawn stays.
    """
    average = np.rint(data.average[data.clip[rows], None] * 255).astype(np.uint8)  # [B, 1, S, S, 3]
    both = np.concatenate([data.crops[data.index[rows]], average], axis=1)  # [B, T + 1, S, S, 3]
    size = both.shape[2]
    edge = ((0, 0), (0, 0), (SHIFT_PX, SHIFT_PX), (SHIFT_PX, SHIFT_PX), (0, 0))
    padded = np.pad(both, edge, mode="edge")
    seen = np.empty_like(both[:, :-1])
    for i in range(len(rows)):
        y, x = (SHIFT_PX, SHIFT_PX) if wander else rng.integers(0, 2 * SHIFT_PX + 1, 2)
        window = padded[i, :, y : y + size, x : x + size]
        window = np.ascontiguousarray(window[:, :, ::-1] if rng.random() < 0.5 else window)
        relit = cv2.convertScaleAbs(window.reshape(-1, size), None, rng.uniform(0.8, 1.2), rng.uniform(-12, 12))
        both[i] = relit.reshape(window.shape)
        seen[i] = moved(both[i, :-1], rng, wander) if wander else both[i, :-1]
        if rng.random() < COARSE_SHARE:
            seen[i] = coarser(seen[i], rng.uniform(COARSEST, 1.0))
    clips = torch.from_numpy(seen).permute(0, 4, 1, 2, 3).float() / 255.0
    return Batch(clips, differences(both))


def moved(window: NDArray[np.uint8], rng: np.random.Generator, most: float) -> NDArray[np.uint8]:
    """Frames [T, S, S, 3] as a crop would have shown them that sits up to `most` of its side elsewhere."""
    size, zoom = window.shape[1], 1.0 + rng.uniform(-most, most)
    x, y = (1.0 - zoom) * (size - 1) / 2 + rng.uniform(-most, most, 2) * size
    matrix = np.array([[zoom, 0.0, x], [0.0, zoom, y]])
    return np.stack(
        [cv2.warpAffine(frame, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE) for frame in window]
    )


def coarser(window: NDArray[np.uint8], part: float) -> NDArray[np.uint8]:
    """Frames [T, S, S, 3] as if the face had been this part as large in the picture."""
    size = window.shape[1]
    small = max(4, round(part * size))
    shrunk = (cv2.resize(frame, (small, small), interpolation=cv2.INTER_AREA) for frame in window)
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR) for frame in shrunk])


def differences(windows_and_average: NDArray[np.uint8]) -> Tensor:
    """Each half of a window (two of its frames) minus the average look, at half size: [B, 2, 3 S S / 4]."""
    n, last = len(windows_and_average), windows_and_average.shape[1] - 1
    picks = np.array([1, 5, last // 2 + 1, last // 2 + 5, last])
    pixels = torch.from_numpy(windows_and_average[:, picks]).flatten(0, 1).permute(0, 3, 1, 2).float() / 255.0
    small = torch.nn.functional.avg_pool2d(pixels, 2).reshape(n, 5, -1)
    return small[:, :4].reshape(n, 2, 2, -1).mean(dim=2) - small[:, 4:]


class Drawing(torch.nn.Module):
    """The decoder: a linear map from the pooled vector to principal components of both halves' differences."""

    basis: Tensor
    scale: Tensor

    def __init__(self, width: int, samples: Tensor) -> None:
        super().__init__()
        samples = samples.flatten(0, 1)
        _, spread, axes = torch.linalg.svd(samples, full_matrices=False)
        spread = spread[:COMPONENTS] / len(samples) ** 0.5
        self.register_buffer("basis", axes[:COMPONENTS].T.contiguous())
        # Between plain pixels (large differences only) and whitened ones (noise as loud as a smile).
        self.register_buffer("scale", (spread * spread[0]).sqrt())
        self.weight = (spread / self.scale).square().sum()
        self.draw = torch.nn.Linear(width, 2 * COMPONENTS)

    def loss(self, pooled: Tensor, differences: Tensor) -> Tensor:
        """Squared error over the variance of what is drawn: 1 for drawing the average look."""
        target = (differences @ self.basis / self.scale).flatten(1)
        return (self.draw(pooled) - target).square().sum(dim=1).mean() / (2 * self.weight)


def tube_mask(n: int, geometry: MarlinGeometry, part: float, generator: torch.Generator) -> Tensor:
    """Visible tokens, bool [n, N]: random places, the same at all times of a window."""
    times, rows, columns = geometry.grid
    places = rows * columns
    keep = max(1, round(part * places))
    order = torch.rand(n, places, generator=generator).argsort(dim=1)
    visible = torch.zeros(n, places, dtype=torch.bool).scatter_(1, order[:, :keep], True)
    return visible.repeat(1, times)


def features(model: MarlinEncoder, data: Windows) -> NDArray[np.float32]:
    """Pooled features of all windows [n, D]."""
    model.eval()
    out = []
    with torch.inference_mode():
        crops = torch.from_numpy(data.crops)
        for rows in torch.from_numpy(data.index).split(48):
            out.append(model.pooled_windows(crops, rows).numpy())
    return np.concatenate(out)


def scores(model: MarlinEncoder, held_out: Mapping[str, Windows]) -> dict[str, dict[str, float]]:
    """What a line reads of the intensity, by world."""
    return {
        style: probe(features(model, data), data.intensity, data.clip).rounded() for style, data in held_out.items()
    }


def steadiness(model: MarlinEncoder, data: Windows) -> float:
    """Mean cosine of standardised features with those of crops that sit 1% of their side lower."""
    size = data.crops.shape[1]
    down = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.01 * size]])
    crops = [cv2.warpAffine(crop, down, (size, size), borderMode=cv2.BORDER_REPLICATE) for crop in data.crops]
    here, there = features(model, data), features(model, dataclasses.replace(data, crops=np.stack(crops)))
    mean, std = here.mean(axis=0), here.std(axis=0) + 1e-6
    a, b = (here - mean) / std, (there - mean) / std
    return float(np.mean((a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))))


def train(
    model: MarlinEncoder, data: Windows, seconds: float, seed: int, batch_size: int, wander: float
) -> list[tuple[int, float]]:
    """AdamW with warm-up and a cosine over the processor time allowed. Returns (step, mean loss) pairs."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    drawing = Drawing(model.geometry.width, batch(data, rng.integers(0, len(data.index), SAMPLES), rng).differences)
    parameters = [p for p in (*model.parameters(), *drawing.parameters()) if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    history: list[tuple[int, float]] = []
    recent: list[float] = []
    started_s, step = time.process_time(), 0
    model.train()
    while (done := (time.process_time() - started_s) / seconds) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1.0 + np.cos(np.pi * done))
        seen = batch(data, rng.integers(0, len(data.index), batch_size), rng, wander)
        part = VISIBLE[int(rng.integers(len(VISIBLE)))]
        visible = tube_mask(batch_size, model.geometry, part, generator)
        loss = drawing.loss(model.pooled(seen.clips, visible), seen.differences)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        recent.append(loss.item())
        step += 1
        if step % LOG_EVERY == 0:
            history.append((step, round(float(np.mean(recent)), 4)))
            print(f"step {step}: loss {history[-1][1]}, {time.process_time() - started_s:.0f} s", flush=True)
            recent = []
    return history or [(step, round(float(np.mean(recent)), 4))]


def write(model: MarlinEncoder, data: Windows, report: dict[str, object], out: Path) -> None:
    """The encoder in fp16 beside the statistics that standardise its output, and a JSON about both."""
    values = features(model, data)
    state = {f"encoder.{key}": value.half().contiguous() for key, value in model.state_dict().items()}
    state["output.mean"] = torch.from_numpy(values.mean(axis=0)).float()
    state["output.std"] = torch.from_numpy(values.std(axis=0)).float().clamp_min(1e-4)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    save_file(state, partial, metadata={"licence": "Apache-2.0", "geometry": "tiny"})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.chmod(0o644)
    partial.replace(out)
    partial_json = out.with_suffix(".partial.json")
    partial_json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    partial_json.replace(out.with_suffix(".json"))


def main() -> None:
    """Collect, train, probe, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="processor time, without rendering")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=240, help="clips of each world to train on")
    parser.add_argument("--probe-clips", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--data", type=Path, help="folder in which rendered windows are kept between runs")
    parser.add_argument(
        "--wander", type=float, default=0.0, help="move the crop alone by up to this part of its side"
    )
    parser.add_argument("--out", type=Path, default=TINY_WEIGHTS)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that only shows that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.minutes, args.clips, args.probe_clips, args.batch_size = 0.001, 2, 2, 4
    clip_s = 1.0 if args.smoke else 10.0
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    started_s = time.monotonic()
    first = ENCODER_SEEDS + PROBE_SEED_OFFSET
    held_out = {style: windows(style, first, args.probe_clips, 1, args.data, clip_s) for style in STYLES}
    conductors, people = (windows(style, ENCODER_SEEDS, args.clips, 2, args.data, clip_s) for style in STYLES)
    data = conductors.with_those(people)
    rendered_s = time.monotonic() - started_s
    geometry = GEOMETRIES["tiny"]
    model = MarlinEncoder(geometry)
    initialise(model, args.seed)
    random_scores = scores(model, held_out)
    print(f"random weights: {random_scores}", flush=True)
    history = train(model, data, 60 * args.minutes, args.seed, args.batch_size, args.wander)
    trained_scores = scores(model, held_out)
    steady = steadiness(model, held_out["conductor-1"])
    print(f"trained weights: {trained_scores}, cosine after 1% of a shift {steady:.3f}", flush=True)
    report: dict[str, object] = {
        "command": f"tiny.py --minutes {args.minutes:g} --seed {args.seed} --clips {args.clips} "
        f"--wander {args.wander:g}",
        "geometry": dataclasses.asdict(geometry),
        "windows": len(data.index),
        "rendering_s": round(rendered_s, 1),
        "steps": history[-1][0],
        "loss": history,
        "probe_random": random_scores,
        "probe_trained": trained_scores,
        "cosine_after_1_percent_shift": round(steady, 3),
    }
    write(model, data, report, args.out)
    print(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
