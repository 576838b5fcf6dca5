"""What is minimised: the loss of a batch of clips under the steered model, and the part that can be cached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.project import TrackInput
from expotion.backbone import delay
from expotion.backbone.decoder import MusicGenLM
from expotion.backbone.loss import codebook_loss
from expotion.training.examples import Examples, with_ends
from expotion.training.trunk import TrunkCache


@dataclass(frozen=True)
class Objective:
    """The frozen model and the adaptor; `recompute` and `whole_batch` as for `Adaptor.prefix`."""

    lm: MusicGenLM
    adaptor: Adaptor
    recompute: bool = False
    whole_batch: bool = False

    @property
    def names(self) -> list[str]:
        """The modalities, in order."""
        return [modality.name for modality in self.adaptor.config.modalities]

    def loss(
        self,
        batch: Examples,
        codes_in: Tensor,
        scored: Tensor,
        keep: dict[str, Tensor],
        with_text: Tensor,
        *,
        n_scored: int | None = None,
        trunk: Tensor | None = None,
    ) -> Tensor:
        """Mean loss (nats per code) of clips with the history `codes_in` [B, K, T], over frames `scored` [B, T].

        `keep`: strengths by modality [B]; `with_text` bool [B]; `n_scored`: what the sum is divided by, if not
        the number of codes scored here; `trunk` [B, S, d] as for `MusicGenLM.hidden`.
        """
        lm, recompute = self.lm, self.recompute
        batch, codes_in = batch.to(lm.device), codes_in.to(lm.device)
        sequence = delay.build(codes_in, special=lm.geometry.special_token, valid_only=True)  # (B, K, T+1)
        source = lm.project_text(batch.text, batch.text_mask & with_text.to(lm.device)[:, None])  # (B, L, d)
        inputs = {
            name: TrackInput(batch.controls[name], batch.valid[name], keep[name].to(lm.device))
            for name in self.names
        }
        prefix = self.adaptor(lm, inputs, recompute=recompute, whole_batch=self.whole_batch)
        hidden = lm.hidden(
            sequence, source, prefix, trunk=None if prefix is None else trunk, recompute=recompute
        )  # (B, T+1, d)
        mask = scored.to(lm.device)[:, None, :].expand_as(batch.codes)  # (B, K, T)
        return codebook_loss(lm, hidden, batch.codes, mask, n_scored=n_scored)

    @torch.no_grad()
    def trunk(
        self, cache: TrunkCache, batch: Examples, index: NDArray[np.int64], with_text: Tensor
    ) -> Tensor:
        """Hidden states [B, S, d] that enter the first adapted layer, from the cache where it has them.

        `index` [B] are the clips' numbers in the cache.
        """
        lm, rows = self.lm, []
        for row, (clip, spoken) in enumerate(zip(index.tolist(), with_text.tolist(), strict=True)):
            hidden = cache.get(clip, spoken)
            if hidden is None:
                one = batch.take(np.array([row])).to(lm.device)
                special = lm.geometry.special_token
                codes = with_ends(one.codes, one.n_frames, special)
                sequence = delay.build(codes, special=special, valid_only=True)
                source = lm.project_text(one.text, one.text_mask & spoken)
                hidden = lm.trunk(sequence, source, self.adaptor.config.first_adapted_layer)[0].cpu()
                cache.put(clip, spoken, hidden)
            rows.append(hidden)
        return torch.stack(rows).to(lm.device)
