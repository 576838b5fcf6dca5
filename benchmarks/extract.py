"""How fast features are extracted at full size: against the reference procedure, and three encoders together.

    uv run python benchmarks/extract.py                 # within six minutes on two cores
    uv run python benchmarks/extract.py --video talking_head.mp4 --only joint

MARLIN base on a clip of a face, 224 x 224, 30 fps: ours end to end (decode, windows, network) in its default
precision and in float32, against `reference_marlin.py`, interleaved on the same windows and random weights. Then
MARLIN base (with face detection), Synchformer base and RAFT large on a clip of the whole figure: the wall time of
a joint extraction from the file over the sum of the times inside the three networks with all frames in memory, in
turns, the median of the turns. Clips are drawn by the conductor world, or looped from --video. The last line is one
JSON object: `speedup_vs_reference`, `speedup_vs_reference_fp32` (reference time / ours), `peak_fraction` (float32
model FLOP/s over the best float32 matrix product of this run; `peak_fraction_bf16` likewise), `joint_cost`, how
far the features are from the reference's, windows per second, `notes`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import reference_marlin
import torch
from extract_clips import FPS, Loaded, frames_of
from numpy.typing import NDArray
from peers import load
from torch.nn import functional

from expotion.contracts import Encoder, TimedFeatures
from expotion.features.encoders import build_encoder
from expotion.features.extract import extract_many
from expotion.plugins import discover
from expotion.video.clip import FileClip
from expotion.video.frames import FileVideo
from expotion.video.writing import write_video

PEAK_SIDE = 2048
REFERENCE_S = 15.0
"""For each of two stretches of the reference's windows."""
JOINT_TURNS = 5
JOINT_PART = 0.2
"""The figure's clip is shorter than the face's by this factor: several short turns tell more than a long one."""
JOINT: Mapping[str, Mapping[str, Any]] = {
    "face_marlin": {"geometry": "base", "weights_seed": 0},
    "motion_synchformer": {"geometry": "base", "weights": "seeded"},
    "motion_raft": {"geometry": "large", "weights": "seeded"},
}
NETWORKS = {"face_marlin": ("encode",), "motion_synchformer": ("embed",), "motion_raft": ("flow", "describe")}
"""Methods in which each encoder's time is its network's."""


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def timed(encoder: Encoder, methods: Sequence[str]) -> Iterator[list[float]]:
    """Adds up the seconds spent in these methods of an encoder."""
    spent = [0.0]

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = method(*given, **named)
            spent[0] += time.perf_counter() - started
            return result

        return call

    for name in methods:
        setattr(encoder, name, wrap(getattr(encoder, name)))
    try:
        yield spent
    finally:
        for name in methods:
            delattr(encoder, name)


def peak_flops(dtype: torch.dtype) -> float:
    """FLOP/s of the best of a few large square matrix products."""
    a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE).to(dtype) for _ in range(2))
    times = []
    for _ in range(12):
        started = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - started)
    return 2.0 * PEAK_SIDE**3 / min(times)


def marlin_flops(tokens: int = 1568, width: int = 768, depth: int = 12, values: int = 1536) -> float:
    """FLOPs that a window of ours takes; the last layer of the last MLP is applied to the mean of the tokens."""
    block = 24 * tokens * width**2 + 4 * tokens**2 * width
    return 2.0 * tokens * values * width + depth * block - 8 * tokens * width**2


def extract_timed(encoder: Encoder, path: Path) -> tuple[float, float, NDArray[np.float32]]:
    """Wall time from a file to features, the time inside the network, the features."""
    started = time.perf_counter()
    with timed(encoder, NETWORKS["face_marlin"]) as spent:
        clip = FileClip(path, require="video")
        track = encoder.extract(clip)
        clip.close()
    assert isinstance(track, TimedFeatures)
    return time.perf_counter() - started, spent[0], track.values


def errors(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> tuple[float, float]:
    """Relative L2 error over all windows, and the least cosine of a window."""
    cosine = functional.cosine_similarity(torch.from_numpy(found), torch.from_numpy(wanted))
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)), float(cosine.min())


