"""The generation stage of a run: every condition of the evaluation on every test clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.checkpoint import load_adaptor
from expotion.contracts import SmoothedTrack, TokenFeatures
from expotion.music.compose import Request, Windows, compose
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.musicgen.codec import Codec
from expotion.musicgen.engine import prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.load import load_backbone
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


@dataclass(frozen=True)
class Job:
    """One batch: a condition and its requests."""

    condition: str
    clip_ids: tuple[str, ...]
    n_samples: tuple[int, ...]
    requests: tuple[Request, ...]


def requests_of(recipe: Recipe, condition: str, clips: Sequence[TestClip], seed: int) -> list[Request]:
    """One request per clip for a condition of the evaluation.

    A modality alone: the others dropped. `text_only`: all dropped, which is the frozen model. `shuffled`: all
    controls of the next test clip. The seed of a clip is the same in every condition.
    """
    own = [c.name for c in recipe.conditions]
    kept = (
        own if condition in ("shuffled", recipe.joint_name) else [name for name in own if name == condition]
    )
    requests = []
    for i, clip in enumerate(clips):
        lender = clips[(i + 1) % len(clips)] if condition == "shuffled" else clip
        requests.append(
            Request(
                n_frames=clip.n_frames,
                text=clip.text,
                tracks={name: _fit(lender.tracks[name], clip.n_frames + 1) for name in kept},
                strengths={name: recipe.condition(name).strength for name in kept},
                seed=(seed * 1_000_003 + i) % 2**63,
            )
        )
    return requests


def _fit(track: SmoothedTrack, n_rows: int) -> SmoothedTrack:
    """A track of another clip at this clip's length: cut, or invalid where it has ended."""
    missing = n_rows - len(track.values)
    if missing <= 0:
        return SmoothedTrack(track.values[:n_rows], track.valid[:n_rows])
    return SmoothedTrack(np.pad(track.values, ((0, missing), (0, 0))), np.pad(track.valid, (0, missing)))


def make_jobs(
    recipe: Recipe, conditions: Sequence[str], clips: Sequence[TestClip], workers: int
) -> list[Job]:
    """Batches of clips, those of like length together, small enough that every worker gets some."""
    jobs = []
    size = max(1, min(recipe.generate.batch_size, -(-len(clips) * len(conditions) // max(1, workers))))
    for condition in conditions:
        if condition == "shuffled" and len(clips) < 2:
            continue  # there is no other clip to take controls from
        requests = requests_of(recipe, condition, clips, recipe.generate_seed)
        order = sorted(range(len(clips)), key=lambda i: clips[i].n_frames)
        for at in range(0, len(order), size):
            chosen = order[at : at + size]
            jobs.append(
                Job(
                    condition=condition,
                    clip_ids=tuple(clips[i].id for i in chosen),
                    n_samples=tuple(clips[i].n_samples for i in chosen),
                    requests=tuple(requests[i] for i in chosen),
                )
            )
    return jobs


@dataclass(frozen=True)
class ComposerState:
    """What a worker holds."""

    lm: Engine
    codec: Codec
    adaptor: Adaptor | None
    steering: Steering
    windows: Windows


@dataclass(frozen=True)
class OpenComposer:
    """Loads backbone and adaptor in a worker."""

    source: str
    adaptor: Path | None
    projections: Mapping[str, nn.Module]
    steering: Steering
    windows: Windows

    def __call__(self) -> ComposerState:
        """Load both."""
        backbone = load_backbone(self.source, parts=frozenset({"lm", "codec"}))
        assert backbone.codec is not None
        adaptor = None
        if self.adaptor is not None:
            adaptor = load_adaptor(self.adaptor, projections=self.projections)[0]
        lm = prepare(backbone.lm, self.steering.precision)
        return ComposerState(lm, backbone.codec, adaptor, self.steering, self.windows)


@dataclass(frozen=True)
class Made:
    """What was generated for one clip: codes int16 [K, T] and mono samples float32 [n]."""

    codes: NDArray[np.int16]
    samples: NDArray[np.float32]


def run_job(state: ComposerState, job: Job) -> list[Made]:
    """Music of one batch."""
    codes = compose(state.lm, state.adaptor, job.requests, state.steering, state.windows)
    return [
        Made(c.numpy().astype(np.int16), to_sound(state.codec, c, n))
        for c, n in zip(codes, job.n_samples, strict=True)
    ]


def generate_all(
    opener: OpenComposer,
    jobs: Sequence[Job],
    *,
    on_batch: Callable[[Job, list[Made] | Exception], None],
) -> None:
    """Run the batches over all cores; `on_batch` gets each as it is done, or the error that ended it."""
    for index, result in spread(run_job, jobs, build=opener, workers=n_workers(len(jobs))):
        on_batch(jobs[index], result)
