"""What an accelerometer on the beating wrist would record: a sensor file for each clip, made from its plan.

The wrist's path is known exactly, so its acceleration is the second difference of the path over 10 ms (which is
also the sensor's bandwidth), in metres by the width of the shoulders, plus gravity along the picture's y axis, plus
white noise of a cheap sensor, cut at its range of 16 g. x points to the picture's right, y down, z to the viewer.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import cache_folder
from expotion_conductor.figure import SHOULDER_HALF, Figure
from expotion_conductor.plan import Plan

TRACK = "wrist_accelerometer"
RATE_HZ = 100.0
GRAVITY_M_PER_S2 = 9.81
RANGE_M_PER_S2 = 16 * GRAVITY_M_PER_S2
NOISE_M_PER_S2 = 0.05
SHOULDER_WIDTH_M = 0.40
METRES_PER_SIDE = SHOULDER_WIDTH_M / (2 * SHOULDER_HALF)
"""World lengths are frame sides; shoulders are 40 cm apart."""
_STEP_S = 0.01
_VERSION = 1


def wrist_acceleration(plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times [n] in seconds at `RATE_HZ` and acceleration [n, 3] in m/s^2, gravity included."""
    path, metres_per_side = _wrist_path(plan)
    times_s = np.arange(int(np.floor(plan.duration_s * RATE_HZ)) + 1) / RATE_HZ

    def place(at_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return path(at_s) * metres_per_side

    bend = place(times_s + _STEP_S) - 2 * place(times_s) + place(times_s - _STEP_S)
    acceleration = np.zeros((len(times_s), 3))
    acceleration[:, :2] = bend / _STEP_S**2
    acceleration[:, 1] += GRAVITY_M_PER_S2
    noise = np.random.default_rng([plan.person_seed, 11]).standard_normal(acceleration.shape)
    measured = acceleration + NOISE_M_PER_S2 * noise
    return times_s, np.clip(measured, -RANGE_M_PER_S2, RANGE_M_PER_S2)


def _wrist_path(plan: Plan) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]:
    """Where the beating wrist is at any times, in sides of the picture, and how many metres that is."""
    if plan.people:
        from expotion_conductor.people.mover import Mover  # noqa: PLC0415 - only where there are people

        mover = Mover(plan.people.lead, size_px=1)
        side = plan.people.lead.habits.side
        return lambda at_s: mover.pose(at_s).wrist[side], SHOULDER_WIDTH_M / (2 * mover.limbs.shoulder_half)
    figure = Figure(plan)
    return lambda at_s: figure.pose(at_s).wrist[figure.baton_side], METRES_PER_SIDE


class SensorFiles(Mapping[str, Path]):
    """The clip's sensor files by name; each is written to the cache when it is first asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __getitem__(self, name: str) -> Path:
        if name != TRACK:
            raise KeyError(name)
        text = _csv(*wrist_acceleration(self.plan))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = cache_folder() / "conductor" / f"{TRACK}-{self.plan.seed}-v{_VERSION}-{digest}.csv"
        if not path.exists():
            _write(path, text)
        return path

    def __iter__(self) -> Iterator[str]:
        return iter((TRACK,))

    def __len__(self) -> int:
        return 1


def _csv(times_s: NDArray[np.float64], acceleration: NDArray[np.float64]) -> str:
    lines = ["time_s,x_m_per_s2,y_m_per_s2,z_m_per_s2"]
    lines += [
        f"{time_s:.3f},{x:.3f},{y:.3f},{z:.3f}" for time_s, (x, y, z) in zip(times_s, acceleration, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    """All of the file or nothing: several processes may write it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
