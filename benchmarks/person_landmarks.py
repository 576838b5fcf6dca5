"""Our landmarks beside MediaPipe's own on the same frames, and what they cost and cover.

    uv run python benchmarks/person_landmarks.py [--clips FOLDER] [--rendered 12] [--seconds 5] [--floor] [--out F]

MediaPipe 0.10.21 runs in an environment of its own (it needs numpy below 2), made in `.cache/environments` on the
first call; smoothing is off on both sides, and both are given times 1/30 s apart. Compared are landmarks that
MediaPipe calls visible (>= 0.5), in shoulder widths (body) and face heights (face), over rendered people and the
videos of FOLDER. `--floor` puts beside it how far our own body moves when every pixel changes by at most one grey
level: what the network itself makes of nothing. The last line is JSON. Exits with 1 where a median is above 1 % or
a 95th percentile above 3 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
MEDIAPIPE = ("mediapipe==0.10.21", "numpy<2")
STEP_S = 1 / 30
MEDIAN_BAR, TAIL_BAR = 0.01, 0.03
SHOULDERS, FOREHEAD, CHIN = (11, 12), 10, 152
Arrays = dict[str, NDArray[np.float64]]


def reference(folder: Path) -> None:
    """MediaPipe's landmarks of every `*.frames.npy` in a folder, beside it as `.npz`; runs in its environment."""
    import mediapipe  # noqa: PLC0415 - in the other environment only

    pose_class, mesh_class = mediapipe.solutions.pose.Pose, mediapipe.solutions.face_mesh.FaceMesh
    for path in sorted(folder.glob("*.frames.npy")):
        frames = np.load(path, mmap_mode="r")
        height, width = frames.shape[1:3]
        found: dict[str, list[Any]] = {"pose": [], "face": [], "iris": []}
        with (
            pose_class(model_complexity=1, smooth_landmarks=False) as pose,
            mesh_class(refine_landmarks=False) as mesh,
            mesh_class(refine_landmarks=True) as refined,
        ):
            for frame in map(np.ascontiguousarray, frames):
                body = pose.process(frame).pose_landmarks
                found["pose"].append(_rows(body, 33, width, height))
                for name, network, size in (("face", mesh, 468), ("iris", refined, 478)):
                    faces = network.process(frame).multi_face_landmarks
                    found[name].append(_rows(faces[0] if faces else None, size, width, height))
        np.savez(path.with_suffix(".npz"), **{name: np.array(rows) for name, rows in found.items()})


def _rows(landmarks: Any, count: int, width: int, height: int) -> list[tuple[float, float, float]]:
    if landmarks is None:
        return [(0.0, 0.0, 0.0)] * count
    return [(one.x * width, one.y * height, one.visibility) for one in landmarks.landmark]


def environment() -> Path:
    """The python of an environment that holds MediaPipe, made where it is not there."""
    folder = ROOT / ".cache" / "environments" / "mediapipe"
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run(["uv", "venv", "-q", "--python", "3.11", str(folder)], check=True)
        subprocess.run(["uv", "pip", "install", "-q", "--python", str(python), *MEDIAPIPE], check=True)
    return python


