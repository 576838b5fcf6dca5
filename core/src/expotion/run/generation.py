"""The generation stage of a run: every condition of the evaluation on every test clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.checkpoint import load_adaptor
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.music.compose import compose
from expotion.music.request import Request
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen.codec import Codec
from expotion.musicgen.engine import prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.load import Backbone, load_backbone
from expotion.recipe import Recipe
from expotion.workers import n_workers, spread


@dataclass(frozen=True)
class TestClip:
    """What generation needs of a test clip."""

    id: str
    n_frames: int
    n_samples: int
    text: TokenFeatures
    tracks: Mapping[str, SmoothedTrack]


AnyClip = TypeVar("AnyClip")


@dataclass(frozen=True)
class Job:
    """One batch: a condition and its requests."""

    condition: str
    clip_ids: tuple[str, ...]
    n_samples: tuple[int, ...]
    requests: tuple[Request, ...]


NOTHING_MORE = Request(0, None)


def requests_of(
    recipe: Recipe, condition: str, clips: Sequence[TestClip], seed: int, same: Request = NOTHING_MORE
) -> list[Request]:
    """One request per clip for a condition of the evaluation, with what is the `same` for all of them.

    A modality alone: the others dropped. `text_only`: all dropped, which is the frozen model. `shuffled`: all
    controls of the next test clip. The seed of a clip is the same in every condition.
    """
    together = condition in ("shuffled", recipe.joint_name)
    kept = [own for own in recipe.conditions if together or own.name == condition]
    lenders = lenders_of(clips) if condition == "shuffled" else clips
    return [
        replace(
            same,
            n_frames=clip.n_frames,
            text=clip.text,
            tracks={own.name: _fit(lender.tracks[own.name], clip.n_frames + 1) for own in kept},
            strengths={own.name: own.strength for own in kept},
            seed=(seed * 1_000_003 + i) % 2**63,
        )
        for i, (clip, lender) in enumerate(zip(clips, lenders, strict=True))
    ]


def lenders_of(clips: Sequence[AnyClip]) -> list[AnyClip]:
    """Whose controls each clip gets in `shuffled`: the next one's."""
    return [*clips[1:], *clips[:1]]


def _fit(track: SmoothedTrack, n_rows: int) -> SmoothedTrack:
    """A track of another clip at this clip's length: cut, or invalid where it has ended."""
    missing = n_rows - len(track.values)
    if missing <= 0:
        return SmoothedTrack(track.values[:n_rows], track.valid[:n_rows])
    return SmoothedTrack(np.pad(track.values, ((0, missing), (0, 0))), np.pad(track.valid, (0, missing)))


def make_jobs(
    recipe: Recipe, conditions: Sequence[str], clips: Sequence[TestClip], workers: int, same: Request = NOTHING_MORE
) -> list[Job]:
    """Batches of clips, those of like length together, small enough that every worker gets some."""
    jobs = []
    size = max(1, min(recipe.generate.batch_size, -(-len(clips) * len(conditions) // max(1, workers))))
    for condition in conditions:
        if condition == "shuffled" and len(clips) < 2:
            continue  # there is no other clip to take controls from
        requests = requests_of(recipe, condition, clips, recipe.generate_seed, same)
        order = sorted(range(len(clips)), key=lambda i: clips[i].n_frames)
        for at in range(0, len(order), size):
            rows = [(clips[i].id, clips[i].n_samples, requests[i]) for i in order[at : at + size]]
            jobs.append(Job(condition, *zip(*rows, strict=True)))
    return jobs


Models = tuple[Engine, Codec, Adaptor | None]
"""What a worker holds."""

Made = tuple[NDArray[np.int16], NDArray[np.float32]]
"""What was generated for one clip: codes [K, T] and mono samples [n]."""


def open_models(
    backbone: Backbone | str, adaptor: Path | None, projections: Mapping[str, nn.Module], precision: str
) -> Models:
    """What a worker holds; another process loads the backbone from its source."""
    if isinstance(backbone, str):
        backbone = load_backbone(backbone)
    assert backbone.codec is not None
    steering = None if adaptor is None else load_adaptor(adaptor, projections=projections)[0]
    return prepare(backbone.lm, precision), backbone.codec, steering


def run_job(steering: Steering, windows: Windows, models: Models, job: Job) -> list[Made]:
    """Music of one batch."""
    lm, codec, adaptor = models
    codes = compose(lm, adaptor, job.requests, steering, windows)
    return [(c.numpy().astype(np.int16), to_sound(codec, c, n)) for c, n in zip(codes, job.n_samples, strict=True)]


def generate_all(
    source: str,
    backbone: Backbone,
    adaptor: Path | None,
    projections: Mapping[str, nn.Module],
    steering: Steering,
    windows: Windows,
    jobs: Sequence[Job],
) -> Iterator[tuple[Job, list[Made] | Exception]]:
    """Run the batches over all cores; yields each as it is done, with its music or the error that ended it."""
    workers = n_workers(len(jobs))
    opened = partial(open_models, source if workers else backbone, adaptor, projections, steering.precision)
    work = partial(run_job, steering, windows)
    for index, result in spread(work, jobs, build=opened, workers=workers):
        yield jobs[index], result
