"""Pictures of the studio's rooms with people of the drawn world, for the README and the documentation.

    uv run python benchmarks/studio_pictures.py --folder DIR/studio --out docs/images

DIR is what `own_gestures.py` has left: recordings, and runs that were trained on them. A recording is composed for,
the camera of Record and of Live is a canvas that shows the performer, and Train shows the runs. `--only live` needs
no such folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from own_gestures import DELAY_S, WHO, take_of, the_studio
from own_gestures_camera import opened

from expotion_studio.songs import FIRST_SEED

SIZE = {"width": 1280, "height": 1000}
WAIT_MS = 120_000


def compose(page: Any, clip: Path) -> None:
    """Two takes for a recording, heard in the middle of it."""
    page.set_input_files("input[type=file]", clip)
    page.wait_for_selector(".lanes-of .track")
    page.fill("textarea", "calm music for marimba with light drums")
    page.get_by_role("button", name="Make music").click()
    page.wait_for_selector(".take")
    page.evaluate("document.querySelector('video').currentTime = 4.2; scrollTo(0, 0)")
    page.wait_for_timeout(1500)


def record(page: Any) -> None:
    """The camera is open, a piece is chosen."""
    page.get_by_label("Performer").select_option(WHO)
    page.get_by_role("button", name="Open the camera").click()
    page.wait_for_timeout(1500)
    page.evaluate("window.fake.still = 4.2; scrollTo(0, 0)")
    page.wait_for_timeout(500)


def train(page: Any) -> None:
    """The runs, under what was estimated for another."""
    page.wait_for_selector(".estimate strong")
    page.evaluate("scrollTo(0, 560)")
    page.wait_for_timeout(500)


def live(page: Any) -> None:
    """The performer moves, and it has played for some seconds; one session before has been kept."""
    page.evaluate("setInterval(() => { window.fake.still = (performance.now() / 1000) % 9.8; }, 20)")
    for seconds in (6, 8):
        page.get_by_role("button", name="Start").click()
        page.get_by_text("It plays.").wait_for()
        page.wait_for_timeout(1000 * seconds)
        if seconds == 6:
            page.get_by_role("button", name="Stop").click()
            page.wait_for_selector(".list video")
    page.evaluate("scrollTo(0, 0)")


ROOMS = {"record": record, "train": train, "live": live}


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=ROOMS, help="one room's picture")
    options = parser.parse_args()
    shown = take_of(FIRST_SEED, 10.0, 0.0)
    with the_studio(options.folder) as studio, opened(shown, DELAY_S, SIZE) as page:
        page.set_default_timeout(WAIT_MS)
        page.goto(studio)
        page.wait_for_selector("textarea[placeholder]", state="attached")
        if options.only is None:
            compose(page, next(options.folder.glob("recordings/*/*.mp4")))
            page.screenshot(path=options.out / "studio_compose.png")
        for name, prepare in ROOMS.items():
            if options.only not in (None, name):
                continue
            page.goto(f"{studio}{name}")
            prepare(page)
            page.screenshot(path=options.out / f"studio_{name}.png")


if __name__ == "__main__":
    main()