def reference_windows(frames: Any, starts: Sequence[int], state: Mapping[str, Any]) -> tuple[list[Any], float]:
    """Rows of the reference for as many windows as `REFERENCE_S` allows, half of them at most, and the seconds."""
    began = time.perf_counter()
    rows: list[Any] = []
    for start in starts[: -(-len(starts) // 2) if len(starts) > 1 else 1]:
        rows.append(reference_marlin.features(frames, start, state, heads=12))
        if time.perf_counter() - began > REFERENCE_S:
            break
    return rows, time.perf_counter() - began


@torch.inference_mode()
def against_reference(path: Path, folder: Path) -> tuple[dict[str, float | None], list[str]]:
    """Ours before, between and after the halves of the reference procedure."""
    spec = discover().encoder("face_marlin")
    options = {"geometry": "base", "weights_seed": 0, "crop": "frame", "reference_windows": True}
    ours = build_encoder(spec, options)
    plain = build_encoder(spec, {**options, "precision": "float32"})
    model: torch.nn.Module = plain.model  # type: ignore[attr-defined]
    state = {name: value.detach() for name, value in model.state_dict().items()}
    half = bool(ours.computed_in)
    peaks = {torch.float32: [peak_flops(torch.float32)], torch.bfloat16: [peak_flops(torch.bfloat16)]}

    fast = [extract_timed(ours, path)]
    started = time.perf_counter()
    reference_marlin.reencode(path, folder / "80fps.mp4")
    frames = reference_marlin.read_all(folder / "80fps.mp4")
    say(f"reference: {len(frames)} frames at 80 fps after {time.perf_counter() - started:.1f} s")
    starts = reference_marlin.window_starts(len(frames))
    read_s = time.perf_counter() - started
    rows, first_s = reference_windows(frames, starts, state)
    peaks[torch.float32].append(peak_flops(torch.float32))
    plain_s, plain_network_s, plain_values = extract_timed(plain, path)
    peaks[torch.float32].append(peak_flops(torch.float32))
    more, second_s = reference_windows(frames, starts[len(rows) :], state)
    rows += more
    reference_s = read_s + (first_s + second_s) / len(rows) * len(starts)
    fast.append(extract_timed(ours, path))
    peaks[torch.bfloat16].append(peak_flops(torch.bfloat16))

    wanted = torch.stack(rows).numpy()
    fast_s, fast_network_s = (float(np.mean([run[i] for run in fast])) for i in (0, 1))
    n = len(starts)
    say(f"{n} windows: reference {reference_s:.1f} s, float32 {plain_s:.1f} s, default {fast_s:.1f} s")
    error, cosine = errors(fast[0][2][: len(rows)], wanted)
    plain_error, plain_cosine = errors(plain_values[: len(rows)], wanted)
    work = marlin_flops() * n
    found = {
        "speedup_vs_reference": reference_s / fast_s,
        "speedup_vs_reference_fp32": reference_s / plain_s,
        "peak_fraction": work / plain_network_s / max(peaks[torch.float32]),
        "peak_fraction_bf16": work / fast_network_s / max(peaks[torch.bfloat16]) if half else None,
        "relative_l2": error,
        "cosine": cosine,
        "relative_l2_fp32": plain_error,
        "cosine_fp32": plain_cosine,
        "windows_per_s": n / fast_s,
        "windows_per_s_fp32": n / plain_s,
        "windows_per_s_reference": n / reference_s,
        "peak_gflops_fp32": max(peaks[torch.float32]) / 1e9,
        "peak_gflops_bf16": max(peaks[torch.bfloat16]) / 1e9,
    }
    notes = ["reference: float32, one window at a time, lossless re-encoding to 80 fps in process with PyAV"]
    if len(rows) < n:
        notes.append(f"the reference's networks: {len(rows)} of {n} windows, and as long for each of the others")
    if not half:
        notes.append("bfloat16 was not measured to be right and faster: the default is float32")
    return found, notes


@torch.inference_mode()
def together(path: Path) -> tuple[dict[str, float | None], list[str]]:
    """Wall time of the joint extraction over the sum of the networks' own times."""
    registry = discover()
    encoders = {name: build_encoder(registry.encoder(name), options) for name, options in JOINT.items()}
    loaded: Loaded | None = None
    joint_s, network_s = [], []
    for turn in range(JOINT_TURNS):
        if turn and not load.time_for(2.5 * joint_s[-1]):
            break
        clip = FileClip(path, require="video")
        started = time.perf_counter()
        joint = extract_many(encoders, [clip])
        joint_s.append(time.perf_counter() - started)
        if joint.failures:
            raise SystemExit("\n".join(str(failure) for failure in joint.failures))
        if loaded is None:
            video = FileVideo(path)
            loaded = Loaded(video.frames_at(video.frame_times_s), video.frame_times_s, clip.duration_s)
            video.close()
        own_s = {}
        for name, encoder in encoders.items():
            with timed(encoder, NETWORKS[name]) as spent:
                encoder.extract(loaded)
            own_s[name] = spent[0]
        network_s.append(own_s)
        told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in own_s.items())
        say(f"turn {turn + 1}: joint {joint_s[-1]:.1f} s; networks: {told}")
    costs = [seconds / sum(own_s.values()) for seconds, own_s in zip(joint_s, network_s, strict=True)]
    found: dict[str, float | None] = {
        "joint_cost": float(np.median(costs)),
        "joint_cost_least": min(costs),
        "joint_cost_most": max(costs),
        "joint_clip_s": loaded.duration_s if loaded is not None else None,
        "joint_s": float(np.median(joint_s)),
    }
    for name in encoders:
        found[f"{name}_model_s"] = float(np.median([own_s[name] for own_s in network_s]))
    return found, []


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="a video to loop instead of a drawn conductor")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the face's clip")
    parser.add_argument("--only", choices=("reference", "joint"))
    given = parser.parse_args()
    keys = ("speedup_vs_reference", "speedup_vs_reference_fp32", "peak_fraction", "joint_cost")
    result: dict[str, float | None] = dict.fromkeys(keys)
    watch = load.Watch()
    notes = [f"{torch.get_num_threads()} threads, torch {torch.__version__}, random weights, no GPU"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, face in (("reference", True), ("joint", False)):
            if given.only not in (None, part):
                notes.append(f"part '{part}' was not asked for")
                continue
            path = folder / f"{part}.mp4"
            seconds = given.seconds * (1.0 if face else JOINT_PART)
            frames = frames_of(given.video, seconds, face)
            write_video(path, frames, np.arange(len(frames)) / FPS, duration_s=seconds)
            del frames
            found, more = against_reference(path, folder) if face else together(path)
            result |= found
            notes += more
    rounded = {key: None if value is None else float(f"{value:.4g}") for key, value in result.items()}
    others = watch.others()
    if others is None or others > load.MOST:
        notes.append("load not known" if others is None else f"others used {others:.1f} cores: measure again")
    print(json.dumps({**rounded, "machine": load.about(), "notes": "; ".join(notes)}))


if __name__ == "__main__":
    main()
