"""The captioner `qwen2_fuse`: a scene from words about the music and words about the video, by a language model."""

from __future__ import annotations

from transformers import AutoModelForCausalLM

from expotion.contracts import Clip
from expotion.errors import MediaError, Problem
from expotion_caption_qwen2_audio.captioner import answer
from expotion_caption_qwen2_audio.loading import load
from expotion_caption_qwen2_audio.options import FuseOptions
from expotion_caption_qwen2_audio.prompts import SCENE


class SceneFuser:
    """Reads a clip's caption, in which the first line is of the music and the second of the video."""

    def __init__(self, options: FuseOptions) -> None:
        self.options = options
        where = (options.device, options.precision)
        self.model, self.tokenizer = load(AutoModelForCausalLM, "qwen2", options.model, *where)

    def __call__(self, clip: Clip) -> str:
        """The scene in one line. Raises MediaError for a clip without both lines."""
        lines = [line.strip() for line in (clip.caption or "").splitlines() if line.strip()]
        if len(lines) != 2:
            wanted = "a caption of two lines, of the music and of the video"
            raise MediaError(Problem(clip.id, wanted, f"{len(lines)} lines"))
        return answer(clip, self.model, self.tokenizer, SCENE.format(music=lines[0], video=lines[1]), self.options)
