"""Sound while training goes on: one test clip, composed with the adaptor as it stands, every so many steps."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from expotion.adaptor.adaptor import Adaptor
from expotion.assemble import engine_for
from expotion.backbone.load import Backbone
from expotion.backbone.step_model import StepModel
from expotion.data.mux import write_wav
from expotion.errors import ExpotionError
from expotion.generation.compose import ComposeSettings, compose
from expotion.generation.requests import Request
from expotion.generation.sound import to_sound

log = logging.getLogger("expotion")


@dataclass
class TrainingSamples:
    """Writes `step_NNNNNN.wav` into a folder. The same seed each time: what differs is the adaptor's doing."""

    folder: Path
    backbone: Backbone
    precision: str
    settings: ComposeSettings
    request: Request
    n_samples: int
    _model: StepModel | None = field(default=None, init=False)

    def make(self, step: int, adaptor: Adaptor) -> Path | None:
        """Compose and write the sample after `step` steps; None, and a line in the log, where that fails."""
        assert self.backbone.codec is not None
        if self._model is None:
            self._model = engine_for(self.backbone.lm, self.precision)
        path = self.folder / f"step_{step:06d}.wav"
        try:
            codes = compose(self._model, adaptor, [self.request], self.settings)[0]
            write_wav(
                path, to_sound(self.backbone.codec, codes, self.n_samples), self.backbone.sample_rate_hz
            )
        except ExpotionError as error:  # a full disk, say: no reason to lose the training
            log.warning("no sample of step %d: %s", step, error)
            return None
        return path