def clips(args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Rendered people, evenly over the kinds, then the videos of the folder: name and open clip."""
    from expotion.video.clip import FileClip  # noqa: PLC0415

    sys.path.insert(0, str(ROOT / "tests" / "shared"))
    from rendered_people import rendered_people  # noqa: PLC0415

    everybody = list(rendered_people(args.seconds, fps=30.0))
    for index in np.linspace(0, len(everybody) - 1, args.rendered).round().astype(int):
        yield everybody[index].id, everybody[index]
    for path in sorted(args.clips.glob("*.mp4")) if args.clips else ():
        with closing(FileClip(path)) as clip:
            yield path.stem, clip


def ours(frames: NDArray[np.uint8]) -> tuple[Arrays, dict[str, float]]:
    """Our landmarks on the same frames, and milliseconds a frame on one core."""
    from expotion_person_landmarks.face import FaceTracker  # noqa: PLC0415
    from expotion_person_landmarks.follow import track  # noqa: PLC0415
    from expotion_person_landmarks.pose import PoseTracker  # noqa: PLC0415

    times_s = np.arange(len(frames)) * STEP_S
    size = (int(frames.shape[1]), int(frames.shape[2]))
    found, cost_ms = {}, {}
    for name, tracker, count in (("pose", PoseTracker(), 33), ("face", FaceTracker(), 478)):
        started = time.process_time()
        found[name] = track(tracker, iter(frames), times_s, size, "largest", count).points.astype(np.float64)
        cost_ms[name] = 1e3 * (time.process_time() - started) / max(len(frames), 1)
    return found, cost_ms


def trembling(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same frames with every pixel changed by -1, 0 or 1, seeded."""
    change = np.random.default_rng(0).integers(-1, 2, frames.shape, dtype=np.int16)
    return np.asarray(np.clip(frames + change, 0, 255), dtype=np.uint8)


def differences(mine: Arrays, theirs: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Distances of landmarks that MediaPipe calls visible, in the person's own units."""
    result = {}
    both = mine["pose"].any(axis=(1, 2)) & theirs["pose"].any(axis=(1, 2))
    body = theirs["pose"][both]
    unit = np.linalg.norm(body[:, SHOULDERS[0], :2] - body[:, SHOULDERS[1], :2], axis=1)
    apart = np.linalg.norm(mine["pose"][both][..., :2] - body[..., :2], axis=2) / np.median(unit)
    result["pose"] = apart[body[..., 2] >= 0.5]
    for name, numbers in (("face", slice(0, 468)), ("iris", [468, 473])):
        both = mine["face"].any(axis=(1, 2)) & theirs[name].any(axis=(1, 2))
        face = theirs[name][both]
        unit = np.linalg.norm(face[:, FOREHEAD, :2] - face[:, CHIN, :2], axis=1)
        apart = np.linalg.norm(mine["face"][both][:, numbers, :2] - face[:, numbers, :2], axis=2)
        result[name] = (apart / unit[:, None]).ravel()
    return result


def main() -> int:
    """Compare and print a table; 1 where a bar is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="a folder of videos")
    parser.add_argument("--rendered", type=int, default=12, help="clips of rendered people")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each clip")
    parser.add_argument("--floor", action="store_true", help="what a grey level does to our own landmarks")
    parser.add_argument("--out", type=Path, help="where the JSON is written as well")
    args = parser.parse_args()
    if args.clips is not None and not args.clips.is_dir():
        print(f"--clips {args.clips}: a folder of videos, got nothing there")
        return 2
    mine, cost, seen, moved = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, clip in clips(args):
            times_s = clip.video.frame_times_s
            frames = clip.video.frames_at(times_s[times_s < times_s[0] + args.seconds])
            np.save(folder / f"{name}.frames.npy", frames)
            mine[name], cost[name] = ours(frames)
            if args.floor:
                moved[name] = ours(trembling(frames))[0]
        python = environment()
        subprocess.run(
            [str(python), __file__, "--reference", temporary],
            check=True,
            env=os.environ | {"GLOG_minloglevel": "3"},
        )
        theirs = {name: dict(np.load(folder / f"{name}.frames.npz")) for name in mine}
    everything: dict[str, list[NDArray[np.float64]]] = {"pose": [], "face": [], "iris": []}
    print(
        f"{'clip':24} {'part':5} {'landmarks':>9} {'median':>7} {'95 %':>7}  found by us / by MediaPipe, ms a frame"
    )
    for name, found in mine.items():
        for part, apart in differences(found, theirs[name]).items():
            everything[part].append(apart)
            whose = "face" if part == "iris" else part
            shares = [float(rows.any(axis=(1, 2)).mean()) for rows in (found[whose], theirs[name][part])]
            seen[f"{name} {part}"] = shares
            told = f"{np.median(apart):7.2%} {np.percentile(apart, 95):7.2%}" if len(apart) else " " * 15
            found_by = f"{shares[0]:.2f} / {shares[1]:.2f}"
            print(f"{name:24} {part:5} {len(apart):9} {told}  {found_by}  {cost[name][whose]:.1f}")
        if args.floor:
            apart = differences(moved[name], found | {"iris": found["face"]})["pose"]
            told = f"{np.median(apart):7.2%} {np.percentile(apart, 95):7.2%}"
            print(f"{name:24} pose  {len(apart):9} {told}  a grey level")
    summary: dict[str, Any] = {}
    for part, parts in everything.items():
        apart = np.concatenate(parts)
        summary[f"{part}_median"] = round(float(np.median(apart)), 5)
        summary[f"{part}_p95"] = round(float(np.percentile(apart, 95)), 5)
    summary["ms_per_frame"] = {
        part: round(float(np.mean([one[part] for one in cost.values()])), 2) for part in ("pose", "face")
    }
    summary["n_clips"] = len(mine)
    print(json.dumps(summary))
    if args.out is not None:
        args.out.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    held = all(
        summary[f"{part}_median"] <= MEDIAN_BAR and summary[f"{part}_p95"] <= TAIL_BAR for part in ("pose", "face")
    )
    return 0 if held else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--reference"]:
        reference(Path(sys.argv[2]))
    else:
        raise SystemExit(main())
