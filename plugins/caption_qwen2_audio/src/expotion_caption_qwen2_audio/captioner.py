"""A clip's caption: Qwen2-Audio hears the music; for fused captions Qwen2-VL sees frames and both are joined."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForImageTextToText, Qwen2AudioForConditionalGeneration

from expotion.contracts import Clip
from expotion.errors import MediaError, Problem
from expotion_caption_qwen2_audio import prompts
from expotion_caption_qwen2_audio.loading import load, with_lora
from expotion_caption_qwen2_audio.options import Qwen2AudioOptions

FRAME_PX = 280
"""Shorter side of the frames that Qwen2-VL sees: ten of its patches."""
SILENCE = 1e-4


class Qwen2AudioCaptioner:
    """One line of words about a clip, decoded greedily: the same clip gives the same words."""

    def __init__(self, options: Qwen2AudioOptions, load: Callable[..., tuple[Any, Any]] = load) -> None:
        self.options = options
        where = (options.device, options.precision)
        self.model: Any = None
        self.processor: Any = None
        if options.style != "video":
            self.model, self.processor = load(
                Qwen2AudioForConditionalGeneration, "qwen2_audio", options.model, *where
            )
        if options.lora is not None and self.model is not None:
            self.model = with_lora(self.model, options.lora)
        self.video_model: Any = None
        self.video_processor: Any = None
        if options.style in ("fused", "video"):
            self.video_model, self.video_processor = load(
                AutoModelForImageTextToText, "qwen2_vl", options.video_model, *where
            )

    def __call__(self, clip: Clip) -> str:
        """The caption. Raises MediaError for a clip without sound, or without a picture where one is needed."""
        options = self.options
        if options.style == "video":
            return self.about_video(clip)
        music = self.about_music(clip, options.question or prompts.QUESTIONS[options.style])
        if options.style != "fused":
            return music
        video = self.about_video(clip)
        if options.fusion == "join":
            return prompts.JOIN.format(music=music, video=video)
        question = prompts.FUSE.format(music=music, video=video)
        return self._answer(clip, self.model, self.processor, [{"type": "text", "text": question}])

    def about_music(self, clip: Clip, question: str) -> str:
        """The answer to a question about the clip's sound (of a long one, the 30 s in its middle)."""
        extractor = self.processor.feature_extractor
        content = [{"type": "audio"}, {"type": "text", "text": question}]
        return self._answer(
            clip,
            self.model,
            self.processor,
            content,
            audio=[heard_of(clip, extractor)],
            sampling_rate=int(extractor.sampling_rate),
        )

    def about_video(self, clip: Clip) -> str:
        """The answer about frames at equal distances, from the middle of the first part to that of the last."""
        if clip.video is None or len(clip.video.frame_times_s) == 0:
            raise MediaError(Problem(clip.id, "a clip with a picture to describe", "none"))
        n = self.options.frames
        times_s = (np.arange(n, dtype=np.float64) + 0.5) * clip.duration_s / n
        frames: list[NDArray[np.uint8]] = list(clip.video.frames_at(times_s, shorter_side=FRAME_PX))
        content: list[dict[str, Any]] = [{"type": "image"} for _ in frames]
        content.append({"type": "text", "text": prompts.VIDEO})
        return self._answer(clip, self.video_model, self.video_processor, content, images=frames)

    def _answer(self, clip: Clip, model: Any, processor: Any, content: list[dict[str, Any]], **media: Any) -> str:
        return answer(clip, model, processor, content, self.options, **media)


@torch.inference_mode()
def answer(
    clip: Clip, model: Any, processor: Any, content: str | list[dict[str, Any]], options: Any, **media: Any
) -> str:
    """One line: what a model says to a user's message. Raises MediaError for an empty answer."""
    messages = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[text], return_tensors="pt", **media).to(model.device)
    for name, value in inputs.items():
        if value.is_floating_point():
            inputs[name] = value.to(model.dtype)
    made = model.generate(
        **inputs, max_new_tokens=options.max_new_tokens, do_sample=False, temperature=None, top_p=None, top_k=None
    )
    new = made[:, inputs["input_ids"].shape[1] :]
    words = processor.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)[0]
    ends = model.generation_config.eos_token_id
    ended = int(new[0, -1]) in (ends if isinstance(ends, list) else [ends])
    line = one_line(words, whole=ended)
    if not line:
        raise MediaError(Problem(clip.id, f"words from {options.model}", "an empty answer"))
    return line


def heard_of(clip: Clip, extractor: Any) -> NDArray[np.float32]:
    """A clip's sound at the extractor's rate, of a long one the middle 30 s. Raises MediaError for silence."""
    samples = clip.audio(int(extractor.sampling_rate))
    if samples is None or len(samples) == 0:
        raise MediaError(Problem(clip.id, "a clip with sound", "none"))
    if float(np.abs(samples).max()) < SILENCE:
        raise MediaError(Problem(clip.id, "music to describe", "silence"))
    most = int(extractor.n_samples)
    begin = max(0, (len(samples) - most) // 2)
    return samples[begin : begin + most]


def one_line(words: str, *, whole: bool) -> str:
    """An answer as one line of printable words; one that was cut off ends with its last whole sentence, if any."""
    kept = "".join(letter if letter.isprintable() and letter != "\ufffd" else " " for letter in words)
    line = " ".join(kept.split()).strip("\"'")
    if not whole and (sentences := re.match(r".*[.!?](?=\s)", line + " ")):
        return sentences.group()
    return line
