"""The task `qwen2_audio_lora`: fine-tune, describe the test clips before and after, score the words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from expotion.contracts import Clip, Scored, Stage, TaskRun
from expotion_caption_qwen2_audio.captioner import Qwen2AudioCaptioner
from expotion_caption_qwen2_audio.finetune import LoraObjective
from expotion_caption_qwen2_audio.options import FinetuneOptions, Qwen2AudioOptions

SCORED_RATE_HZ = 32_000
MODEL = ("model", "style", "question", "rank", "alpha", "targets", "max_tokens", "precision")


def stages(options: FinetuneOptions) -> list[Stage]:
    """Training, captions of the test clips, scores."""
    return [
        Stage("training", partial(_train, options), MODEL),
        Stage("captions", partial(_describe, options)),
        Stage("scores", _score, scores=True),
    ]


def _train(options: FinetuneOptions, run: TaskRun) -> None:
    objective = LoraObjective(options, run.clips("train"), run.settings, run.seed, run.clips("validation"))
    run.train(objective)
    objective.save(run.folder / "lora")


def _describe(options: FinetuneOptions, run: TaskRun) -> None:
    clips = run.clips("test")
    shared = {name: getattr(options, name) for name in ("model", "style", "question", "device", "precision")}
    said: dict[str, dict[str, str]] = {}
    for row, lora in (("before", None), ("fine_tuned", run.folder / "lora")):
        write = Qwen2AudioCaptioner(Qwen2AudioOptions(**shared, lora=lora, max_new_tokens=options.max_tokens))
        said[row] = {}
        for done, clip in enumerate(clips, start=1):
            said[row][clip.id] = write(clip)
            run.progress("captions", done, len(clips), row)
    text = json.dumps(
        {"references": {clip.id: clip.caption for clip in clips}, **said}, indent=1, ensure_ascii=False
    )
    (run.folder / "captions.json").write_text(text, encoding="utf-8")


def _score(run: TaskRun) -> None:
    said = json.loads((run.folder / "captions.json").read_text(encoding="utf-8"))
    clips = run.clips("test")
    run.score({row: _scored(clips, said[row]) for row in ("fine_tuned", "before")})


def _scored(clips: Sequence[Clip], said: dict[str, str]) -> list[Scored]:
    sounds = [(clip, clip.audio(SCORED_RATE_HZ)) for clip in clips]
    return [Scored(sound, SCORED_RATE_HZ, clip, said[clip.id]) for clip, sound in sounds if sound is not None]
