"""How late live music is: from a frame's last byte to the first sample that was computed with it.

    uv run python benchmarks/live_latency.py --recipe recipes/person.yaml   # landmarks, weights of a seed
    uv run python benchmarks/live_latency.py --clip me.mp4 --adaptor runs/person --seconds 600

A script pushes JPEGs at their times through a socket to a process that makes the music and sends samples back; no
browser. `latency_engine_s` (median) and `latency_engine_p95_s` are by the clock of that process: from the moment at
which a frame's last byte was read to that at which the first sample computed with it is handed to the socket.
Samples are computed with a frame from the first hop on that holds rows which did not exist before it.
`dropouts` are counted as `expotion live` counts them: chunks that a player misses which stays as far behind the
frames as the rehearsal says; it then waits. `notes` say when each was.

With `--recipe` a person of the drawn world who beats time is shown. Without either, four people of the conductor
world one after the other, whose faces turn from still to strongest and back every two seconds or so.
`latency_sound_s` is the median, over the turns to strong, of the time from the first frame that
shows it to the moment at which that player lets a level be heard that is halfway from before to after (means of
the level of 50 ms in dB); turns whose levels are less than 6 dB apart count as not heard, which `notes` say, as the
95th percentile. Speaker, browser and network are not in it. It is null with a recipe, whose adaptor is untrained,
and with a clip. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import expotion
from expotion import plugins
from expotion.adaptor.build import build_adaptor
from expotion.contracts import Clip
from expotion.features.encoders import build_encoders
from expotion.music.composer import Composer
from expotion.recipe import load_recipe
from expotion.video.clip import FileClip
from expotion_conductor.clip import ConductorClip
from expotion_conductor.people.cast import people_plan
from expotion_conductor.plan import make_plan
from expotion_live.loop import Clock, Delay, music
from expotion_live.session import LiveSession, Looking
from expotion_live.sink import to_s16le

HEAD = struct.Struct(">dI")
FRAME_S, HEARD_DB = 0.05, 6.0
SEED, PEOPLE = 5_000_500, 4


def main() -> None:
    """Serve, push, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=88.0)
    parser.add_argument("--hop", type=float, default=0.08)
    parser.add_argument("--adaptor", default="pixels")
    parser.add_argument("--recipe", type=Path, help="its controls, with an adaptor that was not trained")
    parser.add_argument("--clip", type=Path, help="played over and over")
    asked = parser.parse_args()
    composer = expotion.load(asked.adaptor)
    if asked.recipe is not None:
        untrained(composer, asked.recipe)
    LiveSession(composer, hop_s=asked.hop).rehearse((360, 360), 30.0)  # compiles
    look_s, work_s = LiveSession(composer, hop_s=asked.hop).rehearse((360, 360), 30.0)
    live = LiveSession(composer, hop_s=asked.hop)
    delay = Delay(live.hop_s, look_s, work_s, live.behind_s)
    ours, theirs = socket.socketpair()
    rises_s, clips = np.zeros(0), list[Clip]()
    if asked.clip is not None:
        clips = [FileClip(asked.clip)]
    elif asked.recipe is not None:
        clips = [person()]
    else:
        rises_s, clips = faces(asked.seconds)
    pusher = threading.Thread(target=push, args=(theirs, clips, asked.seconds), daemon=True)
    taker = threading.Thread(target=take, args=(theirs,), daemon=True)
    pusher.start()
    taker.start()
    latencies_s, clock, late_at_s, sound = serve(live, ours, delay)
    sound_s = None
    notes = [
        f"controls {', '.join(composer.encoders)}; needing windows of pictures: {', '.join(live.late) or 'none'}"
    ]
    notes.append(f"hop {asked.hop:g} s, {len(latencies_s)} frames, {clock.done / clock.rate_hz:.1f} s of music")
    notes.append(
        f"look {look_s:.3f} s, work {work_s:.3f} s by the rehearsal, a player {delay.player_s:.2f} s behind"
    )
    late = [f"{late_s:.3f} s at {at_s:.1f} s" for at_s, late_s in zip(late_at_s, clock.late_s, strict=True)]
    notes += [f"late: {', '.join(late)}"] if late else []
    if asked.clip is None and asked.recipe is None:
        heard_s = turns_heard(sound, clock.rate_hz, rises_s) + clock.lead_s
        told = f", 95 in 100 within {np.percentile(heard_s, 95):.2f} s" if len(heard_s) else ""
        notes.append(f"{len(heard_s)} of {len(rises_s)} turns of the face heard{told}")
        sound_s = round(float(np.median(heard_s)), 3) if len(heard_s) else None
    print(
        json.dumps(
            {
                "latency_engine_s": round(float(np.median(latencies_s)), 3),
                "latency_engine_p95_s": round(float(np.percentile(latencies_s, 95)), 3),
                "dropouts": len(clock.late_s),
                "latency_sound_s": sound_s,
                "notes": notes,
            }
        )
    )


