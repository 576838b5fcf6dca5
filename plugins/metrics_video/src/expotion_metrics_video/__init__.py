"""Similarity of picture and sound in a shared embedding: LanguageBind, and ImageBind as an option."""

from __future__ import annotations

from collections.abc import Callable

from expotion.contracts import MetricSpec, Score, Scored, Weights, hookimpl

SAMPLE_RATE_HZ = 16_000
LANGUAGEBIND_VIDEO = Weights("languagebind_video", "hf:LanguageBind/LanguageBind_Video_FT", "MIT")
LANGUAGEBIND_AUDIO = Weights("languagebind_audio", "hf:LanguageBind/LanguageBind_Audio_FT", "MIT")
IMAGEBIND_HUGE = Weights(
    "imagebind_huge",
    "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth",
    "CC-BY-NC-SA-4.0",
    non_commercial=True,
)


def build_languagebind() -> Callable[[Scored], Score]:
    """A function from a sound at 16 kHz to the cosine of its embedding and its clip's picture's."""
    from expotion_metrics_video.similarity import languagebind  # noqa: PLC0415 - torch only when a run uses it

    return languagebind()


def build_imagebind() -> Callable[[Scored], Score]:
    """The same with ImageBind."""
    from expotion_metrics_video.similarity import imagebind  # noqa: PLC0415

    return imagebind()


LANGUAGEBIND = MetricSpec(
    name="video_audio_languagebind",
    label="Video-audio (LanguageBind)",
    description="cosine of LanguageBind's embeddings of the clip's picture and of the sound",
    build=build_languagebind,
    higher_is_better=True,
    weights=(LANGUAGEBIND_VIDEO, LANGUAGEBIND_AUDIO),
    sample_rate_hz=SAMPLE_RATE_HZ,
    needs=frozenset({"video"}),
    source="Zhu et al. 2024 (LanguageBind)",
    not_comparable_with="ImageBind's similarity, LoRA checkpoints of LanguageBind, or other frames of the video",
    claim="The video brings the sound nearer to the picture, as LanguageBind hears and sees them",
    thing="how well sound and picture fit, as LanguageBind hears and sees them",
)
IMAGEBIND = MetricSpec(
    name="video_audio_imagebind",
    label="Video-audio (ImageBind)",
    description="cosine of ImageBind's embeddings of the clip's picture and of the sound",
    build=build_imagebind,
    higher_is_better=True,
    weights=(IMAGEBIND_HUGE,),
    sample_rate_hz=SAMPLE_RATE_HZ,
    needs=frozenset({"video"}),
    source="Girdhar et al. 2023 (ImageBind)",
    not_comparable_with="LanguageBind's similarity, or scores scaled by ImageBind's temperature",
    claim="The video brings the sound nearer to the picture, as ImageBind hears and sees them",
    thing="how well sound and picture fit, as ImageBind hears and sees them",
)


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """Picture and sound."""
    return [LANGUAGEBIND, IMAGEBIND]
