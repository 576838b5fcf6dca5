"""Train the tiny RAFT and its flow CNNs on conductors and people.

    python plugins/motion_raft/train/tiny.py --minutes 10

First RAFT, on pictures whose true flow is known because the second one is made from the first: a small affine
motion of the whole frame, and on top a few soft-edged pieces of other frames that move on their own. The loss
is RAFT's (weighted end-point error over the updates). Then, with the flow frozen, one CNN for RAFT's flow and
one for DIS flow: linear heads on their 256 values predict what the clip's sound does at that moment (onsets,
pulse, level), as in `plugins/motion_synchformer/train`, whose worlds, cameras, hearing and probe are used here too.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.optical_flow.raft import RAFT

from expotion_conductor.plan import DEVELOPMENT_SEEDS, ENCODER_SEEDS
from expotion_motion_raft.encoder import dis_flow
from expotion_motion_raft.loader import SHIPPED, read_file
from expotion_motion_raft.model import FlowCnn, build_raft, consecutive_flow, scale_pixels, seed_weights
from expotion_motion_raft.options import GEOMETRIES

sys.path.insert(0, str(Path(__file__).parents[2] / "motion_synchformer" / "train"))

import rhythm
from beat_probe import Example, probe
from framing import draw_framing
from world_clips import FPS, World, render

from expotion_motion_synchformer.options import GEOMETRIES as SYNCHFORMER_GEOMETRIES

GEOMETRY = GEOMETRIES["tiny"]
STRIDE = round(FPS / GEOMETRY.rate_hz)
Say = Callable[[str], None]


def moving_pictures(frames: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs with known flow. frames [B, 3, S, S] in [-1, 1] -> first, second [B, 3, S, S], flow [B, 2, S, S].

    Both pictures are sampled from still layers: the background layer moves by a small affine map, each piece by its
    own translation; the flow of a pixel of the first picture is that of the topmost layer there.
    """
    batch, _, size, _ = frames.shape
    yy, xx = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    centre = size / 2

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))

    turn, zoom = uniform(-0.03, 0.03, batch, 1, 1), uniform(-0.03, 0.03, batch, 1, 1)
    shift = uniform(-2, 2, batch, 2, 1, 1)
    flow = torch.stack(
        (
            zoom * (xx - centre) - turn * (yy - centre) + shift[:, 0],
            turn * (xx - centre) + zoom * (yy - centre) + shift[:, 1],
        ),
        dim=1,
    )
    flow = flow * (uniform(0, 1, batch, 1, 1, 1) < 0.5)  # half of the cameras stand still
    first = frames
    # For these small maps the inverse motion at a target pixel is the negative one, up to second order.
    second = _look(frames, xx - flow[:, 0], yy - flow[:, 1])
    for _ in range(3):
        texture = frames[torch.from_numpy(rng.permutation(batch))]
        x0, y0 = uniform(8, size - 8, batch, 1, 1), uniform(8, size - 8, batch, 1, 1)
        a, b = uniform(3, 11, batch, 1, 1), uniform(3, 11, batch, 1, 1)
        reach = uniform(0, 14, batch, 1, 1) * uniform(0, 1, batch, 1, 1)
        angle = uniform(0, 2 * math.pi, batch, 1, 1)
        dx, dy = reach * torch.cos(angle), reach * torch.sin(angle)

        def inside(x: Tensor, y: Tensor, x0: Tensor = x0, y0: Tensor = y0, a: Tensor = a, b: Tensor = b) -> Tensor:
            distance = (((x - x0) / a) ** 2 + ((y - y0) / b) ** 2).sqrt()
            return ((1.0 - distance) * torch.minimum(a, b) + 0.5).clamp(0, 1)

        here, there = inside(xx, yy)[:, None], inside(xx - dx, yy - dy)[:, None]
        first = first * (1 - here) + texture * here
        second = second * (1 - there) + _look(texture, xx - dx, yy - dy) * there
        flow = torch.where(here > 0.5, torch.stack((dx, dy), 1).expand_as(flow), flow)
    return first, second, flow


