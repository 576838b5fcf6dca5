"""How fast MusicGen decodes: our engine against audiocraft's and transformers' own `generate`, same random weights.

    uv run python benchmarks/generate.py
    uv run python benchmarks/generate.py --frames 500                      # 10 s of music
    uv run python benchmarks/generate.py --device cuda --geometry large    # on a GPU

Batch 1 with classifier-free guidance, greedy, 5 s unless --frames says otherwise. Repetitions take turns and
the best of each counts; the peers, which take most of the time, run once. audiocraft runs on a CPU only, in an
environment of its own (`UV_PROJECT_ENVIRONMENT=.cache/environments/oracle uv sync --group oracle`, or --oracle
PYTHON). The table goes to standard error; the last line is one JSON object with the ratios, `ms_per_step` by
peer and precision, `rates_gb_per_s`, `machine` and `notes`. `adaptor_overhead_MODE` is the median over turns of
a steered run over the plain one right before it. `bandwidth_fraction_MODE` is every byte that a step reads
(weights, the folded text, caches at their mean length) over its time and the best rate of a two-row product;
`bandwidth_fraction` that of the fastest mode. What ran beside other work is run again while there is time, and
said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from expotion import machine
from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.adaptor.guidance import guided_prefix
from expotion.adaptor.project import TrackInput
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine import prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes
from expotion.musicgen.geometry import LARGE, MEDIUM, SMALL, LMGeometry

sys.path.insert(0, str(Path(__file__).resolve().parent))
from peers import load, rates, weights
from peers.transformers_peer import TransformersPeer

GEOMETRIES = {"small": SMALL, "medium": MEDIUM, "large": LARGE}
ORACLE = Path(__file__).resolve().parent.parent / ".cache" / "environments" / "oracle" / "bin" / "python"
CFG_SCALE = 3.0
TEXT_TOKENS = 16
CACHE_BYTES = 600 * 2**20
"""More than the last-level cache of the machines this was run on (480 MiB)."""
Run = Callable[[], Tensor]


class AudiocraftPeer:
    """audiocraft in its own process; see peers/audiocraft_peer.py."""

    def __init__(self, python: Path, lm: MusicGenLM, source: Tensor, folder: Path) -> None:
        save_file({**weights.for_audiocraft(lm), "source": source.float()}, folder / "lm.safetensors")
        sizes = {**asdict(lm.geometry), "threads": torch.get_num_threads(), "cfg_scale": CFG_SCALE}
        (folder / "sizes.json").write_text(json.dumps(sizes))
        script = Path(__file__).resolve().parent / "peers" / "audiocraft_peer.py"
        self._process = subprocess.Popen(
            [str(python), str(script), str(folder / "lm.safetensors"), str(folder / "sizes.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if not self._answer().get("ready"):
            raise RuntimeError("it did not start")

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __call__(self, n_frames: int) -> tuple[float, Tensor]:
        """Seconds that its `generate` took, and the codes."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n_frames}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["seconds"], torch.tensor(answer["codes"])[None]


def ours(
    engine: Engine, source: Tensor, n_frames: int, steered: tuple[Adaptor, dict[str, TrackInput]] | None
) -> Tensor:
    """Greedy codes, made as a command makes them; with an adaptor, its prefix is part of the work."""
    with machine.steady(engine.steady):
        prefix = None if steered is None else guided_prefix(steered[0], engine, steered[1])
        sampler = Sampler(greedy=True)
        return generate_codes(engine, source, n_frames, prefix=prefix, cfg_scale=CFG_SCALE, sampler=sampler)


def adaptor_for(geometry: LMGeometry, n_frames: int, device: str) -> tuple[Adaptor, dict[str, TrackInput]]:
    """A random adaptor of two modalities on every layer, gates open, and its inputs."""
    modalities = tuple(Modality(name, d_in=96) for name in ("face", "motion"))
    adaptor = Adaptor(AdaptorConfig(modalities, geometry.width, geometry.n_layers, geometry.n_layers), seed=0)
    adaptor.gates.data.fill_(0.1)
    generator = torch.Generator().manual_seed(0)
    inputs = {
        m.name: TrackInput(torch.randn(1, n_frames + 1, 96, generator=generator).to(device)) for m in modalities
    }
    return adaptor.to(device), inputs


def timed(run: Run, device: str) -> tuple[float, Tensor]:
    """Wall seconds of one run, and its codes."""
    started = time.perf_counter()
    codes = run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, codes.cpu()


