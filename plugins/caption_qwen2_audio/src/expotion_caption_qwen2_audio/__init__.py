"""Captions by Qwen2-Audio. Light to import; torch and transformers come with `build`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from expotion.contracts import CaptionerRehearsal, CaptionerSpec, Clip, Stage, TaskCost, TaskSpec, Weights, hookimpl
from expotion_caption_qwen2_audio.options import FinetuneOptions, FuseOptions, Qwen2AudioOptions
from expotion_caption_qwen2_audio.published import SIZES, n_bytes

__all__ = ["FUSE", "SPEC", "TASK", "FinetuneOptions", "Qwen2AudioOptions", "expotion_captioners", "expotion_tasks"]

PUBLISHED = frozenset(
    {
        "Qwen/Qwen2-Audio-7B",
        "Qwen/Qwen2-Audio-7B-Instruct",
        "Qwen/Qwen2-VL-2B-Instruct",
        "Qwen/Qwen2-VL-7B-Instruct",
        "Qwen/Qwen2.5-7B-Instruct",
    }
)
"""Models whose licence is known here (Apache-2.0); a folder has that of whoever made it."""


def _build(options: Any) -> Callable[[Clip], str]:
    from expotion_caption_qwen2_audio.captioner import Qwen2AudioCaptioner  # noqa: PLC0415 - heavy

    return Qwen2AudioCaptioner(options)


def _weights(options: Any) -> Sequence[Weights]:
    heard = [] if options.style == "video" else [options.model]
    used = [*heard, *([options.video_model] if options.style in ("fused", "video") else [])]
    return [
        Weights(
            name,
            f"hf:{name}",
            "Apache-2.0" if name in PUBLISHED else "its own",
            size_bytes=n_bytes(name) if name in SIZES else None,
        )
        for name in used
    ]


def _rehearse(options: Any, clip: Clip) -> CaptionerRehearsal | None:
    from expotion_caption_qwen2_audio.rehearsal import rehearse  # noqa: PLC0415 - heavy

    return rehearse(options, clip)


SPEC = CaptionerSpec(
    name="qwen2_audio",
    description="the music, the scene it suits, or music and video together, in words by Qwen2-Audio",
    build=_build,
    options=Qwen2AudioOptions,
    licence="Apache-2.0",
    weights=_weights,
    rehearse=_rehearse,
)


def _fuser(options: Any) -> Callable[[Clip], str]:
    from expotion_caption_qwen2_audio.fuse import SceneFuser  # noqa: PLC0415 - heavy

    return SceneFuser(options)


FUSE = CaptionerSpec(
    name="qwen2_fuse",
    description="a scene from two lines of words, of the music and of the video, by Qwen2.5",
    build=_fuser,
    options=FuseOptions,
    licence="Apache-2.0",
    weights=lambda options: [
        Weights(options.model, f"hf:{options.model}", "Apache-2.0" if options.model in PUBLISHED else "its own")
    ],
)


@hookimpl
def expotion_captioners() -> list[CaptionerSpec]:
    """The captioner of clips, and that of what was said of them."""
    return [SPEC, FUSE]


def _stages(options: Any) -> Sequence[Stage]:
    from expotion_caption_qwen2_audio.task import stages  # noqa: PLC0415 - heavy

    return stages(options)


def _cost(options: Any) -> TaskCost:
    from expotion_caption_qwen2_audio.cost import cost_of  # noqa: PLC0415 - heavy

    return cost_of(options)


TASK = TaskSpec(
    name="qwen2_audio_lora",
    description="fine-tune Qwen2-Audio with LoRA on clips and their captions, and score what it says of test clips",
    stages=_stages,
    options=FinetuneOptions,
    cost=_cost,
)


@hookimpl
def expotion_tasks() -> list[TaskSpec]:
    """Fine-tuning."""
    return [TASK]