def _look(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    size = picture.shape[-1]
    grid = torch.stack((x.expand(len(picture), -1, -1), y.expand(len(picture), -1, -1)), dim=-1) * 2 / size - 1
    return functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def train_raft(world: World, *, minutes: float, seed: int, batch: int, peak_lr: float, say: Say) -> RAFT:
    """RAFT's loss: sum over updates of 0.8^(last - i) times the mean end-point error."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 11])
    model = build_raft(GEOMETRY)
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak_lr, weight_decay=1e-4)
    begin = said = time.process_time()
    step, total, still, count = 0, 0.0, 0.0, 0
    while (done := (time.process_time() - begin) / (60 * minutes)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = (
                peak_lr * min(1.0, (done + 1e-3) / 0.05) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
            )
        clips = rng.integers(0, len(world.sounds), size=batch)
        places = rng.integers(0, world.frames.shape[1], size=batch)
        frames = scale_pixels(
            torch.from_numpy(np.stack([world.frames[c, p] for c, p in zip(clips, places, strict=True)]))
        )
        first, second, flow = moving_pictures(frames, rng)
        found = model(first, second, num_flow_updates=GEOMETRY.iterations)
        errors = [(guess - flow).norm(dim=1).mean() for guess in found]
        loss = sum(0.8 ** (len(errors) - 1 - number) * error for number, error in enumerate(errors))
        assert isinstance(loss, Tensor)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step, total, still, count = (
            step + 1,
            total + float(errors[-1].detach()),
            still + float(flow.norm(dim=1).mean()),
            count + 1,
        )
        if time.process_time() - said > 20.0 * min(1.0, minutes / 5):
            say(f"raft step {step}: end-point error {total / count:.3f} px, of no motion {still / count:.3f} px")
            said, total, still, count = time.process_time(), 0.0, 0.0, 0
    return model.eval()


@torch.inference_mode()
def flows(world: World, method: Callable[[Tensor], Tensor], path: Path, say: Say) -> NDArray[np.float16]:
    """Motion of all clips in each period of the geometry's rate, float16 [N, n, 2, S, S] in a file of its own.

    Flow goes from each frame on the 25 Hz grid to the next one; as in the encoder a row is the sum over its period.
    """
    n = (world.frames.shape[1] - 1) // STRIDE
    size = world.frames.shape[2]
    shape = (len(world.sounds), n, 2, size, size)
    out: NDArray[np.float16] = np.memmap(path, dtype=np.float16, mode="w+", shape=shape)
    for number, frames in enumerate(world.frames):
        found = method(torch.from_numpy(np.asarray(frames[: n * STRIDE + 1])))
        out[number] = found.unflatten(0, (n, STRIDE)).sum(1).numpy()
        if (number + 1) % 50 == 0:
            say(f"{path.stem}: flow of {number + 1} clips")
    return out


def pair_times_s(n: int) -> NDArray[np.float64]:
    """The middle of each row's period, seconds."""
    return (np.arange(n) + 0.5) * STRIDE / FPS


def reframed(flow: NDArray[np.float32], rng: np.random.Generator, *, framed: bool) -> NDArray[np.float32]:
    """A row's flow [2, S, S] as another camera would have seen it: moved, larger or smaller, shaken."""
    size = flow.shape[1]
    camera = draw_framing(rng, STRIDE + 1, FPS, size, framed=framed)
    if camera.still:
        return flow
    first, last = camera.matrices[0], camera.matrices[-1]
    there = cv2.warpAffine(flow.transpose(1, 2, 0), first, (size, size), borderMode=cv2.BORDER_REPLICATE)
    back = cv2.invertAffineTransform(first)
    places = (
        np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="xy"), axis=-1) @ back[:, :2].T + back[:, 2]
    )
    shaken = places @ (last - first)[:, :2].T + (last - first)[:, 2]
    return np.asarray((there @ first[:, :2].T + shaken).transpose(2, 0, 1), dtype=np.float32)


def train_cnn(
    worlds: Sequence[World], flow: Sequence[NDArray[np.float16]], *, minutes: float, seed: int, batch: int, say: Say
) -> FlowCnn:
    """The CNN under linear heads for onsets around the row, the pulse's cosine and sine, and the level."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 13])
    model = FlowCnn(GEOMETRY.pool)
    seed_weights(model, seed)
    norm = nn.BatchNorm1d(256, affine=False)  # stands for the standardisation that the encoder applies
    heads = nn.Linear(256, len(rhythm.LAGS_S) + 3)
    times_s = pair_times_s(flow[0].shape[1])
    targets = []
    for heard in [sound for world in worlds for sound in world.sounds]:
        turn = 2 * np.pi * heard.phase(times_s)
        level = np.interp(times_s, np.arange(len(heard.level)) / rhythm.HOP_HZ, heard.level)
        targets.append(
            np.column_stack((rhythm.onset_windows(heard, times_s), 2 * np.cos(turn), 2 * np.sin(turn), level))
        )
    wanted = np.stack(targets).astype(np.float32)
    where = [(kind, clip) for kind, world in enumerate(worlds) for clip in range(len(world.sounds))]
    parameters = [*model.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-2)
    begin = said = time.process_time()
    step, total, count = 0, 0.0, 0
    while (done := (time.process_time() - begin) / (60 * minutes)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (done + 1e-3) / 0.05) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        clips, rows = rng.integers(0, len(where), size=batch), rng.integers(0, len(times_s), size=batch)
        seen = []
        for (kind, clip), row in zip([where[number] for number in clips], rows, strict=True):
            seen.append(reframed(flow[kind][clip, row].astype(np.float32), rng, framed=worlds[kind].framed))
        x = torch.from_numpy(np.stack(seen))
        mirror = torch.from_numpy(rng.random(batch) < 0.5).view(-1, 1, 1, 1)
        x = torch.where(mirror, x.flip(3) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1), x)
        loss = functional.mse_loss(heads(norm(model(x))), torch.from_numpy(wanted[clips, rows]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step, total, count = step + 1, total + float(loss.detach()), count + 1
        if time.process_time() - said > 15.0 * min(1.0, minutes / 2):
            say(f"cnn step {step}: loss {total / count:.4f}")
            said, total, count = time.process_time(), 0.0, 0
    return model.eval()


@torch.inference_mode()
def describe(model: FlowCnn, flow: NDArray[np.float16]) -> NDArray[np.float32]:
    """Rows [n, 256] of one clip's flow."""
    return model(torch.from_numpy(flow.astype(np.float32))).numpy()


