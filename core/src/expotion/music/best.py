"""The best of several takes: pieces that differ in their seed alone, and a score that picks among them.

A score is a metric of one clip, of any plugin, or `likelihood`: how probable a take's codes are to the frozen model
under the prompt, in nats per code. What a score picks by, it cannot judge: with n takes its best value rises by
chance alone (docs/steering.md says what another measure makes of the choice).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from expotion import plugins
from expotion.contracts import Clip, MetricSpec, Score, Scored
from expotion.errors import FAULTS, ExpotionError, Problem, in_short
from expotion.music.piece import Music
from expotion.music.request import Request, chroma_rows, text_sources
from expotion.music.steering import MAX_SEED, Steering
from expotion.music.windows import Windows
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM
from expotion.recipe import Recipe
from expotion.timeline import CODEC_RATE_HZ
from expotion.video.audio import resample
from expotion.video.scan import Scan

LIKELIHOOD = "likelihood"
MOST_SAMPLES = 256
_OF_FILES = frozenset({"video", "sound", "prompt"})
"""What a file can have; true beats it has not."""


@dataclass(frozen=True)
class Best:
    """What is asked for: the best of `samples` takes by a metric, and `keep` more."""

    metric: str
    samples: int
    keep: int = 0

    @property
    def spec(self) -> MetricSpec | None:
        """The metric; None for the likelihood. Raises PluginError for one that there is not."""
        return None if self.metric == LIKELIHOOD else plugins.discover().metric(self.metric)

    def to_json(self, first_seed: int) -> dict[str, Any]:
        """Plain values that say which takes there are."""
        return {"metric": self.metric, "samples": self.samples, "keep": self.keep, "from": first_seed}

    def seeds(self, first: int) -> list[int]:
        """The seeds of the takes, one after the other."""
        return [(first + take) % (MAX_SEED + 1) for take in range(self.samples)]

    def problems(self, steering: Steering, recipe: Recipe | None) -> list[Problem]:
        """What is wrong with it before anything is loaded; `recipe` is the adaptor's."""
        found = []
        if not 1 <= self.samples <= MOST_SAMPLES:
            wanted = f"a whole number from 1 to {MOST_SAMPLES} of takes to choose from"
            found.append(Problem("--samples", wanted, str(self.samples)))
        elif not 0 <= self.keep < self.samples:
            wanted = f"a whole number from 0 to {self.samples - 1} of takes beside the best"
            found.append(Problem("--keep", wanted, str(self.keep)))
        where = f"--best {self.metric}"
        try:
            spec = self.spec
            if spec is None:
                return found
            if spec.over != "clip":
                return [*found, Problem(where, "a metric of one clip, or likelihood", "one of a set of clips")]
            if lacking := spec.needs - _OF_FILES:
                got = f"one that needs {', '.join(sorted(lacking))}"
                return [*found, Problem(where, "a metric that can score a file, or likelihood", got)]
            found += spec.missing()
            schedules = [] if recipe is None else steering.over(recipe).strengths.values()
            if "video" in spec.needs and recipe is not None and all(each.is_zero for each in schedules):
                fix = "leave one unmuted, or take --best likelihood"
                wanted = "a control that steers: without one no take follows the picture but by chance"
                found.append(Problem(where, wanted, "none", fix))
        except ExpotionError as error:
            found += [problem.at(where) for problem in error.problems]
        return found

    def unfit(self, where: str, source: Scan) -> list[Problem]:
        """What a clip lacks that the metric needs."""
        has = {"video": source.picture is not None, "sound": source.sound is not None}
        needs = frozenset() if self.spec is None else self.spec.needs
        lacking = [name for name, there in has.items() if name in needs and not there]
        return [Problem(where, f"a clip with {name}, for --best {self.metric}", "none") for name in lacking]


