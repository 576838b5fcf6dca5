"""Does the studio's room Train teach an adaptor one person's gestures? A rendered person, new to the shipped one.

    uv run python benchmarks/own_gestures.py --folder DIR [--takes 20] [--steps 300] [--seeds 3] [--camera 2]

The performer is one person of the conductor world who does not conduct: both hands sway to the same side and turn
on the beat, the head does not nod. `--takes` pieces of 30 s are made in the studio's room Record and moved to;
`--camera` of the takes go through its page in Chromium, whose camera is a canvas that shows the performer at the
times of the page's own sound, 80 ms late, which the page calibrates; the others come in as the page sends them
(`PUT /api/recordings`), 80 ms late too, and that is stated. The room Train then trains `--seeds` adaptors of face
and motion, split by piece.

On the clips of the unseen pieces music is made by each of them and by the adaptor that ships, with one prompt and
the same seeds for both. Beat F1 (core's metric) is against the beats of the piece that was heard. The difference is
paired by clip, its interval over clips and seeds. What is done is kept in DIR: the same command goes on. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import own_gestures_camera
from numpy.typing import NDArray
from rich.console import Console

from expotion import plugins
from expotion.contracts import Scored
from expotion.evaluate.evaluate import evaluate, values_of
from expotion.evaluate.statistics import difference, estimate
from expotion.files import write_json
from expotion.manifest.rows import read_manifest
from expotion.manifest.source import ManifestClip
from expotion.music.make import generate_files
from expotion.music.steering import Steering
from expotion.music.targets import Output
from expotion.video.audio import load_audio
from expotion_conductor import scene
from expotion_conductor.figure import REACH, WRIST_X, WRIST_Y, WRIST_Z, Figure
from expotion_conductor.plan import Plan, make_plan
from expotion_corpus.export import SOUND_HZ, export_clip
from expotion_studio.songs import FIRST_SEED, SONG_S

Floats = NDArray[np.float64]
PERSON_SEED, WHO = 77, "R1"
FPS, SIZE_PX, DELAY_S = 30.0, 192, 0.08
PROMPT = "a happy piece played on piano"
CONTROLS = {"face": "face_marlin", "motion": "motion_synchformer"}
WAIT_S = 2.0


class Performer(Figure):
    """Sways: both hands go to one side and turn on the beat, higher and wider the louder it is."""

    def __init__(self, plan: Plan, size_px: int = SIZE_PX) -> None:
        super().__init__(plan, size_px)
        self._turns_s = self._grid_s
        self._grid_s, self._places = np.array([-2e3, -1e3]), np.array([0, 0])  # no beat that the head could nod to

    def _wrists(self, times_s: Floats, felt: Floats) -> tuple[Floats, Floats]:
        n = np.clip(np.searchsorted(self._turns_s, times_s, side="right") - 1, 0, len(self._turns_s) - 2)
        phase = np.clip((times_s - self._turns_s[n]) / (self._turns_s[n + 1] - self._turns_s[n]), 0.0, 1.0)
        sway = REACH * (0.5 + 0.4 * felt) * np.cos(np.pi * (n + phase))
        up = WRIST_Y - 0.04 - 0.10 * felt
        hands = [
            np.stack([0.5 + sign * 0.75 * WRIST_X + sway, up, np.full_like(sway, WRIST_Z)], axis=1)
            for sign in (-1, 1)
        ]
        return hands[0], hands[1]


def frames_of(seed: int, times_s: Floats, duration_s: float) -> Iterator[bytes]:
    """The performer's pictures at times, as JPEGs, moving to the piece of that seed."""
    plan = replace(make_plan(seed, duration_s), person_seed=PERSON_SEED)
    scene.Figure = Performer  # type: ignore[attr-defined] # the world's own drawing of another figure
    drawn = scene.Scene(plan, SIZE_PX)
    for at in range(0, len(times_s), 32):
        for frame in drawn.draw(np.maximum(times_s[at : at + 32], 0.0)):
            done, data = cv2.imencode(
                ".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88]
            )
            assert done
            yield data.tobytes()


def take_of(seed: int, duration_s: float, delay_s: float) -> bytes:
    """A take as the page sends it: the camera runs from before the piece to after it, late by `delay_s`."""
    times_s = np.arange(-0.3, duration_s + DELAY_S + 0.2, 1 / FPS)
    pictures = list(frames_of(seed, times_s - delay_s, duration_s))
    about = {"times_s": times_s.tolist(), "sizes": [len(picture) for picture in pictures], "dropped": 0}
    header = json.dumps({**about, "offset_s": delay_s, "offset_from": "stated: rendered so"}).encode()
    out = io.BytesIO()
    out.write(len(header).to_bytes(4, "big") + header)
    out.writelines(pictures)
    return out.getvalue()


@contextmanager
def the_studio(folder: Path, *adaptors: Path) -> Iterator[str]:
    """`expotion studio` on a folder, which offers these adaptors too; gives its address."""
    command = ["from expotion.cli.main import main; main()", "studio", "--folder", str(folder), "--port", "0"]
    for adaptor in adaptors:
        command += ["--adaptor", str(adaptor)]
    with subprocess.Popen(
        [sys.executable, "-u", "-c", *command, "--no-browser"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("Studio: ")), None)
        try:
            if line is None:
                raise SystemExit("the studio did not start")
            yield line.split()[1]
        finally:
            process.terminate()


