"""How fast the adaptor trains, and in how much memory: our step against one in the manner of the released code.

    uv run python benchmarks/train.py
    uv run python benchmarks/train.py --steps 1 --repeats 1      # shorter
    uv run python benchmarks/train.py --device cuda --geometry large --batch 10     # ours alone, on a GPU

musicgen-small's sizes, random weights, batch 4, clips of 10 s. Each side runs in a process of its own (its peak
resident memory is its own), in turns; the best step of each counts. The peer is `peers/released_training.py`. The
table goes to standard error; the last line is one JSON object. What ran beside other work is run again while there
is time, and said.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM, sinusoid
from expotion.musicgen.geometry import LARGE, MEDIUM, SMALL, LMGeometry
from expotion.musicgen.load import compute_dtype
from expotion.recipe.schema import ContextSwap, LearningRate, Train
from expotion.train.examples import Examples
from expotion.train.loop import Loop, SteeredMusic

sys.path.insert(0, str(Path(__file__).resolve().parent))
from peers import load
from peers import released_training as released

GEOMETRIES = {"small": SMALL, "medium": MEDIUM, "large": LARGE}
N_FRAMES, D, RANK, N_TOKENS = 500, 256, 48, 16
SIDES = {
    "released": "in the manner of the released code, fp32",
    "ours": "ours, all layers",
    "ours_fp32": "ours, all layers, fp32",
    "ours_recomputed": "ours, all layers, activations computed again",
    "ours_last_quarter": "ours, last quarter of the layers",
}


def build_lm(geometry: LMGeometry, device: str = "cpu") -> MusicGenLM:
    """Random weights of a usual size, the same in every process."""
    with torch.device("meta"):
        lm = MusicGenLM(geometry)
    lm = lm.to_empty(device=device)
    generator = torch.Generator(device=device).manual_seed(0)
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, 0.02, generator=generator)
        else:
            parameter.data.zero_()
    for module in lm.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.weight.data.fill_(1.0)
    return lm.requires_grad_(False).eval()


def clips(batch: int, geometry: LMGeometry) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [B, K, T] and features [B, T + 1, D]."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, geometry.card, (batch, geometry.n_codebooks, N_FRAMES), generator=generator)
    return codes, torch.randn(batch, N_FRAMES + 1, D, generator=generator)


def released_side(geometry: LMGeometry, batch: int, steps: int) -> dict[str, Any]:
    """Seconds per step, and the first loss."""
    lm = build_lm(geometry)
    model, text = released.PlainModel(lm), released.text_encoder()
    codes, features = clips(batch, geometry)
    n, d = geometry.n_layers, geometry.width
    own = released.Trainable(
        torch.nn.Parameter(torch.randn(n + 1, N_FRAMES + 1, d)),
        torch.nn.Parameter(torch.zeros(n)),
        torch.nn.Parameter(torch.randn(RANK, D) * D**-0.5),
        [torch.nn.Parameter(torch.randn(d, RANK) * RANK**-0.5) for _ in range(n)],
    )
    optimizer = torch.optim.AdamW(own.parameters(), lr=1e-2, weight_decay=0.02)
    table = sinusoid(0, N_FRAMES + 1, d)
    tokens = torch.randint(0, 32000, (batch, N_TOKENS), generator=torch.Generator().manual_seed(2))
    seconds, losses = [], []
    for _ in range(steps):
        started = time.perf_counter()
        with torch.no_grad():
            hidden = text(input_ids=tokens).last_hidden_state * 0.0  # encoded, and set to what we are given
        sequence = delay.build(codes, geometry.special_token, geometry.delays, valid_only=True)
        optimizer.zero_grad()
        loss = model.loss_of(sequence, codes, features, hidden, own, table)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own.parameters(), 0.1)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        losses.append(float(loss.detach()))
    return {"seconds": seconds, "loss": losses[0]}


def our_side(
    side: str, geometry: LMGeometry, batch: int, steps: int, device: str, precision: str
) -> dict[str, Any]:
    """Seconds per step, and the first loss."""
    n = geometry.n_layers
    n_adapted = max(1, n // 4) if side == "ours_last_quarter" else n
    dtype = compute_dtype("fp32" if side == "ours_fp32" else precision, device)
    lm = build_lm(geometry, device).to(dtype)
    codes, features = clips(batch, geometry)
    examples = Examples(
        codes=codes,
        n_frames=torch.full((batch,), N_FRAMES),
        text=torch.zeros(batch, N_TOKENS, released.TEXT_WIDTH),
        text_mask=torch.ones(batch, N_TOKENS, dtype=torch.bool),
        controls={"motion": features},
        valid={"motion": torch.ones(batch, N_FRAMES + 1, dtype=torch.bool)},
    )
    config = AdaptorConfig((Modality("motion", D, RANK),), geometry.width, n, n_adapted)
    settings = Train(
        steps=10**6,
        batch_size=batch,
        learning_rate=LearningRate(project=1e-2, gates=1e-2, other=1e-2),
        warmup_steps=0,
        weight_decay=0.02,
        clip_norm=0.1,
        context_swap=ContextSwap(prob=0.0),
        condition_dropout={},
        text_dropout=0.0,
        recompute_activations=side == "ours_recomputed",
    )
    run = Loop(SteeredMusic(lm, Adaptor(config, seed=1).to(device), examples, settings, 0), settings)
    seconds, losses = [], []
    for _ in range(steps):
        started = time.perf_counter()
        record = run.step()
        seconds.append(time.perf_counter() - started)
        losses.append(record["loss"])
    result: dict[str, Any] = {"seconds": seconds, "loss": losses[0]}
    if device == "cuda":
        result["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return result


def model_flops(geometry: LMGeometry, batch: int) -> float:
    """Multiply-adds times two of one step with every layer adapted: two streams forward, and backward once more for
    their activations (no gradient of a weight), the heads included."""
    d, rows = geometry.width, batch * (N_FRAMES + 1)
    linear = 4 * d * d + 2 * d * geometry.ffn_width
    per_layer = 2 * rows * (2 * linear + 2 * d * d) + 3 * 4 * rows * (N_FRAMES + 1) * d
    heads = 2 * rows * d * geometry.n_codebooks * geometry.card
    return 2.0 * (geometry.n_layers * per_layer + heads)


@torch.inference_mode()
def product_ratio(geometry: LMGeometry, batch: int) -> float:
    """How many times as fast a product of the step's own size is in bfloat16 as in float32, on this processor."""
    best: dict[torch.dtype, float] = {}
    for _ in range(5):
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.ones(batch * (N_FRAMES + 1), geometry.width, dtype=dtype)
            weight = torch.ones(geometry.ffn_width, geometry.width, dtype=dtype)
            started = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            best[dtype] = min(time.perf_counter() - started, best.get(dtype, float("inf")))
    return best[torch.float32] / best[torch.bfloat16]