def score(model: FlowCnn, world: World, flow: NDArray[np.float16]) -> str:
    """Probe table row: half of the clips fit the probe, the others are scored."""
    found = [
        Example(
            describe(model, rows), pair_times_s(len(rows)), t.beats_s, t.tempo_bpm, t.intensity_times_s, t.intensity
        )
        for rows, t in zip(flow, world.truths, strict=True)
    ]
    return probe(found[: len(found) // 2], found[len(found) // 2 :]).row()


def main() -> None:
    """Train everything, probe, save."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=10.0, help="processor time: 60%% RAFT, 20%% each CNN")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--clips", type=int, default=240, help="training clips, from ENCODER_SEEDS")
    arguments.add_argument(
        "--flow-clips", type=int, default=240, help="of these, the ones whose flow trains the CNNs"
    )
    arguments.add_argument("--probe-clips", type=int, default=40, help="held-out clips, half to fit the probes")
    arguments.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "expotion" / "train")
    arguments.add_argument("--out", type=Path, default=SHIPPED)
    arguments.add_argument(
        "--only", choices=("raft", "dis"), help="train this part only and keep the other one of --out"
    )
    arguments.add_argument(
        "--smoke", action="store_true", help="a few steps on a few short clips, to see that it runs"
    )
    options = arguments.parse_args()
    duration_s, batch = 10.0, 16
    if options.smoke:
        options.minutes, options.clips, options.probe_clips, duration_s, batch = 0.001, 2, 2, 1.0, 4

    def say(text: str) -> None:
        print(text, flush=True)

    sizes = replace(SYNCHFORMER_GEOMETRIES["tiny"], image=GEOMETRY.side)

    def rendered(style: str, first: int, count: int) -> World:
        seeds = range(first, first + count)
        return render(seeds, options.cache, sizes, style=style, duration_s=duration_s, with_motion=False, say=say)

    held_out = rendered("conductor-1", DEVELOPMENT_SEEDS, options.probe_clips)
    train_world, people = (rendered(style, ENCODER_SEEDS, options.clips) for style in ("conductor-1", "people"))
    cnn_worlds = [world.part(0, options.flow_clips) for world in (train_world, people)]
    state = dict(read_file(options.out)) if options.only and options.out.exists() else {}
    raft = build_raft(GEOMETRY).eval()
    if options.only != "dis":
        raft = train_raft(
            train_world, minutes=0.6 * options.minutes, seed=options.seed, batch=batch, peak_lr=1e-3, say=say
        )
        state |= {f"raft.{key}": value.detach().half() for key, value in raft.state_dict().items()}

    def raft_flow(frames: Tensor) -> Tensor:
        parts = scale_pixels(frames).split(32)
        joined = [torch.cat((part, following[:1])) for part, following in pairwise(parts)]
        return torch.cat([consecutive_flow(raft, part, GEOMETRY.iterations) for part in (*joined, parts[-1])])

    def dis(frames: Tensor) -> Tensor:
        return dis_flow(frames.permute(0, 3, 1, 2))

    say("phase r | beat F1 | log tempo r | intensity r | intensity r within a clip")
    for name, method in (("raft", raft_flow), ("dis", dis)):
        if options.only not in (None, name):
            continue
        flow = [
            flows(world, method, options.cache / f"flow_{name}_{part}.f16", say)
            for part, world in enumerate(cnn_worlds)
        ]
        unseen = flows(held_out, method, options.cache / f"flow_{name}_held_out.f16", say)
        untrained = FlowCnn(GEOMETRY.pool)
        seed_weights(untrained, options.seed)
        say(f"{name}, random CNN: {score(untrained.eval(), held_out, unseen)}")
        cnn = train_cnn(
            cnn_worlds, flow, minutes=0.2 * options.minutes, seed=options.seed, batch=8 * batch, say=say
        )
        say(f"{name}, trained CNN: {score(cnn, held_out, unseen)}")
        rows = torch.from_numpy(np.concatenate([describe(cnn, clip) for part in flow for clip in part[:20]]))
        state |= {f"cnn_{name}.{key}": value.detach().half() for key, value in cnn.state_dict().items()}
        state |= {f"cnn_{name}.output.mean": rows.mean(0), f"cnn_{name}.output.std": rows.std(0).clamp(min=1e-3)}
    save(state, options.out)
    say(f"wrote {options.out} ({options.out.stat().st_size / 1e6:.2f} MB)")


def save(state: dict[str, Tensor], path: Path) -> None:
    """safetensors, written beside, flushed and renamed."""
    from safetensors.torch import save_file  # noqa: PLC0415 - only to save

    temporary = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in state.items()}, temporary)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


if __name__ == "__main__":
    main()