@torch.inference_mode()
def measure(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything in turns; the object to print."""
    device, n_frames, geometry = asked.device, asked.frames, GEOMETRIES[asked.geometry]
    notes: list[str] = []
    lm = weights.random_lm(geometry, device=device)
    generator = torch.Generator().manual_seed(3)
    source = torch.randn(1, TEXT_TOKENS, geometry.width, generator=generator).to(device)
    steered = adaptor_for(geometry, n_frames, device)
    engines = {mode: prepare(lm, mode) for mode in asked.modes}
    runs: dict[str, Callable[[], tuple[float, Tensor]]] = {}
    if device == "cuda":
        notes.append("audiocraft is measured on a CPU only")
    elif not asked.oracle.exists():
        notes.append(f"audiocraft was not run: no {asked.oracle} (see --help)")
    else:
        try:
            peer = AudiocraftPeer(asked.oracle, lm, source, folder)
            runs["audiocraft_fp32"] = lambda: peer(n_frames)
        except (RuntimeError, OSError) as error:
            notes.append(f"audiocraft was not run: {error}")
    for mode in asked.modes:
        if mode != "int8":
            other = TransformersPeer(lm, mode, source, CFG_SCALE)
            runs[f"transformers_{mode}"] = lambda other=other: timed(lambda: other(n_frames), device)  # type: ignore[misc]
        engine = engines[mode]
        runs[f"ours_{mode}"] = lambda e=engine: timed(lambda: ours(e, source, n_frames, None), device)  # type: ignore[misc]
        runs[f"steered_{mode}"] = lambda e=engine: timed(lambda: ours(e, source, n_frames, steered), device)  # type: ignore[misc]
    for engine in engines.values():  # libraries choose their kernels, graphs are recorded
        ours(engine, source, 8, None)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    codes: dict[str, Tensor] = {}
    for turn in range(asked.repeats):
        for name, run in runs.items():
            if turn and not name.startswith(("ours", "steered")):
                continue
            seconds, codes[name] = load.undisturbed(name, run, notes, better=lambda found: found[0])
            taken[name].append(seconds)
            print(f"{name:20s} {seconds:8.2f} s", file=sys.stderr, flush=True)
    calls, best = n_frames + geometry.n_codebooks - 1, {name: min(seconds) for name, seconds in taken.items()}
    achieved = {m: step_reads(engine, calls) * calls / best[f"ours_{m}"] for m, engine in engines.items()}
    ceiling = undisturbed_rates(asked.modes, device, max(achieved.values()), notes)
    return summary(taken, codes, engines, calls, ceiling, achieved, notes)


def step_reads(engine: Engine, calls: int) -> int:
    """Bytes that a step reads: weights, the folded text, both rows' keys and values at their mean length."""
    sizes = engine.geometry
    kept = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 2}[engine.mode]
    folded = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}[engine.mode]
    text = 2 * sizes.n_heads * TEXT_TOKENS * sizes.width * folded
    caches = 2 * 2 * sizes.width * kept * (calls // 2)
    return engine.step_bytes + sizes.n_layers * (text + caches)


def undisturbed_rates(modes: list[Any], device: str, achieved: float, notes: list[str]) -> dict[str, float]:
    """Rates of two-row products; measured again where the decoder was faster than all of them, which cannot be."""
    found: dict[str, float] = {}
    for _ in range(3):
        some = load.undisturbed(
            "two-row products",
            lambda: rates.linear_rates(modes, CACHE_BYTES, device),
            notes,
            tries=2,
            better=lambda rate: -max(rate.values()),
        )
        found = {name: max(rate, found.get(name, 0.0)) for name, rate in some.items()}
        if achieved <= max(found.values()):
            break
    return found


def summary(
    taken: dict[str, list[float]],
    codes: dict[str, Tensor],
    engines: dict[str, Engine],
    calls: int,
    ceiling: dict[str, float],
    achieved: dict[str, float],
    notes: list[str],
) -> dict[str, Any]:
    """The ratios that were asked for, null where a peer was not run, and everything they come from."""
    best = {name: min(seconds) for name, seconds in taken.items()}

    def ratio(theirs: str, mine: str) -> float | None:
        return best[theirs] / best[mine] if theirs in best and mine in best else None

    fastest = min(engines, key=lambda mode: best[f"ours_{mode}"])
    against = [ratio(f"transformers_{mode}", f"ours_{mode}") for mode in engines]
    run = [value for value in against if value is not None]

    def same(peer: str) -> float | None:
        if peer not in codes or "ours_fp32" not in codes:
            return None
        return float((codes[peer] == codes["ours_fp32"]).float().mean())

    def overhead(mode: str) -> float:
        pairs = zip(taken[f"steered_{mode}"], taken[f"ours_{mode}"], strict=True)
        return median(steered / plain for steered, plain in pairs) - 1.0

    bandwidth: dict[str, float | None] = {}
    for mode, rate in achieved.items():
        bandwidth[mode] = fraction = rate / max(ceiling.values())
        if fraction > 1.0:
            notes.append(f"bandwidth_fraction_{mode}: {fraction:.2f}; the linears that are the ceiling were slowed")
            bandwidth[mode] = None
    return {
        "speedup_vs_audiocraft_best": ratio("audiocraft_fp32", f"ours_{fastest}"),
        "speedup_vs_audiocraft_fp32": ratio("audiocraft_fp32", "ours_fp32"),
        "speedup_vs_transformers": min(run) if run else None,
        "bandwidth_fraction": bandwidth[fastest],
        **{f"bandwidth_fraction_{mode}": fraction for mode, fraction in bandwidth.items()},
        "adaptor_overhead": overhead(fastest),
        **{f"adaptor_overhead_{mode}": overhead(mode) for mode in engines},
        "best_mode": fastest,
        "identical_tokens_audiocraft_fp32": same("audiocraft_fp32"),
        "identical_tokens_transformers_fp32": same("transformers_fp32"),
        "ms_per_step": {name: round(1e3 * seconds / calls, 2) for name, seconds in best.items()},
        "rates_gb_per_s": {name: round(rate / 1e9, 1) for name, rate in ceiling.items()},
        "real_time_factor": (calls / 50.0) / best[f"ours_{fastest}"],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "machine": load.about(),
        "notes": notes,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=250, help="codec frames, 50 a second")
    parser.add_argument("--repeats", type=int, default=3, help="of our own runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--geometry", choices=tuple(GEOMETRIES), default="small")
    parser.add_argument("--modes", nargs="+", choices=("fp32", "bf16", "fp16", "int8"))
    parser.add_argument("--oracle", type=Path, default=ORACLE, help="python of the group oracle")
    asked = parser.parse_args()
    asked.modes = asked.modes or (["fp32", "bf16", "int8"] if asked.device == "cpu" else ["bf16", "fp16"])
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(asked, Path(folder))))


if __name__ == "__main__":
    main()
