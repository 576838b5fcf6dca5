"""People who move, drawn by the conductor world's painter: 60 short clips, half of them beating time.

A small script says when and how somebody moves; where every joint is follows exactly. Beating: a conductor's
patterns, nods, and swaying with a dip on each beat, at a steady or a changing tempo. Not beating: pointing,
reaching and keeping still, at times without any regularity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.clip import ConductorClip
from expotion_conductor.figure import Figure, Floats, Pose
from expotion_conductor.plan import Plan, make_plan
from expotion_person_landmarks.landmarks import (
    LEFT_ELBOW,
    LEFT_SHOULDER,
    LEFT_WRIST,
    N_POSE,
    NOSE,
    RIGHT_ELBOW,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    Landmarks,
)

Kind = Literal["conducting", "nods", "sway", "pointing", "reaching", "stillness"]
BEATING: tuple[Kind, ...] = ("conducting", "nods", "sway")
NOT_BEATING: tuple[Kind, ...] = ("pointing", "reaching", "stillness")
CLIPS_PER_KIND = 10
FIRST_SEED = 7_000_000
"""Beyond the seeds of the conductor world."""
TEMPO_RANGE_BPM = (60.0, 140.0)
TEMPO_CHANGE = 0.15
HEAD_SIZE, HEAD_LOWER = 0.7, 0.055
"""The conductor's head is a cartoon's; a network that knows people expects a smaller one on a shorter neck."""
VERSION = 2
"""Part of every content hash: raise it when the same script gives another picture."""
LAP = (0.24, 0.86)
"""Where resting hands lie: outwards from the middle, down."""
JOINTS = {
    NOSE: "nose",
    2: "left_eye",
    5: "right_eye",
    LEFT_SHOULDER: "left_shoulder",
    RIGHT_SHOULDER: "right_shoulder",
    LEFT_ELBOW: "left_elbow",
    RIGHT_ELBOW: "right_elbow",
    LEFT_WRIST: "left_wrist",
    RIGHT_WRIST: "right_wrist",
}
"""Landmarks whose true places are known, by their numbers."""


@dataclass(frozen=True)
class Script:
    """One clip's motion: beats (none for who does not beat) or the times and places of single gestures.

    `gestures` are (side of the picture 0 or 1, start, length in seconds, outwards, down).
    """

    kind: Kind
    seed: int
    duration_s: float
    steady: bool
    beats_s: Floats
    gestures: tuple[tuple[int, float, float, float, float], ...] = ()


def make_script(kind: Kind, seed: int, duration_s: float = 10.0) -> Script:
    """Draw a script; the same kind and seed give the same one."""
    rng = np.random.default_rng([seed, 11])
    steady = bool(rng.random() < 0.5)
    if kind in BEATING:
        return Script(kind, seed, duration_s, steady, _beats(rng, duration_s, steady))
    if kind == "stillness":
        return Script(kind, seed, duration_s, True, np.zeros(0))
    gestures, start_s = [], float(rng.uniform(0.3, 1.2))
    while start_s < duration_s:
        length_s = float(rng.uniform(0.25, 0.5) if kind == "pointing" else rng.uniform(0.8, 1.8))
        place = float(rng.uniform(0.12, 0.44)), float(rng.uniform(0.35, 0.85))
        gestures.append((int(rng.integers(2)), start_s, length_s, *place))
        start_s += length_s + float(rng.exponential(0.7)) + 0.1
    return Script(kind, seed, duration_s, True, np.zeros(0), tuple(gestures))


def _beats(rng: np.random.Generator, duration_s: float, steady: bool) -> Floats:
    """Beats in [0, duration_s): steady, or a tempo that moves within TEMPO_CHANGE over 4 to 8 beats."""
    period_s = 60.0 / float(rng.uniform(*TEMPO_RANGE_BPM))
    beats_s = [float(rng.uniform(0.05, 1.0)) * period_s]
    change, target, left = 0.0, 0.0, 0
    while beats_s[-1] < duration_s:
        if left == 0:
            left, target = (
                int(rng.integers(4, 9)),
                0.0 if steady else float(rng.uniform(-TEMPO_CHANGE, TEMPO_CHANGE)),
            )
        change += (target - change) / left
        left -= 1
        beats_s.append(beats_s[-1] + period_s * (1.0 + change))
    return np.array(beats_s[:-1])


class MovingFigure(Figure):
    """The world's figure, moved by a script instead of a conductor's plan."""

    def __init__(self, script: Script, size_px: int) -> None:
        plan = _plan(script)
        super().__init__(plan, size_px)
        self.person = replace(self.person, face_half_width=HEAD_SIZE * self.person.face_half_width)
        self.script = script
        self._random = np.random.default_rng([script.seed, 12])
        self._drift = self._random.uniform(0, 2 * np.pi, 4)

    def _wrists(self, times_s: Floats, felt: Floats) -> tuple[Floats, Floats]:
        if self.script.kind == "conducting":
            return super()._wrists(times_s, felt)
        hands = []
        for side in (0, 1):
            place = np.tile(np.array(LAP), (len(times_s), 1))
            for whose, start_s, length_s, out, down in self.script.gestures:
                if whose == side:
                    share = _ease((times_s - start_s) / length_s)[:, None]
                    place = place + share * (np.array([out, down]) - place)
            sign = -1.0 if side == 0 else 1.0
            hands.append(np.column_stack([0.5 + sign * place[:, 0], place[:, 1], np.full(len(times_s), 0.12)]))
        return hands[0], hands[1]

    def pose(self, times_s: Floats) -> Pose:
        """The body at `times_s` [n]: the conductor's, or one that breathes, with the script's nods or swaying."""
        times_s = np.asarray(times_s, dtype=np.float64)
        pose = super().pose(times_s)
        script = self.script
        if script.kind == "conducting":
            return _shifted(pose, np.zeros((len(times_s), 2)), np.array([0.0, HEAD_LOWER]))
        body = np.column_stack([0.004 * np.sin(0.37 * times_s + self._drift[0]), 0.0015 * np.sin(1.5 * times_s)])
        head = np.tile([0.0, HEAD_LOWER], (len(times_s), 1))
        if script.kind == "nods":
            dip = _dips(times_s, script.beats_s, 0.10)
            head[:, 1] += 0.032 * dip
            pose = replace(pose, pitch=0.9 * dip)
        elif script.kind == "sway":
            phase = _phase(times_s, script.beats_s)
            body[:, 0] += 0.045 * np.sin(np.pi * phase)
            body[:, 1] -= 0.028 * np.abs(np.sin(np.pi * phase))
        return _shifted(pose, body, head)


def _plan(script: Script) -> Plan:
    """A plan with the script's beats; who does not conduct has none within the clip, so nothing nods by itself."""
    plan = make_plan(script.seed, script.duration_s)
    beats_s = script.beats_s
    if script.kind != "conducting":
        return replace(plan, beats_s=np.array([1e4]), beat_in_bar=np.zeros(1, np.int64), tempo_bpm=0.005)
    tempo_bpm = 60.0 / float(np.median(np.diff(beats_s)))
    places = np.arange(len(beats_s), dtype=np.int64) % plan.beats_per_bar
    return replace(plan, beats_s=beats_s, beat_in_bar=places, tempo_bpm=tempo_bpm)


