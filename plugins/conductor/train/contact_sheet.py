"""Draw a sheet of twelve conductors at rising intensity, for the documentation.

    uv run python plugins/conductor/train/contact_sheet.py --out docs/images/conductor_world.png

Rows rise from soft to loud. The seeds are those kept for the documentation, in order. Sensor noise is left
out and colours are rounded to multiples of three, which keeps the file small.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np

from expotion_conductor.plan import REPORT_SEEDS, make_plan
from expotion_conductor.scene import Scene

COLUMNS, LEVELS = 4, (0.05, 0.5, 0.95)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/conductor_world.png"))
    parser.add_argument("--first-seed", type=int, default=REPORT_SEEDS)
    parser.add_argument("--size", type=int, default=192, help="side of each picture in pixels")
    arguments = parser.parse_args()
    rows = []
    for row, level in enumerate(LEVELS):
        pictures = []
        for column in range(COLUMNS):
            plan = make_plan(arguments.first_seed + row * COLUMNS + column, 10.0)
            time_s = plan.intensity_times_s[int(np.argmin(np.abs(plan.intensity - level)))]
            scene = Scene(plan, arguments.size)
            scene.figure.camera = dataclasses.replace(scene.figure.camera, noise=0.0)
            pictures.append(scene.draw(np.array([time_s]))[0])
        rows.append(np.concatenate(pictures, axis=1))
    sheet = np.concatenate(rows, axis=0) // 3 * 3
    ok, encoded = cv2.imencode(".png", sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not ok:
        raise SystemExit("the sheet could not be encoded as PNG")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.out.with_suffix(".tmp")
    temporary.write_bytes(encoded.tobytes())
    os.replace(temporary, arguments.out)
    print(f"{arguments.out}: {sheet.shape[1]} x {sheet.shape[0]} pixels, {len(encoded) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
