"""How late live music is: from a frame's last byte to the first sample that was computed with it.

    uv run python benchmarks/live_latency.py --recipe recipes/person.yaml   # landmarks, weights of a seed
    uv run python benchmarks/live_latency.py --clip me.mp4 --adaptor runs/person --seconds 600

A script pushes JPEGs at their times through a socket to a process that makes the music and sends samples back; no
browser. `latency_engine_s` (median) and `latency_engine_p95_s` are by the clock of that process: from the moment at
which a frame's last byte was read to that at which the first sample computed with it is handed to the socket.
Samples are computed with a frame from the first hop on that holds rows which did not exist before it.
`dropouts` are chunks later than a player would need them that starts IN_HAND_S after the first. `latency_sound_s`
is null: it needs a microphone. Adaptor and clip should be ones in which somebody is seen; without `--adaptor` the
shipped one's encoders of pixels are measured. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import threading
import time
from pathlib import Path

import cv2
import numpy as np

import expotion
from expotion import plugins
from expotion.adaptor.build import build_adaptor
from expotion.features.encoders import build_encoders
from expotion.recipe import load_recipe
from expotion.video.clip import FileClip
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan
from expotion_live.live import IN_HAND_S
from expotion_live.session import LiveSession, Looking
from expotion_live.sink import to_s16le

HEAD = struct.Struct(">dI")


def main() -> None:
    """Serve, push, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hop", type=float, default=0.08)
    parser.add_argument("--adaptor")
    parser.add_argument("--recipe", type=Path, help="its controls, with an adaptor that was not trained")
    parser.add_argument("--clip", type=Path, help="played over and over; by default the conductor world")
    asked = parser.parse_args()
    composer = expotion.load(asked.adaptor)
    if asked.recipe is not None:
        composer.recipe = load_recipe(asked.recipe, registry=plugins.discover())
        composer.encoders = build_encoders(composer.recipe, plugins.discover())
        geometry, rows = composer.backbone.geometry, composer.window_frames + 1
        composer.adaptor = build_adaptor(composer.recipe, composer.encoders, geometry, rows).eval()
        composer.adaptor.gates.data.fill_(0.1)  # what is closed costs as much; so that it is heard
    LiveSession(composer, hop_s=asked.hop).rehearse((360, 360), 30.0)  # compiles
    live = LiveSession(composer, hop_s=asked.hop)
    ours, theirs = socket.socketpair()
    pusher = threading.Thread(target=push, args=(theirs, asked.clip, asked.seconds), daemon=True)
    taker = threading.Thread(target=take, args=(theirs,), daemon=True)
    pusher.start()
    taker.start()
    latencies_s, chunks = serve(live, ours)
    rate_hz = live.sample_rate_hz
    lead_s = chunks[0][1] + IN_HAND_S
    late = 0
    for start, ready_s in chunks:
        over_s = ready_s - start / rate_hz - lead_s
        if over_s > 0:
            late, lead_s = late + 1, lead_s + over_s
    notes = [
        f"controls {', '.join(composer.encoders)}; needing windows of pictures: {', '.join(live.late) or 'none'}"
    ]
    notes.append(f"hop {asked.hop:g} s, {len(latencies_s)} frames, {chunks[-1][0] / rate_hz:.1f} s of music")
    print(
        json.dumps(
            {
                "latency_engine_s": round(float(np.median(latencies_s)), 3),
                "latency_engine_p95_s": round(float(np.percentile(latencies_s, 95)), 3),
                "dropouts": late,
                "latency_sound_s": None,
                "notes": notes,
            }
        )
    )


def push(to: socket.socket, path: Path | None, seconds: float) -> None:
    """JPEGs with their times, each when it is time."""
    clip = ConductorClip(make_plan(5_000_500, min(seconds, 20.0))) if path is None else FileClip(path)
    assert clip.video is not None
    times_s = clip.video.frame_times_s
    jpegs = [
        cv2.imencode(".jpg", cv2.cvtColor(clip.video.frames_at(times_s[k : k + 1])[0], cv2.COLOR_RGB2BGR))[
            1
        ].tobytes()
        for k in range(len(times_s))
    ]
    started, turn = time.monotonic(), 0
    while turn * clip.duration_s < seconds:
        for own_s, jpeg in zip(times_s, jpegs, strict=True):
            at_s = turn * clip.duration_s + float(own_s)
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


def serve(live: LiveSession, connection: socket.socket) -> tuple[list[float], list[tuple[int, float]]]:
    """Latencies of the frames, and (first sample, seconds since the first frame came) of each chunk."""
    came: dict[float, float] = {}
    reader = connection.makefile("rb")

    def frames():  # type: ignore[no-untyped-def]
        while head := reader.read(HEAD.size):
            time_s, n_bytes = HEAD.unpack(head)
            data = np.frombuffer(reader.read(n_bytes), np.uint8)
            came[time_s] = time.monotonic()
            yield cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), time_s

    latencies_s: list[float] = []
    chunks: list[tuple[int, float]] = []
    waiting: list[float] = []
    done = 0
    with Looking(live, frames()) as looking:
        for hops, time_s in looking.seen():
            waiting.append(time_s)
            for hop in hops:
                live.play(hop)
                samples = live.read()
                if len(samples):
                    now_s = time.monotonic()
                    chunks.append((done, now_s - came[min(came)]))
                    connection.sendall(to_s16le(samples))
                    done += len(samples)
                    latencies_s += [now_s - came[each] for each in waiting]
                    waiting.clear()
    connection.close()
    return latencies_s, chunks


if __name__ == "__main__":
    main()
