"""What a recipe or `expotion data prepare --caption-set` may set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from expotion.contracts import Options

Style = Literal["music", "scene", "fused", "video"]


class Qwen2AudioOptions(Options):
    """Models, the kind of caption, and where to compute."""

    model: str = Field(default="Qwen/Qwen2-Audio-7B-Instruct", description="a Qwen2-Audio: folder or hub name")
    style: Style = Field(
        default="music", description="the music, a scene that it suits, music and video fused, or the video"
    )
    question: str | None = Field(default=None, description="asked about the music instead of the style's question")
    lora: Path | None = Field(default=None, description="folder `lora` of a run of the task qwen2_audio_lora")
    video_model: str = Field(
        default="Qwen/Qwen2-VL-2B-Instruct", description="a Qwen2-VL for fused and video: folder or hub name"
    )
    frames: int = Field(default=6, ge=1, le=64, description="frames of the video that it sees")
    fusion: Literal["model", "join"] = Field(
        default="model", description="one prompt written by the model, or both captions one after the other"
    )
    max_new_tokens: int = Field(default=96, ge=1, le=1024, description="longest answer, in tokens")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 ...")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where that is measured to be right and faster"
    )


class FinetuneOptions(Options):
    """What a recipe with `task: qwen2_audio_lora` may set under `options`."""

    model: str = Field(default="Qwen/Qwen2-Audio-7B-Instruct", description="a Qwen2-Audio: folder or hub name")
    style: Literal["music", "scene"] = Field(default="scene", description="the question that captions answer")
    question: str | None = Field(default=None, description="asked about the music instead of the style's question")
    rank: int = Field(default=8, ge=1, description="rank of the matrices")
    alpha: int = Field(default=16, ge=1, description="their product is scaled by alpha / rank")
    targets: list[str] = Field(
        default=["q_proj", "k_proj", "v_proj", "o_proj"], min_length=1, description="layers of the language model"
    )
    max_tokens: int = Field(default=96, ge=1, le=1024, description="longest caption, in tokens")
    recompute_activations: bool = Field(default=False, description="less memory, a third more time")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 ...")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="of the frozen weights")


class FuseOptions(Options):
    """The language model that makes a scene of what was said of music and video."""

    model: str = Field(default="Qwen/Qwen2.5-7B-Instruct", description="a Qwen2 that chats: folder or hub name")
    max_new_tokens: int = Field(default=96, ge=1, le=1024, description="longest answer, in tokens")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 ...")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where that is measured to be right and faster"
    )
