"""A crowd at a studio: some that upload clips and some that read, and how long a small answer takes meanwhile.

    uv run python benchmarks/studio_crowd.py http://127.0.0.1:8766/ --clip CLIP.mp4 [--uploads 4] [--readers 20]

The studio runs elsewhere (`expotion studio --no-browser`), perhaps with a live session, whose dropouts its own page
counts. Every upload is a whole clip that the studio opens in a process of its own; looking at it is stopped,
and the clip deleted. Readers ask for lists, files of the page, and the first recording. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ASKED_EVERY_S = 0.25
LONGEST_S = 120.0


def asked(address: str, method: str = "GET", body: bytes | None = None) -> bytes:
    """What is answered. Raises OSError where nothing is, or a refusal."""
    request = urllib.request.Request(address, body, {"Content-Type": "video/mp4"}, method=method)
    with urllib.request.urlopen(request, timeout=LONGEST_S) as answer:
        content: bytes = answer.read()
    return content


def upload(studio: str, clip: bytes) -> None:
    """A clip comes, and goes again."""
    found: dict[str, Any] = json.loads(asked(f"{studio}api/clips?name=crowd.mp4", "PUT", clip))
    with contextlib.suppress(urllib.error.HTTPError):
        asked(f"{studio}api/jobs/{found['job']['id']}/stop", "POST", b"")
        asked(f"{studio}api/clips/{found['clip']['id']}", "DELETE")


def read(studio: str, paths: list[str]) -> None:
    """Everything once."""
    for path in paths:
        asked(studio + path)


def main() -> None:
    """Start the crowd, ask, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studio")
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--uploads", type=int, default=4)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    studio, clip = options.studio.rstrip("/") + "/", options.clip.read_bytes()
    recordings = json.loads(asked(f"{studio}api/recordings"))[:1]
    paths = ["api/clips", "api/songs", "static/main.js", "static/report.css"]
    paths += [f"api/recordings/{one['id']}/video" for one in recordings]
    stop, done = threading.Event(), Counter[str]()

    def again(what: str, work: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                work()
                done[what] += 1
            except OSError:
                done[f"{what} failed"] += 1

    work: list[tuple[str, Callable[[], None]]] = [("uploads", lambda: upload(studio, clip))] * options.uploads
    work += [("reads", lambda: read(studio, paths))] * options.readers
    threads = [threading.Thread(target=again, args=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    until, took_s = time.monotonic() + options.seconds, []
    while time.monotonic() < until:
        began = time.monotonic()
        asked(f"{studio}api/about")
        took_s.append(time.monotonic() - began)
        time.sleep(ASKED_EVERY_S)
    stop.set()
    for thread in threads:
        thread.join(LONGEST_S)
    quantiles = {f"p{share}_ms": round(1000 * float(np.percentile(took_s, share)), 1) for share in (50, 95, 100)}
    print(json.dumps({**done, **quantiles}))


if __name__ == "__main__":
    main()