def untrained(composer: Composer, recipe: Path) -> None:
    """A recipe's controls, with an adaptor whose weights are of a seed."""
    composer.recipe = load_recipe(recipe, registry=plugins.discover())
    composer.encoders = build_encoders(composer.recipe, plugins.discover())
    geometry, rows = composer.backbone.geometry, composer.window_frames + 1
    composer.adaptor = build_adaptor(composer.recipe, composer.encoders, geometry, rows).eval()
    composer.adaptor.gates.data.fill_(0.1)  # what is closed costs as much; so that it is heard


def person() -> ConductorClip:
    """Somebody of the people's world who beats time: 10 s of 360 x 360 pixels at 30 frames a second."""
    plan = people_plan(SEED, 10.0, role="beats", change="as drawn")
    return ConductorClip(plan, frame_times_s=np.arange(300) / 30.0, size_px=360)


def faces(seconds: float) -> tuple[np.ndarray, list[Clip]]:
    """When faces turn from still to strongest, and the people's clips; the turns are not on a grid."""
    rng = np.random.default_rng(0)
    length_s, found, clips = seconds / PEOPLE, [], list[Clip]()
    for number in range(PEOPLE):
        plan = make_plan(SEED + number, length_s)
        turns_s = np.cumsum(rng.uniform(1.9, 2.4, int(length_s / 1.9) + 1))
        strong = np.searchsorted(turns_s, plan.intensity_times_s, side="right") % 2 == 1
        clips.append(ConductorClip(replace(plan, intensity=strong.astype(np.float64), variant="turns")))
        rises_s = turns_s[::2]
        found.append(number * length_s + rises_s[rises_s < length_s - 2.0])
    return np.concatenate(found), clips


def turns_heard(sound: np.ndarray, rate_hz: int, rises_s: np.ndarray) -> np.ndarray:
    """Seconds from each turn to the sample at which it is heard; only of turns that are."""
    size = round(FRAME_S * rate_hz)
    power = (sound[: len(sound) // size * size].reshape(-1, size) ** 2).mean(axis=1)
    level = 10 * np.log10(power + 1e-9)

    def mean(start_s: float, stop_s: float) -> float:
        return float(level[round(start_s / FRAME_S) : round(stop_s / FRAME_S)].mean())

    found = []
    for rise_s in rises_s.tolist():
        before, after = mean(max(0.0, rise_s - 1.0), rise_s), mean(rise_s + 0.9, rise_s + 1.9)
        start = round(rise_s / FRAME_S)
        over = np.flatnonzero(level[start : start + round(1.9 / FRAME_S)] >= (before + after) / 2)
        if after - before >= HEARD_DB and len(over):
            found.append((start + 1 + int(over[0])) * FRAME_S - rise_s)
    return np.array(found)


def push(to: socket.socket, clips: Sequence[Clip], seconds: float) -> None:
    """JPEGs with their times, each when it is time: the clips, over and over."""
    shown: list[tuple[float, bytes]] = []
    start_s = 0.0
    for clip in clips:
        assert clip.video is not None
        for time_s, frame in clip.video.iter_frames():
            jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
            shown.append((start_s + time_s, jpeg))
        start_s += clip.duration_s
    started, turn = time.monotonic(), 0
    while turn * start_s < seconds:
        for own_s, jpeg in shown:
            at_s = turn * start_s + own_s
            if at_s >= seconds:
                break
            time.sleep(max(0.0, at_s - (time.monotonic() - started)))
            to.sendall(HEAD.pack(at_s, len(jpeg)) + jpeg)
        turn += 1
    to.shutdown(socket.SHUT_WR)


def take(source: socket.socket) -> None:
    """Read samples away, as a player would."""
    while source.recv(1 << 16):
        pass


def serve(
    live: LiveSession, connection: socket.socket, delay: Delay
) -> tuple[list[float], Clock, list[float], np.ndarray]:
    """Latencies of the frames, the clock of a player of that delay, when dropouts were, and the music."""
    came: dict[float, float] = {}
    reader = connection.makefile("rb")
    clock = Clock(live.sample_rate_hz, 0.0, delay.player_s)

    def frames():  # type: ignore[no-untyped-def]
        while head := reader.read(HEAD.size):
            time_s, n_bytes = HEAD.unpack(head)
            data = np.frombuffer(reader.read(n_bytes), np.uint8)
            came[time_s] = time.monotonic()
            clock.started_s = clock.started_s or came[time_s] - time_s
            yield cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), time_s

    latencies_s: list[float] = []
    late_at_s: list[float] = []  # a dropout's first chunk
    pieces: list[np.ndarray] = []
    with Looking(live, frames()) as looking:
        for made in music(live, looking, clock, threading.Event()):
            connection.sendall(to_s16le(made.samples))
            latencies_s += [time.monotonic() - came[time_s] for time_s in made.frames_s]
            pieces.append(made.samples)
            if len(clock.late_s) > len(late_at_s):
                late_at_s.append(made.at_s)
    connection.close()
    return latencies_s, clock, late_at_s, np.concatenate(pieces)


if __name__ == "__main__":
    main()
