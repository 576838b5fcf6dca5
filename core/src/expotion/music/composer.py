"""Everything that is loaded once, and music for one clip after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion import machine, plugins, timeline
from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.build import build_projections
from expotion.adaptor.checkpoint import load_adaptor
from expotion.contracts import Clip, Encoder, Score
from expotion.errors import ExpotionError, Problem
from expotion.features.encoders import build_encoders, build_text_encoder
from expotion.features.material import Prompts, unknown_text
from expotion.files import lend_caches
from expotion.music.best import Best, Ranking, likelihood, metric_score
from expotion.music.compose import Progress, compose, compose_pieces
from expotion.music.controls import Controls, Warn, opened
from expotion.music.parts import spans_of
from expotion.music.piece import Music, MusicChunk, Piece
from expotion.music.request import request_for_all
from expotion.music.sound import stream_sound
from expotion.music.steering import ClipLike, Given, Steering, described, find_adaptor
from expotion.music.theme import theme_codes
from expotion.music.windows import Windows
from expotion.musicgen.engine import compile_ahead, prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.load import Backbone, backbone_folder, backbone_trained_on, load_backbone
from expotion.plugins import Registry
from expotion.recipe import Recipe
from expotion.recipe.problems import show
from expotion.recipe.schema import Sampling
from expotion.video.audio import fit

log = logging.getLogger("expotion")


@dataclass
class Composer:
    """An adaptor, its backbone (in float32) and its encoders; engines are made as they are asked for."""

    recipe: Recipe
    backbone: Backbone
    adaptor: Adaptor
    encoders: dict[str, Encoder]
    prompts: Prompts
    window_frames: int
    precision: str | None = None
    _engines: dict[str, Engine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.backbone.codec is not None
        self.codec = self.backbone.codec
        self.controls = Controls(self.recipe, self.encoders, self.backbone.frame_rate_hz)

    def compose(
        self,
        clip: ClipLike,
        steering: Steering | None = None,
        *,
        on_progress: Progress | None = None,
        on_warning: Warn | None = None,
        **given: Unpack[Given],
    ) -> Music:
        """Music as long as the clip, to one codec frame. None means: as the adaptor was measured.

        `prompt`, `seed`. `strength` by control: a number, a `Schedule`, or `"0:1.0,5:0.2"` (seconds:strength).
        `guidance` gives single controls a scale of their own beside the text's `cfg_scale`. `controls` takes a
        control from another clip (or from features at hand), or mutes it (None). `overlap_s`, `precision`,
        `temperature`, `top_k`, `top_p`, `melody` (a file whose sound a melody model follows).
        `prompt_at`: a list of {"at_s": seconds, "prompt": text}, each taking over from its time on. `negative`: a
        prompt to stay away from. `theme`: a file whose last `theme_s` seconds the piece starts with. `parts`:
        stretches that get music, as "10-20"; `outside` of them stands the clip's own sound ("own") or "silence". Or
        all of them as one `steering`.

        A control that has next to nothing to say is left out, with a warning. Features of the last clip are kept,
        so that several takes cost one extraction. Raises MediaError for a clip that cannot be used, ExpotionError
        for values that do not fit.
        """
        with machine.steady():
            piece = self._prepare(clip, self.resolved(steering, given), on_warning or log.warning)
        return next(self._takes(piece, [piece.steering.seed], on_progress))

    def best(
        self,
        clip: ClipLike,
        metric: str,
        steering: Steering | None = None,
        *,
        samples: int = 8,
        keep: int = 0,
        on_progress: Progress | None = None,
        on_warning: Warn | None = None,
        **given: Unpack[Given],
    ) -> list[Music]:
        """The best of several takes by a metric of one clip or `likelihood`, and `keep` more, the best first.

        Seeds are `seed`, `seed + 1`, ..; each take is the piece that `compose` gives for its seed. All seeds and
        scores stand in the notes, as `best`. As many as memory holds are decoded together. Raises as `compose`, and
        ExpotionError for a metric that is not there or cannot be computed here.
        """
        asked = Best(metric, samples, keep)
        resolved = self.resolved(steering, given)
        problems = asked.problems(resolved, self.recipe)
        if problems:
            raise ExpotionError(problems)
        warn = on_warning or log.warning
        with opened(clip) as own:
            with machine.steady():
                piece = self._prepare(own, resolved, warn)
            spec = asked.spec
            ranking = Ranking(metric, spec is None or spec.higher_is_better, keep + 1)
            score: Callable[[Music], Score] = partial(self._likelihood, piece)
            if spec is not None:
                score = metric_score(spec, own, resolved.prompt, self.backbone.sample_rate_hz)
            ranking.add(self._takes(piece, asked.seeds(resolved.seed), on_progress), score)
        if len(ranking.reasons) == samples:
            warn(f"no take has a value of {metric}: {ranking.reasons[0]}; the first is taken")
        told = {**ranking.to_json(), "at_once": piece.at_once(samples)}
        return [replace(music, notes={**music.notes, "best": told}) for music in ranking.best]

    def _takes(self, piece: Piece, seeds: Sequence[int], on_progress: Progress | None = None) -> Iterator[Music]:
        """The piece for each seed, in their order; the bytes of one do not depend on the others."""
        at_once = piece.at_once(len(seeds))
        for first in range(0, len(seeds), at_once):
            some = seeds[first : first + at_once]
            requests = [replace(request, seed=seed) for seed in some for request in piece.requests]

            def told(done: int, total: int, batch: int = first // at_once) -> None:
                if on_progress is not None:
                    on_progress(batch * total + done, -(-len(seeds) // at_once) * total)

            with machine.steady(piece.lm.steady):
                codes = compose(piece.lm, self.adaptor, requests, piece.steering, piece.windows, on_step=told)
            for take, seed in enumerate(some):
                own = codes[take * len(piece.requests) :][: len(piece.requests)]
                yield piece.music(own, seed, self.codec)

    def _likelihood(self, piece: Piece, take: Music) -> Score:
        lengths = [request.n_frames for request in piece.requests]
        codes = torch.from_numpy(take.codes).split(lengths, dim=-1)
        with machine.steady():
            return Score(likelihood(self.backbone.lm, piece.requests, codes, piece.windows))

    def stream(
        self,
        clip: ClipLike,
        steering: Steering | None = None,
        *,
        chunk_s: float = 0.5,
        on_warning: Warn | None = None,
        **given: Unpack[Given],
    ) -> Iterator[MusicChunk]:
        """The same piece as `compose` gives, in chunks of about `chunk_s` while it is decoded.

        The chunks together are the samples of `compose` to within 1e-5.
        """
        if not (isinstance(chunk_s, Real) and chunk_s > 0):
            raise ExpotionError(Problem("chunk_s", "a number of seconds above 0", show(chunk_s)))
        with machine.steady():
            piece = self._prepare(clip, self.resolved(steering, given), on_warning or log.warning)
        if piece.around is not None:
            fix = "leave the parts out, or make the whole with compose"
            raise ExpotionError(Problem("parts", "none while it is made: a stream is of all of a clip", fix=fix))
        rate_hz = self.backbone.sample_rate_hz
        pieces = compose_pieces(piece.lm, self.adaptor, piece.requests[0], piece.steering, piece.windows)
        n_frames = max(1, round(chunk_s * self.backbone.frame_rate_hz))
        done = 0
        with machine.steady(piece.lm.steady):
            for samples in stream_sound(self.codec, pieces, piece.n_samples, n_frames):
                yield MusicChunk(samples, done / rate_hz, rate_hz)
                done += len(samples)

    def resolved(self, steering: Steering | None, given: Given) -> Steering:
        """Steering, or keywords for it, with what was left open as the recipe measured it.

        Raises ExpotionError for values that do not fit and controls that are not there, TypeError for both at once.
        """
        if steering is not None and given:
            raise TypeError(f"either a steering or keywords ({', '.join(given)}), not both")
        if not isinstance(steering, Steering | None):
            raise ExpotionError(Problem("steering", "a Steering, or keywords", show(steering), "Steering.of(...)"))
        steering = steering or Steering.of(**given)
        problems = steering.unknown_controls(self.recipe, lambda _, name: f"control {name!r}")
        if problems:
            raise ExpotionError(list(dict.fromkeys(problems)))
        resolved = steering.over(self.recipe)
        if self.precision is not None and "precision" not in steering.model_fields_set:
            return resolved.model_copy(update={"precision": self.precision})
        return resolved

    def _prepare(self, clip: ClipLike, steering: Steering, warn: Warn) -> Piece:
        """Extract the controls, and put the requests together."""
        rate_hz = self.backbone.frame_rate_hz
        for_all = request_for_all(steering, self.prompts, self.backbone.geometry)
        with opened(clip) as own:
            duration_s = own.duration_s
            unfit = steering.unfit(str(own.path or own.id), duration_s, self.window_frames / rate_hz)
            if unfit:
                raise ExpotionError(unfit)
            n_frames = timeline.n_steps(duration_s, rate_hz)
            tracks = self.controls.tracks(own, steering, n_frames, warn)
            n_samples = timeline.n_samples(duration_s, self.backbone.sample_rate_hz)
            around = self._around(own, steering, n_samples, warn)
        windows = Windows(self.window_frames)
        if steering.overlap_s is not None:
            windows = Windows(self.window_frames, round(steering.overlap_s * rate_hz))
        lm = self.engine(steering.precision)
        times_s = timeline.step_times_s(n_frames, rate_hz)
        whole = replace(
            for_all,
            n_frames=n_frames,
            text=self.prompts[steering.prompt],
            tracks=tracks,
            strengths={name: schedule.at(times_s) for name, schedule in steering.strengths.items()},
            seed=steering.seed,
            known=self.theme(steering),
        )
        spans = spans_of(steering.parts, duration_s, rate_hz)
        requests = [whole.cut(span.first, span.stop) if steering.parts else whole for span in spans]
        if unknown := self.prompts.unknown_words(steering.prompts):
            warn(unknown_text(unknown))
        notes = {
            "prompt": steering.prompt,
            "unknown_words": unknown,
            "seed": steering.seed,
            "strengths": {name: str(schedule) for name, schedule in steering.strengths.items()},
            "controls_used": sorted(tracks),
            "sampling": steering.model_dump(include=set(Sampling.model_fields) - {"precision"}),
            "guidance": dict(steering.guidance),
            **steering.newer_json(),
            **({} if steering.melody is None else {"melody": str(steering.melody)}),
            "window_frames": windows.longest,
            "overlap_frames": windows.overlap,
            "precision": lm.mode,
            "depends_on_threads": [] if lm.steady else ["decoder"],
            "auto": machine.choice(),
            "backbone_hash": self.backbone.weights_hash,
            "encoder_hashes": {name: encoder.weights_hash for name, encoder in self.encoders.items()},
            "recipe": self.recipe.to_dict(),
        }
        return Piece(lm, requests, steering, windows, spans, n_samples, around, tracks, notes)

    def theme(self, steering: Steering) -> Tensor | None:
        """The codes int64 [K, P] that a piece starts with; None where no theme is asked for. Raises MediaError."""
        with machine.steady():
            length_s = steering.theme_length_s(self.window_frames / self.backbone.frame_rate_hz)
            return theme_codes(steering.theme, length_s, self.codec)

    def _around(self, clip: Clip, steering: Steering, n_samples: int, warn: Warn) -> NDArray[np.float32] | None:
        """What parts are laid into: the clip's own sound or silence, float32 [n] or [n, 2]; None without parts."""
        if not steering.parts:
            return None
        own = clip.audio(self.backbone.sample_rate_hz) if steering.outside == "own" else None
        if own is None and steering.outside == "own":
            warn("the clip has no sound of its own: silence stands outside the parts")
        around = np.zeros(n_samples, np.float32) if own is None else fit(own, n_samples)
        channels = self.backbone.geometry.channels
        return around if channels == 1 else np.repeat(around[:, None], channels, axis=1)

    def engine(self, precision: str) -> Engine:
        """The language model ready to decode in a precision, made once."""
        if precision not in self._engines:
            self._engines[precision] = prepare(self.backbone.lm, precision)
        return self._engines[precision]


