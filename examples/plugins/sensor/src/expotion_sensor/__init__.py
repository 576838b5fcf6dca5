"""Sensors as a control: accelerometers, MIDI controllers, OSC: whatever was recorded with times, as CSV."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from expotion.contracts import Encoder, EncoderSpec, Options, hookimpl


class SensorOptions(Options):
    """Options that a recipe may set."""

    track: str = Field(default="wrist_accelerometer", description="name of the clip's sensor file")
    layout: Literal["columns", "events"] = Field(
        default="columns",
        description="columns: `time_s` and a column for each channel; events: `time_s, name, value` in each "
        "row, as MIDI controllers and OSC addresses come",
    )
    channels: tuple[str, ...] = Field(
        default=("x_m_per_s2", "y_m_per_s2", "z_m_per_s2"), min_length=1, description="columns, or event names"
    )
    rate_hz: float = Field(default=50.0, gt=0, le=200, description="rows per second")
    scale: float = Field(default=10.0, gt=0, description="values are divided by this")
    jolts: bool = Field(default=True, description="add how fast each channel changes, on a logarithmic scale")


def _build(options: Any) -> Encoder:
    from expotion_sensor.encoder import SensorEncoder

    return SensorEncoder(options)


SPEC = EncoderSpec(
    name="sensor",
    description="a recorded sensor or controller: level and jolts of each channel",
    needs=frozenset({"file"}),
    build=_build,
    options=SensorOptions,
    width=lambda options: len(options.channels) * (2 if options.jolts else 1),
    rate_hz=lambda options: options.rate_hz,
    licence="Apache-2.0",
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """The one encoder of this plugin."""
    return [SPEC]
