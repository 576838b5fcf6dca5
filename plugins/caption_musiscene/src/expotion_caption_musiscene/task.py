"""The task `scenes`: listen to the clips, train the small captioner, tell scenes of the test clips, score them.

Rows of the scores:

    scenes                as the captioner `musiscene` tells them
    other_wording         of every kind the value whose sentence, in an order of words never trained on, the sound
                          makes likelier than no sound does; the sentence of all four
    one_scene_per_mood    the mood that is heard; of each one scene, of what is most often true with it in training
    commonest_scene       the same scene for all, of what is most often true in training
    told_by_truth         what is true, told in orders never trained on: what the reader loses
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from expotion.contracts import Clip, Scored, Stage, TaskRun, Truth, Video
from expotion_caption_musiscene import tales
from expotion_caption_musiscene.classes import KINDS, Classes
from expotion_caption_musiscene.heard import Heard, listen, told_whole
from expotion_caption_musiscene.learn import SceneObjective, padded, teach_words
from expotion_caption_musiscene.lexicon import VALUES
from expotion_caption_musiscene.mel import SOUND_RATE_HZ
from expotion_caption_musiscene.options import SceneTaskOptions
from expotion_caption_musiscene.teller import SIZES, SceneTeller, certain, doubting, likeliest, load, save

MODEL = "scenes.safetensors"
SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")


def stages(options: SceneTaskOptions) -> list[Stage]:
    """Listening, training, scenes, scores."""
    return [
        Stage("listening", partial(_listen, options)),
        Stage("training", partial(_train, options), ("helpers",)),
        Stage("scenes", _tell),
        Stage("scores", _score, scores=True),
    ]


def _listen(options: SceneTaskOptions, run: TaskRun) -> None:
    for split in SPLITS:
        clips = run.clips(split)
        if clips:
            heard = listen(clips, options.processes, lambda done, total: run.progress("listening", done, total))
            told_whole(clips, heard)
            heard.save(_file(run, split))


def _file(run: TaskRun, split: str) -> Path:
    return run.folder / f"heard_{split}.npz"


def _train(options: SceneTaskOptions, run: TaskRun) -> None:
    validation = Heard.load(_file(run, "validation")) if _file(run, "validation").is_file() else None
    heard = Heard.load(_file(run, "train"))
    objective = SceneObjective(heard, run.settings, run.seed, validation, helpers=options.helpers)
    model = run.train(objective)
    assert isinstance(model, SceneTeller)
    teach_words(model, run.seed)
    save(model, run.folder / MODEL)


def _tell(run: TaskRun) -> None:
    told = tell_all(load(run.folder / MODEL), Heard.load(_file(run, "test")), Heard.load(_file(run, "train")))
    ids = [clip.id for clip in run.clips("test")]
    said = {row: dict(zip(ids, lines, strict=True)) for row, lines in told.items()}
    (run.folder / "captions.json").write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")


def _score(run: TaskRun) -> None:
    said = json.loads((run.folder / "captions.json").read_text(encoding="utf-8"))
    sounds = [(clip, clip.audio(SOUND_RATE_HZ)) for clip in map(KeptSound, run.clips("test"))]
    run.score(
        {
            row: [Scored(sound, SOUND_RATE_HZ, clip, lines[clip.id]) for clip, sound in sounds if sound is not None]
            for row, lines in said.items()
        }
    )


def tell_all(model: SceneTeller, test: Heard, train: Heard) -> dict[str, list[str]]:
    """Row -> a line for every piece of the test."""
    with torch.inference_mode():
        parts = [model.hear(*batch) for batch in test.batches()]
    logits = {kind: torch.cat([part[kind] for part in parts]) for kind in KINDS}
    heard = likeliest(logits)
    commonest = _commonest(train.classes)
    by_mood = {
        mood: _commonest([one for one in train.classes if one["mood"] == mood] or [commonest | {"mood": mood}])
        for mood in VALUES["mood"]
    }
    one_each = {mood: tales.tell(classes, np.random.default_rng(0)) for mood, classes in by_mood.items()}
    always = tales.tell(commonest, np.random.default_rng(0))
    return {
        "scenes": model.draw(heard, test.seeds),
        "other_wording": other_wording(model, logits, test.seeds, _average(train)),
        "one_scene_per_mood": [one_each[classes["mood"]] for classes in heard],
        "commonest_scene": [always] * len(test),
        "told_by_truth": [
            tales.tell(classes, np.random.default_rng(seed), held_out=True)
            for classes, seed in zip(test.classes, test.seeds, strict=True)
        ],
    }


def _commonest(classes: Sequence[Classes]) -> Classes:
    """The four values that are most often true together, the first of several."""
    [(best, _)] = Counter(tuple(one[kind] for kind in KINDS) for one in classes).most_common(1)
    return dict(zip(KINDS, best, strict=True))


def _average(train: Heard) -> torch.Tensor:
    """Shares of the values of every kind in training, [sum of values]: what is told where nothing is heard."""
    shares = [np.mean([one[kind] == value for one in train.classes]) for kind in KINDS for value in VALUES[kind]]
    return torch.tensor(np.array(shares, np.float32))


@torch.inference_mode()
def other_wording(
    model: SceneTeller, logits: dict[str, torch.Tensor], seeds: Sequence[int], average: torch.Tensor
) -> list[str]:
    """Of every piece the sentence, in an order never trained on, that its sound speaks for.

    Of one kind after the other, the values v of training stand in turn in the same sentence, whose other values are
    those heard; that is kept whose log p(sentence v | sound) - log p(sentence v | nothing heard) is largest, where

        p(sentence v | c) = sum over the values u of c(u) p(sentence v | u),

    c what the ear says of the sound, or the shares of the values in training. The words are asked of certain values
    alone: asked of the shares themselves they are too vague about an ear in doubt.
    """
    told, heard = doubting(logits).split(list(SIZES.values()), dim=1), likeliest(logits)
    common = average.split(list(SIZES.values()))
    lines = []
    for i, seed in enumerate(seeds):
        chosen = dict(heard[i])
        for kind, shares, usual in zip(KINDS, told, common, strict=True):
            known = usual > 0
            values = [{**heard[i], kind: v} for v, is_known in zip(VALUES[kind], known, strict=True) if is_known]
            tries = [tales.encode(tales.tell(one, np.random.default_rng(seed), held_out=True)) for one in values]
            of = torch.stack([certain(one) for one in values])
            n = len(values)
            log_p = model.likelihood(padded(tries).repeat_interleave(n, dim=0), of.repeat(n, 1)).view(n, n)
            gain = (log_p + shares[i, known].log()).logsumexp(1) - (log_p + usual[known].log()).logsumexp(1)
            chosen[kind] = values[int(gain.argmax())][kind]
        lines.append(tales.tell(chosen, np.random.default_rng(seed), held_out=True))
    return lines


class KeptSound(Clip):
    """A clip whose sound at one rate is made once: scores ask for it again and again."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self.id, self.duration_s = clip.id, clip.duration_s
        self.caption, self.path, self.tracks = clip.caption, clip.path, clip.tracks
        self._rate_hz = 0
        self._sound: NDArray[np.float32] | None = None

    @cached_property
    def truth(self) -> Truth | None:  # type: ignore[override] # the clip's own, when it is asked for
        """The clip's own."""
        return self._clip.truth

    @property
    def content_hash(self) -> str:
        """The clip's own."""
        return self._clip.content_hash

    @property
    def video(self) -> Video | None:
        """The clip's own."""
        return self._clip.video

    def audio(self, sample_rate_hz: int) -> NDArray[np.float32] | None:
        """The clip's own, of the rate asked for last without making it again."""
        if sample_rate_hz != self._rate_hz:
            self._rate_hz, self._sound = sample_rate_hz, self._clip.audio(sample_rate_hz)
        return self._sound
