"""What one step of training sees: segments of both worlds through cameras drawn anew, and what their sound does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rhythm
import torch
from framing import draw_framing, nearly, reflow, reframe
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from world_clips import FPS, MOTION_CELLS, World

from expotion_motion_synchformer.model import scale_pixels
from expotion_motion_synchformer.options import Geometry
from expotion_motion_synchformer.place import look_at, moving_square


def draw(worlds: Sequence[World], n_clips: int, geometry: Geometry, rng: np.random.Generator) -> dict[str, Tensor]:
    """A batch of one segment of each of `n_clips` clips, of the worlds in turn, seen anew, and its targets."""
    offsets = np.arange(geometry.rows) * geometry.tubelet + (geometry.tubelet - 1) / 2
    out: dict[str, list[NDArray[np.float32]]] = {
        key: [] for key in ("log_mel", "at", "onset", "pulse", "tempo", "level")
    }
    pictures, moves = [], []
    margin, span = 15, round(geometry.frames / FPS * rhythm.HOP_HZ) + 30
    orders = [rng.permutation(len(world.sounds)) for world in worlds]
    for number in range(n_clips):
        kind = number % len(worlds)
        world, order = worlds[kind], orders[kind]
        clip = int(order[number // len(worlds) % len(order)])
        last = (world.frames.shape[1] - geometry.frames) // geometry.tubelet
        start = geometry.tubelet * int(rng.integers(0, last + 1))
        picture, move = look(world, clip, start, geometry, rng)
        pictures.append(picture)
        moves.append(move)
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
    frames = scale_pixels(torch.from_numpy(np.stack(pictures))).transpose(1, 2)
    batch["frames"], batch["motion"] = vary(frames, torch.from_numpy(np.stack(moves)), geometry, rng)
    return batch


def look(
    world: World, clip: int, start: int, geometry: Geometry, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What the encoder sees of a segment through another camera, uint8 [F, S, S, 3], and its flow [t, 2, c, c]."""
    rendered = np.asarray(world.frames[clip, start : start + geometry.frames])
    row = start // geometry.tubelet
    flow = np.asarray(world.motion[clip, row : row + geometry.rows], dtype=np.float32)
    length = rendered.shape[1]
    camera = draw_framing(rng, geometry.frames, FPS, length, framed=world.framed)
    pictures = reframe(rendered, camera, rng)
    square = nearly(moving_square(pictures), length, rng)
    return look_at(pictures, square, geometry.image), reflow(flow, camera, square, length, geometry.image)


def vary(video: Tensor, motion: Tensor, geometry: Geometry, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mirror, brightness, contrast and loss of colour, constant within a segment.

    video [B, 3, F, H, W]; motion [B, t, 2, c, c], mirrored with the picture and then averaged over each patch:
    [B, t n, 2].
    """
    pictures, moves = [], []
    for segment, flow in zip(video, motion, strict=True):
        x, y = segment, flow
        if rng.random() < 0.5:
            x = x.flip(3)
            y = y.flip(3) * torch.tensor([-1.0, 1.0])[:, None, None]
        if rng.random() < 0.2:
            x = x.mean(0, keepdim=True).expand_as(x)
        pictures.append((x * float(rng.uniform(0.7, 1.3)) + float(rng.uniform(-0.25, 0.25))).clamp(-1.5, 1.5))
        moves.append(y)
    target = patch_targets(torch.stack(moves).flatten(0, 1), geometry)
    return torch.stack(pictures), target.unflatten(0, (len(video), -1)).flatten(1, 2)


def patch_targets(motion: Tensor, geometry: Geometry) -> Tensor:
    """Cells [N, 2, c, c] averaged over each patch, scaled to about unit size: [N, n, 2]."""
    pooled = functional.avg_pool2d(motion, MOTION_CELLS * geometry.patch // geometry.image)
    return (3.0 * pooled).flatten(2).transpose(1, 2).clamp(-4.0, 4.0)