def metric_score(spec: MetricSpec, clip: Clip, prompt: str | None, sample_rate_hz: int) -> Callable[[Music], Score]:
    """How a metric scores a take of a clip; what fails gives no value, and says why."""
    try:
        function = spec.build()
    except FAULTS as error:  # a plugin's metric must not take the music down
        reason = f"the metric could not be loaded: {in_short(error)}"
        return lambda take: Score(None, reason)
    rate_hz = spec.sample_rate_hz or sample_rate_hz

    def score(take: Music) -> Score:
        mono = take.samples if take.samples.ndim == 1 else take.samples.mean(axis=1)
        try:
            found: Score = function(Scored(resample(mono, sample_rate_hz, rate_hz), rate_hz, clip, prompt))
        except FAULTS as error:
            return Score(None, f"the metric failed: {in_short(error)}")
        if found.value is not None and not math.isfinite(found.value):
            return Score(None, f"the metric gave {found.value}")
        return found

    return score


@torch.inference_mode()
def likelihood(lm: MusicGenLM, requests: Sequence[Request], codes: Sequence[Tensor], windows: Windows) -> float:
    """Mean log-likelihood of codes int64 [K, T], one for each request, under the frozen model: nats per code.

    Each window's new codes given those before them in the window and the text in force where they begin. Codes that
    a request starts from do not count.
    """
    total, count = 0.0, 0
    special, delays = lm.geometry.special_token, lm.geometry.delays
    for request, own in zip(requests, codes, strict=True):
        for window in windows.cover(request.n_frames, request.n_known):
            part = own[None, :, window.start : window.stop]
            melody = chroma_rows(lm, [request], window.start / CODEC_RATE_HZ)
            source, mask = text_sources(lm, [request.text_at(window.start + window.n_prompt)], melody)
            sequence = delay.build(part, special, delays, valid_only=False)
            logits = lm(sequence, source, source_mask=None if lm.geometry.chroma else mask)
            by_frame, _ = delay.revert_logits(logits, window.n_frames, delays)
            told = torch.log_softmax(by_frame.float(), dim=-1).gather(-1, part[..., None])[0, :, window.n_prompt :]
            total, count = total + float(told.sum()), count + told.numel()
    return total / max(1, count)


@dataclass
class Ranking:
    """Takes by their score, the best first; of those beyond `n_kept` the seed and score alone are left."""

    metric: str
    higher_is_better: bool
    n_kept: int
    kept: list[tuple[float, Music]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, takes: Iterable[Music], score: Callable[[Music], Score]) -> None:
        """Score takes as they come. One without a value comes last; of equal ones the first is better."""
        for take in takes:
            found = score(take)
            self.seeds.append(take.notes["seed"])
            self.scores.append(found.value)
            if found.value is None:
                self.reasons.append(found.reason or "no reason given")
            value = -math.inf if found.value is None else found.value * (1 if self.higher_is_better else -1)
            self.kept = sorted([*self.kept, (value, take)], key=lambda each: -each[0])[: self.n_kept]

    @property
    def best(self) -> list[Music]:
        """The takes that are kept, the best first."""
        return [take for _, take in self.kept]

    def to_json(self) -> dict[str, Any]:
        """Plain values: every take's seed and score, and why some have none."""
        reasons = {"reasons": list(dict.fromkeys(self.reasons))} if self.reasons else {}
        told = {"metric": self.metric, "higher_is_better": self.higher_is_better}
        return {**told, "seeds": self.seeds, "scores": self.scores, **reasons}


def choice_text(notes: Mapping[str, Any]) -> str:
    """A line about a choice, from the notes of the piece that was chosen."""
    told, seed = notes["best"], notes["seed"]
    scores = told["scores"]
    known = [score for score in scores if score is not None]
    found = scores[told["seeds"].index(seed)]
    values = "no take has a value" if found is None else f"{found:.3g}, of {min(known):.3g} to {max(known):.3g}"
    return f"best of {len(scores)} by {told['metric']}: seed {seed}, {values}; {told['at_once']} decoded at a time"