def asked(studio: str, method: str, path: str, given: Any = None, **query: Any) -> Any:
    """What the studio answers to a body (JSON, or bytes as they are); its own words where it refuses."""
    body = given if given is None or isinstance(given, bytes) else json.dumps(given).encode()
    kind = "application/octet-stream" if isinstance(given, bytes) else "application/json"
    address = f"{studio}{path}?{urlencode(query)}"
    request = urllib.request.Request(
        address, body or (b"" if method == "POST" else None), {"Content-Type": kind}, method=method
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from None


def finished(studio: str, job: dict[str, Any]) -> None:
    """Wait for the end of a job."""
    told = ""
    while job["state"] in ("waiting", "running", "stopping"):
        if (now := f"{job['title']}: {job['state']} {job['stage']} {job['done']}/{job['total']}") != told:
            told = now
            print(told, flush=True)
        time.sleep(WAIT_S)
        job = asked(studio, "GET", f"api/jobs/{job['id']}")
    if job["state"] != "done":
        raise SystemExit(f"{job['title']}: {job['state']} {job['problems']}")


def record(studio: str, options: argparse.Namespace) -> int:
    """Pieces and takes; gives how many of the takes went through the page's camera."""
    for job in asked(studio, "GET", "api/jobs"):
        finished(studio, job)  # of a start before this one
    songs = asked(studio, "GET", "api/songs")
    if len(songs) < options.takes:
        missing = options.takes - len(songs)
        finished(studio, asked(studio, "POST", "api/songs/world", count=missing, seconds=options.seconds))
        songs = asked(studio, "GET", "api/songs")
    asked(studio, "POST", "api/performers", {"code": WHO, "agreed": True})
    there = {one["song"] for one in asked(studio, "GET", "api/recordings")}
    for number, song in enumerate(songs[: options.takes]):
        if song["id"] in there:
            continue
        seed = FIRST_SEED + int(song["title"].removeprefix("Piece ")) - 1
        told = ""
        if number < options.camera:
            try:
                pictures = take_of(seed, options.seconds, 0.0)
                told = own_gestures_camera.film(studio, song["id"], WHO, pictures, DELAY_S, options.seconds)
            except (RuntimeError, TimeoutError) as error:
                print(f"take {number + 1}: not through the page: {error}", flush=True)
        if not told:
            take = take_of(seed, options.seconds, DELAY_S)
            asked(studio, "PUT", "api/recordings", take, song=song["id"], performer=WHO)
        print(f"take {number + 1}: {song['title']} {told}", flush=True)
    return sum("calibrated" in one["offset_from"] for one in asked(studio, "GET", "api/recordings"))


def train(studio: str, options: argparse.Namespace) -> None:
    """An adaptor for each seed, in the room Train."""
    names = [one["id"] for one in asked(studio, "GET", "api/recordings")]
    clip_s = min(10.0, options.seconds)
    for seed in range(1, options.seeds + 1):
        wanted = {"name": f"own-{seed}", "recordings": names, "controls": CONTROLS, "steps": options.steps}
        runs = {run["name"]: run for run in asked(studio, "GET", "api/runs")}
        if runs.get(wanted["name"], {}).get("has_report"):
            continue
        if wanted["name"] in runs:
            finished(studio, asked(studio, "POST", f"api/runs/{wanted['name']}/resume"))
        else:
            finished(studio, asked(studio, "POST", "api/runs", {**wanted, "clip_s": clip_s, "seed": seed}))


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Beat F1 of both adaptors on the unseen pieces, by seed, and the paired difference."""
    rows = read_manifest(folder / "studio" / "runs" / "own-1.jsonl")
    clips = [ManifestClip(row, folder / "studio" / "runs") for row in rows if row.split == "test"]
    videos = {clip.id: export_clip((clip, folder / "unseen")) for clip in clips}
    spec = plugins.discover().metric("beat_f1")
    values: dict[str, list[dict[str, float]]] = {"own": [], "shipped": []}
    for seed in range(1, options.seeds + 1):
        adaptors = {"own": str(folder / "studio" / "runs" / f"own-{seed}"), "shipped": None}
        sounds: dict[str, list[Scored]] = {}
        for who, adaptor in adaptors.items():
            made = folder / "music" / f"{who}-{seed}"
            steering = Steering.of(adaptor=adaptor, prompt=PROMPT, seed=seed)
            if not all((made / f"{path.stem}.wav").is_file() for path in videos.values()):
                output, console = Output(formats=("wav",)), Console()
                generate_files(
                    [*videos.values()], steering, output, out=made, samples=1, jobs=0, ray=None, overwrite=False,
                    console=console,
                )  # fmt: skip
            heard = [(clip, load_audio(made / f"{videos[clip.id].stem}.wav", SOUND_HZ)) for clip in clips]
            sounds[who] = [Scored(sound, SOUND_HZ, clip, PROMPT) for clip, sound in heard if sound is not None]
        found = evaluate(sounds, [spec], n_resamples=2)
        for who, by_seed in values.items():
            by_seed.append(values_of(found.per_clip[who], spec.name))
    songs = {part: len({row.song for row in rows if row.split == part}) for part in ("train", "validation", "test")}
    return {
        "pieces": songs,
        "clips": len(clips),
        "own": vars(estimate(values["own"])),
        "shipped": vars(estimate(values["shipped"])),
        "difference": vars(difference(values["own"], values["shipped"])),
        "by_seed": {
            who: [round(float(np.mean([*one.values()])), 3) for one in some] for who, some in values.items()
        },
    }


def main() -> None:
    """Record, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--takes", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=SONG_S)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--camera", type=int, default=2)
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with the_studio(folder / "studio") as studio:
        filmed = record(studio, options)
        train(studio, options)
    found = {"takes": options.takes, "through_the_camera": filmed, "steps": options.steps}
    found |= compare(folder, options)
    write_json(folder / "found.json", found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