def load(
    adaptor: str | Path | None = None, *, backbone: str | None = None, device: str = "auto", precision: str = "auto"
) -> Composer:
    """A composer from an adaptor or run folder, or one that ships by its name; without, the one for this machine.

    `backbone` names another MusicGen (a plugin's name, `hf:ORG/NAME`, a folder) of the same size.
    `precision`: fp32, bf16, fp16, int8, or auto for what suits the machine. Raises ExpotionError with what is
    missing.
    """
    if device not in ("auto", "cpu"):
        fix = "leave it out: music is made on the processor, a GPU is for training"
        raise ExpotionError(Problem("device", "auto or cpu", device, fix))
    given = Steering.of(adaptor=adaptor, backbone=backbone, precision=precision)
    lend_caches()
    composer = open_composer(given.adaptor, plugins.discover(), given.backbone)
    composer.precision = None if given.precision == "auto" else given.precision
    return composer


def open_composer(folder: Path | None, registry: Registry, backbone_source: str | None = None) -> Composer:
    """Load an adaptor folder (or a run folder that holds one), its backbone and its encoders.

    Without a folder the backbone's own default adaptor is taken. What the engine compiles is compiled meanwhile.
    Raises ExpotionError with what is missing.
    """
    compile_ahead()
    folder = find_adaptor(folder, registry, backbone_source)
    recipe, metadata = described(folder)
    encoders = build_encoders(recipe, registry)
    adaptor, _ = load_adaptor(folder, projections=build_projections(recipe, encoders))
    if backbone_source is None:
        backbone = backbone_trained_on(recipe.backbone.source, metadata["backbone_hash"], registry)
    else:
        backbone = load_backbone(backbone_folder(backbone_source, registry))
    source = backbone.source
    wanted = f"width {adaptor.config.width} and {adaptor.config.n_lm_layers} layers"
    got = f"width {backbone.geometry.width} and {backbone.geometry.n_layers} layers"
    if wanted != got:
        fix = "leave out --backbone, or train an adaptor on that backbone"
        wanted += f", which {folder} was trained on"
        raise ExpotionError(Problem(f"backbone {source}", wanted, got, fix))
    if backbone.weights_hash != metadata["backbone_hash"]:
        log.warning("the backbone's weights are not those that %s was trained on", folder)
    for name, encoder in encoders.items():
        if encoder.weights_hash != metadata["encoder_hashes"].get(name):
            log.warning("the weights of '%s' are not those that %s was trained with", name, folder)
    prompts = Prompts(build_text_encoder(recipe, registry, source))
    return Composer(recipe, backbone, adaptor, encoders, prompts, int(metadata["window_frames"]))
