"""How the cost of a training step grows with workers: step time, what they exchange, and what that costs.

    uv run python benchmarks/scaling.py
    uv run python benchmarks/scaling.py --workers 1 2 4 8 --geometry large --batch 10     # on a machine with GPUs

Each worker is a process with one compute thread (or one GPU) and the same batch, so the ideal is a constant step
time (weak scaling): `efficiency_fraction` = time of one worker / time of n. On two cores more than two workers
compete for them. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.musicgen.geometry import LMGeometry
from expotion.musicgen.load import compute_dtype
from expotion.recipe.schema import ContextSwap, LearningRate, Train
from expotion.train.examples import Examples
from expotion.train.loop import Loop, SteeredMusic
from expotion.train.world import ProcessGroup

sys.path.insert(0, str(Path(__file__).resolve().parent))
from train import GEOMETRIES, N_FRAMES, build_lm

TINY = LMGeometry(width=192, n_layers=6, n_heads=4, ffn_width=768, n_codebooks=4, card=256, text_width=96)
SIZES = {"tiny": TINY, **GEOMETRIES}
N_CLIPS, D, RANK = 64, 192, 12


class TimedWorld(ProcessGroup):
    """The group, with the seconds and bytes of its sums."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self.bytes = 0.0, 0

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """As before, timed. Waiting for slower workers counts as well."""
        started = time.perf_counter()
        super().sum_(tensors)
        self.seconds += time.perf_counter() - started
        self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def worker(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps on one worker: seconds of each, seconds and bytes exchanged per step."""
    device = f"cuda:{arguments.rank}" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "nccl" if device != "cpu" else "gloo",
        init_method=arguments.rendezvous,
        rank=arguments.rank,
        world_size=arguments.size,
    )
    geometry, world = SIZES[arguments.geometry], TimedWorld()
    lm = build_lm(geometry).to(compute_dtype("auto", device.partition(":")[0]))
    generator = torch.Generator().manual_seed(0)
    examples = Examples(
        codes=torch.randint(0, geometry.card, (N_CLIPS, 4, N_FRAMES), generator=generator),
        n_frames=torch.full((N_CLIPS,), N_FRAMES),
        text=torch.randn(N_CLIPS, 16, geometry.text_width or 768, generator=generator),
        text_mask=torch.ones(N_CLIPS, 16, dtype=torch.bool),
        controls={name: torch.randn(N_CLIPS, N_FRAMES + 1, D, generator=generator) for name in ("a", "b")},
        valid={name: torch.ones(N_CLIPS, N_FRAMES + 1, dtype=torch.bool) for name in ("a", "b")},
    )
    modalities = (Modality("a", D, RANK), Modality("b", D, RANK))
    config = AdaptorConfig(modalities, geometry.width, geometry.n_layers, geometry.n_layers)
    settings = Train(
        steps=10**6,
        batch_size=arguments.batch,
        accumulate=arguments.size,
        learning_rate=LearningRate(project=1e-3, gates=1e-3, other=1e-3),
        warmup_steps=0,
        weight_decay=0.01,
        clip_norm=1.0,
        context_swap=ContextSwap(prob=0.0),
        condition_dropout={},
        text_dropout=0.0,
    )
    run = Loop(
        SteeredMusic(lm.to(device), Adaptor(config, seed=1).to(device), examples, settings, 0),
        settings,
        world=world,
    )
    run.step()
    world.seconds, world.bytes = 0.0, 0
    seconds = [run.step()["step_s"] for _ in range(arguments.steps)]
    torch.distributed.destroy_process_group()
    return {
        "step_s": statistics.median(seconds),
        "exchange_s": world.seconds / arguments.steps,
        "exchange_bytes": world.bytes // arguments.steps,
    }


def measure(size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All workers of a group; what worker 0 saw."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--rendezvous", f"file://{folder}/meet", "--size", str(size)]
        for name in ("batch", "steps", "geometry"):
            command += [f"--{name}", str(getattr(arguments, name))]
        processes = [
            subprocess.Popen([*command, "--rank", str(rank)], stdout=subprocess.PIPE, text=True)
            for rank in range(size)
        ]
        answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{size} workers: a worker failed")
    answer: dict[str, Any] = json.loads(answers[0].strip().splitlines()[-1])
    return answer


def main() -> None:
    """Parse, measure each number of workers, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--geometry", choices=SIZES, default="tiny")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    for hidden in ("--rank", "--size"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rendezvous", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank is not None:
        print(json.dumps(worker(arguments)))
        return
    found = {size: measure(size, arguments) for size in arguments.workers}
    alone = found[arguments.workers[0]]["step_s"]
    for size, seen in found.items():
        print(
            f"{size:3d} workers {seen['step_s']:8.3f} s/step, of that exchange {seen['exchange_s']:.4f} s "
            f"for {seen['exchange_bytes'] / 2**20:.2f} MiB",
            file=sys.stderr,
        )
    last = arguments.workers[-1]
    print(
        json.dumps(
            {
                "efficiency_fraction": round(min(1.0, alone / found[last]["step_s"]), 3),
                "clips_per_second": {
                    size: round(size * arguments.batch / seen["step_s"], 3) for size, seen in found.items()
                },
                "exchange_fraction": round(found[last]["exchange_s"] / found[last]["step_s"], 4),
                "workers": {size: seen for size, seen in found.items()},
                "notes": [
                    f"{arguments.geometry}, batch {arguments.batch} per worker, {os.cpu_count()} cores, "
                    "one thread per worker"
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