def child(arguments: argparse.Namespace) -> None:
    """One side, in this process."""
    torch.set_num_threads(arguments.threads)
    geometry = GEOMETRIES[arguments.geometry]
    if arguments.side == "released":
        result = released_side(geometry, arguments.batch, arguments.steps)
    else:
        result = our_side(
            arguments.side, geometry, arguments.batch, arguments.steps, arguments.device, arguments.precision
        )
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


def measure(side: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """One side in a process of its own; None where it did not come to its end."""
    command = [sys.executable, __file__, "--side", side]
    for name in ("steps", "geometry", "batch", "threads", "device", "precision"):
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"{side}: ended with {done.returncode}", file=sys.stderr)
        return None
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def main() -> None:
    """Parse, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--geometry", choices=GEOMETRIES, default="small")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2, help="steps per process; the first warms up")
    parser.add_argument("--repeats", type=int, default=1, help="processes per side")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    arguments = parser.parse_args()
    if arguments.side:
        child(arguments)
        return
    sides = [side for side in SIDES if arguments.device == "cpu" or side not in ("released", "ours_fp32")]
    best: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for _ in range(arguments.repeats):
        for side in sides:
            found = load.undisturbed(
                side,
                lambda s=side: measure(s, arguments),
                notes,
                better=lambda one: min(one["seconds"]) if one else 0.0,
            )
            if found is None:
                continue
            known = best.setdefault(side, {"step_s": float("inf"), "peak_mib": 0.0, **found})
            known["step_s"] = min(known["step_s"], *found["seconds"])
            known["peak_mib"] = max(known["peak_mib"], found["peak_mib"])
    for side, found in best.items():
        print(
            f"{SIDES[side]:48s} {found['step_s']:8.2f} s/step {found['peak_mib']:8.0f} MiB  "
            f"first loss {found['loss']:.4f}",
            file=sys.stderr,
        )
    print(json.dumps(summary(best, arguments, notes)))


def summary(best: dict[str, dict[str, Any]], arguments: argparse.Namespace, notes: list[str]) -> dict[str, Any]:
    """The ratios; null with the cause in `notes` where a side is missing."""
    notes.append(f"{arguments.geometry}, batch {arguments.batch}, {arguments.threads} threads")

    def ratio(top: str, bottom: str, key: str) -> float | None:
        if top not in best or bottom not in best:
            notes.append(f"{key}: {top if top not in best else bottom} was not run")
            return None
        return round(best[top][key] / best[bottom][key], 3)

    flops = model_flops(GEOMETRIES[arguments.geometry], arguments.batch)
    torch.set_num_threads(arguments.threads)
    on_cpu = arguments.device == "cpu"
    products = round(product_ratio(GEOMETRIES[arguments.geometry], arguments.batch), 3) if on_cpu else None
    if not on_cpu:
        notes.append("bf16_product_ratio: of a processor only")
    return {
        "speedup_all_layers": ratio("released", "ours", "step_s"),
        "speedup_last_quarter": ratio("released", "ours_last_quarter", "step_s"),
        "speedup_all_layers_fp32": ratio("released", "ours_fp32", "step_s"),
        "bf16_product_ratio": products,
        "memory_ratio": ratio("ours", "released", "peak_mib"),
        "memory_ratio_recomputed": ratio("ours_recomputed", "released", "peak_mib"),
        "step_s": {side: round(found["step_s"], 3) for side, found in best.items()},
        "peak_mib": {side: round(found.get("peak_gpu_mib", found["peak_mib"])) for side, found in best.items()},
        "tflops": round(flops / best["ours"]["step_s"] / 1e12, 3) if "ours" in best else None,
        "machine": load.about(),
        "notes": notes,
    }


if __name__ == "__main__":
    main()
