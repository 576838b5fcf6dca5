"""The data source `conductor`: as many clips of the world as a recipe asks for, in disjoint seed ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from expotion.contracts import DataSource, DataSourceSpec, Options
from expotion_conductor.plan import ADAPTOR_TRAIN_SEEDS, TEST_SEEDS, make_plan
from expotion_conductor.probes import PROBES

if TYPE_CHECKING:
    from expotion_conductor.clip import ConductorClip
    from expotion_conductor.plan import Plan


class ConductorOptions(Options):
    """The keys of a recipe's `data` beside `source: conductor`."""

    train_clips: int = Field(default=256, ge=1, le=100_000, description="clips to train on")
    test_clips: int = Field(default=24, ge=1, le=100_000, description="held-out clips")
    clip_s: float = Field(default=10.0, ge=1.0, le=600.0, description="length of each clip in seconds")
    size: int = Field(default=192, ge=64, le=1024, description="side of the square picture in pixels")
    style: Literal["conductor-1", "band", "people"] = Field(
        default="conductor-1",
        description="conductors with oscillators on a grid or with a band, or people who move to a band",
    )
    performed: bool = Field(
        default=False,
        description="the band plays all metres with performed timing, not a steady 3/4 or 4/4 "
        "(with people, half of the clips are performed anyway)",
    )
    sensors: bool = Field(default=False, description="clips also have an accelerometer on the wrist (CSV)")
    train_seed: int = Field(default=ADAPTOR_TRAIN_SEEDS, ge=0, description="seed of the first training clip")
    test_seed: int = Field(default=TEST_SEEDS, ge=0, description="seed of the first held-out clip")


class ConductorSource(DataSource):
    """Clip i of a split is the world's clip number first seed + i."""

    def __init__(self, options: ConductorOptions) -> None:
        self.options = options

    def _plan(self, seed: int) -> Plan:
        if self.options.style == "conductor-1":
            return make_plan(seed, self.options.clip_s)
        if self.options.style == "people":
            from expotion_conductor.people.cast import people_plan  # noqa: PLC0415 - only where people move

            return people_plan(seed, self.options.clip_s, performed=self.options.performed or None)
        from expotion_conductor.band.conducted import band_plan  # noqa: PLC0415 - only where a band plays

        return band_plan(seed, self.options.clip_s, steady=not self.options.performed)

    def clips(self, split: Literal["train", "test"]) -> Sequence[ConductorClip]:
        """Clips of a split in order of their seeds; nothing is drawn or played until it is asked for."""
        from expotion_conductor.clip import ConductorClip  # noqa: PLC0415 - brings OpenCV

        options = self.options
        train = split == "train"
        first, count = (
            (options.train_seed, options.train_clips) if train else (options.test_seed, options.test_clips)
        )
        return [
            ConductorClip(self._plan(seed), size_px=options.size, sensors=options.sensors)
            for seed in range(first, first + count)
        ]

    def probes(self, n: int) -> Mapping[str, Sequence[ConductorClip]]:
        """The first `n` held-out clips with a tempo that steps by 35 %, and with a hand that stops after 2 s."""
        from expotion_conductor.clip import ConductorClip  # noqa: PLC0415 - brings OpenCV

        options = self.options
        plans = [self._plan(options.test_seed + i) for i in range(n)]
        return {
            name: [ConductorClip(change(plan), size_px=options.size, sensors=options.sensors) for plan in plans]
            for name, change in PROBES.items()
        }


def _build(options: Any) -> ConductorSource:
    return ConductorSource(options if isinstance(options, ConductorOptions) else ConductorOptions())


SPEC = DataSourceSpec(
    name="conductor",
    description="procedural clips of conductors and the music they conduct, with true beats and intensity",
    build=_build,
    options=ConductorOptions,
)