def _ease(share: Floats) -> Floats:
    """0 to 1 with least jerk (Flash and Hogan 1985)."""
    share = np.clip(share, 0.0, 1.0)
    return np.asarray(share**3 * (10 - 15 * share + 6 * share**2))


def _dips(times_s: Floats, beats_s: Floats, width_s: float) -> Floats:
    """A bump of height 1 at each beat [n]: down before it, lowest on it."""
    return np.asarray(np.exp(-0.5 * ((times_s[:, None] - beats_s) / width_s) ** 2).sum(axis=1))


def _phase(times_s: Floats, beats_s: Floats) -> Floats:
    """Beats gone by [n], at the first and last tempo beyond the ends."""
    number = np.interp(times_s, beats_s, np.arange(len(beats_s)))
    first, last = beats_s[1] - beats_s[0], beats_s[-1] - beats_s[-2]
    early, late = np.minimum(times_s - beats_s[0], 0) / first, np.maximum(times_s - beats_s[-1], 0) / last
    return np.asarray(number + early + late)


def _shifted(pose: Pose, body: Floats, head: Floats) -> Pose:
    def moved(sides: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        return sides[0] + body, sides[1] + body

    return replace(
        pose,
        shoulder=moved(pose.shoulder),
        elbow=moved(pose.elbow),
        wrist=moved(pose.wrist),
        body_x=pose.body_x + body[:, 0],
        body_y=pose.body_y + body[:, 1],
        head=pose.head + body + head,
    )


class RenderedPerson(ConductorClip):
    """A clip of somebody who moves by a script; `fps` frames a second, without sound that means anything."""

    def __init__(self, script: Script, *, fps: float = 25.0, size_px: int = 256) -> None:
        times_s = np.arange(int(script.duration_s * fps)) / fps
        super().__init__(_plan(script), frame_times_s=times_s, size_px=size_px)
        self.script = script
        self.id = f"{script.kind}-{script.seed}"
        self.truth = None
        self._video._scene.figure = MovingFigure(script, size_px)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the world's hash and the script."""
        script = self.script
        numbers = np.array([*script.beats_s, *(value for gesture in script.gestures for value in gesture)])
        digest = hashlib.sha256(f"{super().content_hash} {VERSION} {script.kind} {script.seed}".encode())
        digest.update(np.rint(numbers * 1e6).astype("<i8").tobytes())
        return digest.hexdigest()


def rendered_people(duration_s: float = 10.0, *, fps: float = 25.0, size_px: int = 256) -> Iterator[RenderedPerson]:
    """The 60 clips: ten of each kind, beating ones first."""
    for number, kind in enumerate((*BEATING, *NOT_BEATING)):
        for index in range(CLIPS_PER_KIND):
            script = make_script(kind, FIRST_SEED + 100 * number + index, duration_s)
            yield RenderedPerson(script, fps=fps, size_px=size_px)


def true_landmarks(clip: RenderedPerson, *, noise: float = 0.0, lost: float = 0.0) -> Landmarks:
    """Landmarks where the joints truly are, as a pose network would hand them on.

    `noise` is the standard deviation in shoulder widths (half of it moves slowly, as a network's errors do), `lost`
    the share of frames in which a hand is not seen, in stretches of about half a second. Joints outside the picture
    are not seen.
    """
    times_s = clip.video.frame_times_s
    height, width = clip.video.size
    joints = clip.figure.joints(times_s)
    rng = np.random.default_rng([clip.script.seed, 13])
    points = np.zeros((len(times_s), N_POSE, 3), np.float32)
    across = joints["left_shoulder"] - joints["right_shoulder"]
    spread_px = noise * float(np.median(np.hypot(across[:, 0], across[:, 1])))
    run = max(1, round(0.5 / float(np.median(np.diff(times_s)))))
    for number, name in JOINTS.items():
        place = joints[name] + spread_px * _noise(rng, len(times_s), run)
        inside = ((joints[name] >= 0) & (joints[name] < np.array([width, height]))).all(axis=1)
        if number in (LEFT_WRIST, RIGHT_WRIST):
            inside &= np.repeat(rng.random(len(times_s) // run + 1) >= lost, run)[: len(times_s)]
        points[:, number, :2] = place
        points[:, number, 2] = np.where(inside, 0.95, 0.05)
    return Landmarks(times_s, points, (height, width), np.full(len(times_s), -1, np.int64))


def _noise(rng: np.random.Generator, n: int, run: int) -> NDArray[np.float64]:
    """Noise [n, 2] of unit variance: half of it white, half slow, over about `run` frames, without a period."""
    reach = np.arange(-2 * run, 2 * run + 1)
    window = np.exp(-0.5 * (2.5 * reach / run) ** 2)
    window /= np.sqrt((window**2).sum())
    white = rng.standard_normal((n + 4 * run, 2))
    slow = np.column_stack([np.convolve(white[:, axis], window, mode="valid") for axis in range(2)])
    return np.sqrt(0.5) * (rng.standard_normal((n, 2)) + slow)
