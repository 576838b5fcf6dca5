"""Training of the small captioner, as an objective of core's loop.

    loss = CE(kinds) + H CE(helpers) + W NLL(words) / tokens

CE(kinds) is the mean over the four kinds, smoothed by 0.1; CE(helpers) that over the other traits of the truth
(mode, kit, lead, the single genre ...), which make the ear hear more than the four ask for and are not used
afterwards. The words are a scene of the piece's classes, drawn anew in every step. A step's pieces are cut to a
stretch of 7 to 10 s and some neighbouring bands are silenced. Afterwards the words are taught alone
(`teach_words`). All of it is drawn by (seed, step), so that a resumed run is the uninterrupted one and several
workers are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion.contracts import Workers
from expotion_caption_musiscene import tales
from expotion_caption_musiscene.classes import KINDS
from expotion_caption_musiscene.heard import Heard
from expotion_caption_musiscene.lexicon import VALUES
from expotion_caption_musiscene.mel import N_BANDS
from expotion_caption_musiscene.teller import SIZES, SceneTeller, certain, doubting

HELPERS, WORDS = 0.5, 0.5
SMOOTHED = 0.1
SHORTEST_SHARE = 0.7
MOST_BANDS = 10
MOST_VALUES = 64
WORD_STEPS, WORD_BATCH, WORD_RATE = 700, 32, 3e-3
UNKNOWN = -100
"""Number of a value that training has not; it counts for nothing."""


@dataclass(frozen=True)
class StepDraw:
    """What is random in a step: pieces, scenes, the stretch (shares of a piece), silenced bands, a seed."""

    index: list[int]
    scenes: list[list[int]]
    stretch: tuple[float, float]
    bands: tuple[int, int]
    seed: int


class SceneObjective:
    """The objective. It travels to other processes with what was heard, and makes the model there."""

    def __init__(
        self, heard: Heard, settings: Any, seed: int, validation: Heard | None = None, *, helpers: bool = True
    ) -> None:
        self.heard, self.settings, self.seed, self.validation = heard, settings, seed, validation
        self.values: dict[str, list[str]] = {kind: list(values) for kind, values in VALUES.items()}
        if helpers:
            names = sorted(set().union(*heard.traits))
            for name in names:
                values = sorted({traits[name] for traits in heard.traits if traits.get(name)})
                if 1 < len(values) <= MOST_VALUES:
                    self.values[f"true {name}"] = values

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("trained", "_targets")}

    @cached_property
    def trained(self) -> nn.Module:
        """The model, the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = SceneTeller({kind: len(v) for kind, v in self.values.items() if kind not in SIZES})
        return model.train()

    @property
    def computed_in(self) -> torch.dtype:
        """float32."""
        return torch.float32

    def rate_groups(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """One rate for all."""
        return {"other": list(self.trained.parameters())}

    def targets(self, heard: Heard) -> dict[str, Tensor]:
        """Number of the true value of each kind, int64 [N]."""
        places = {kind: {value: i for i, value in enumerate(values)} for kind, values in self.values.items()}
        found: dict[str, Tensor] = {}
        for kind, known in places.items():
            name = kind.removeprefix("true ")
            own = [
                (classes if kind in SIZES else traits).get(name, "")
                for classes, traits in zip(heard.classes, heard.traits, strict=True)
            ]
            found[kind] = torch.tensor([known.get(value, UNKNOWN) for value in own])
        return found

    @cached_property
    def _targets(self) -> dict[str, Tensor]:
        return self.targets(self.heard)

    def draw(self, step: int) -> StepDraw:
        """Every piece once before any comes again; the rest by (seed, step)."""
        size, n = self.settings.clips_per_step, len(self.heard)
        places = range(step * size, (step + 1) * size)
        orders = {
            lap: np.random.default_rng((self.seed, 1, lap)).permutation(n) for lap in {at // n for at in places}
        }
        index = [int(orders[at // n][at % n]) for at in places]
        rng = np.random.default_rng((self.seed, 2, step))
        scenes = [tales.encode(tales.tell(self.heard.classes[i], rng)) for i in index]
        share = float(rng.uniform(SHORTEST_SHARE, 1.0))
        first, width = int(rng.integers(N_BANDS)), int(rng.integers(MOST_BANDS))
        return StepDraw(
            index, scenes, (float(rng.uniform(0.0, 1.0 - share)), share), (first, width), int(rng.integers(2**31))
        )

    def part_loss(self, draw: StepDraw, number: int) -> Tensor:
        """Loss of part `number` of a step, a scalar; the parts add up to the mean of the step."""
        size = self.settings.batch_size
        mine = slice(number * size, (number + 1) * size)
        index, texts = draw.index[mine], padded(draw.scenes[mine])
        mel = cut(self.heard.mel[index].float(), draw.stretch)
        tones = cut(self.heard.tones[index].float(), draw.stretch)
        first, width = draw.bands
        mel[:, :, first : first + width] = mel.mean(dim=(1, 2), keepdim=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw.seed + number)
            logits = self._model.hear(mel, tones)
        targets = {kind: target[index] for kind, target in self._targets.items()}
        n_tokens = sum(map(len, draw.scenes)) / len(draw.scenes)
        truth = torch.stack([certain(self.heard.classes[i]) for i in index])
        told = torch.cat([truth, doubting(logits).detach()])
        words = -self._model.likelihood(texts.repeat(2, 1), told).mean() / n_tokens
        loss: Tensor = (heard_loss(logits, targets) + WORDS * words) / self.settings.n_parts
        return loss

    def validate(self, world: Workers) -> Mapping[str, float]:
        """Loss of the classes of the validation's pieces, and the share that is heard right."""
        if self.validation is None:
            return {}
        model = self._model.eval()
        with torch.inference_mode():
            parts = [model.hear(*batch) for batch in self.validation.batches()]
        model.train()
        logits = {kind: torch.cat([part[kind] for part in parts]) for kind in KINDS}
        targets = self.targets(self.validation)
        right = {f"{kind}_right": float((logits[kind].argmax(1) == targets[kind]).float().mean()) for kind in KINDS}
        return {"validation_loss": float(heard_loss(logits, targets)), **right}

    def record(self) -> Mapping[str, Any]:
        """Nothing more."""
        return {}

    @property
    def _model(self) -> SceneTeller:
        model = self.trained
        assert isinstance(model, SceneTeller)
        return model


def teach_words(model: SceneTeller, seed: int, steps: int = WORD_STEPS) -> None:
    """Train the words alone, the ear as it is: scenes of classes drawn at random, each told of its own classes."""
    own = [parameter for name, parameter in model.named_parameters() if not name.startswith("ear.")]
    optimizer = torch.optim.AdamW(own, lr=WORD_RATE, weight_decay=0.01)
    rng = np.random.default_rng((seed, 3))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = WORD_RATE * min(1.0, 2.0 * (1.0 - step / steps))
        classes = [
            {kind: values[int(rng.integers(len(values)))] for kind, values in VALUES.items()}
            for _ in range(WORD_BATCH)
        ]
        texts = [tales.encode(tales.tell(one, rng)) for one in classes]
        told = torch.stack([certain(one) for one in classes])
        loss = -model.likelihood(padded(texts), told).mean() / (sum(map(len, texts)) / len(texts))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimizer.step()


def heard_loss(logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Mean cross-entropy of the four kinds, and that of the helpers where there are any."""

    def mean(kinds: Sequence[str]) -> Tensor:
        each = [
            functional.cross_entropy(
                logits[kind], targets[kind], ignore_index=UNKNOWN, label_smoothing=SMOOTHED, reduction="sum"
            )
            / len(targets[kind])
            for kind in kinds
        ]
        return torch.stack(each).mean()

    helpers = [kind for kind in logits if kind not in SIZES]
    return mean(KINDS) + (HELPERS * mean(helpers) if helpers else 0.0)


def cut(frames: Tensor, stretch: tuple[float, float]) -> Tensor:
    """A stretch of frames [B, T, d], from and for these shares of all; a copy."""
    at, share = stretch
    n = frames.shape[1]
    first = int(at * n)
    return frames[:, first : first + max(1, int(share * n))].clone()


def padded(texts: Sequence[Sequence[int]]) -> Tensor:
    """Numbers of words int64 [B, longest], padded behind."""
    longest = max(map(len, texts))
    return torch.tensor([[*text, *[tales.PAD] * (longest - len(text))] for text in texts])
