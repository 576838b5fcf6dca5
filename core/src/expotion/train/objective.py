"""What is minimised: the loss of a batch of clips under the steered model.

Mean cross-entropy over valid codes, with the gradient made in the same pass:

    loss = (1 / n) sum over (b, k, f) with mask:  logsumexp(u) - u[code],   u = W_k h[b, f + D_k]

natural logarithm, equal weight per token (facts of the released trainer). The heads W_k are frozen, so
d loss / d h = (softmax(u) - onehot(code)) W_k / n is computed at once, in chunks of rows, and no logits are kept:
memory is one chunk instead of B K T V numbers. The same in float64, one code at a time, is tests/train/literal.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.project import TrackInput
from expotion.errors import ExpotionError
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM
from expotion.train.examples import Examples

CHUNK_ROWS = 4096


class _FusedCrossEntropy(torch.autograd.Function):
    """Rows [n, d] against a head [V, d] and codes [n]: the sum of the negative log likelihoods."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, head: Tensor, codes: Tensor) -> Tensor:
        total = rows.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(rows)
        for start in range(0, len(rows), CHUNK_ROWS):
            part, wanted = rows[start : start + CHUNK_ROWS], codes[start : start + CHUNK_ROWS, None]
            logits = (part @ head.T).float()  # (n, V)
            log_mass = logits.logsumexp(dim=1, keepdim=True)
            total += (log_mass - logits.gather(1, wanted)).sum()
            slope = (logits - log_mass).exp_()
            slope.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=slope.dtype))
            gradient[start : start + CHUNK_ROWS] = slope.to(head.dtype) @ head
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0].to(gradient.dtype), None, None


def codebook_loss(
    lm: MusicGenLM, hidden: Tensor, codes: Tensor, mask: Tensor | None = None, *, n_scored: int | None = None
) -> Tensor:
    """Mean loss (nats) over the codes that the delay pattern and the mask let count.

    hidden [B, S, d] from `lm.hidden` on the training layout (S = T + 1); codes int64 [B, K, T]; mask bool, of a
    shape that broadcasts to theirs. `n_scored` divides the sum instead of the number of codes here, for a batch
    that is computed in parts.
    """
    geometry, n_frames = lm.geometry, codes.shape[2]
    scored = delay.target_mask(n_frames, geometry.delays).to(codes.device).expand(codes.shape)
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape[-1] != n_frames:
            got = f"{mask.dtype} {list(mask.shape)}"
            raise ExpotionError(f"mask must be bool [.., K, T={n_frames}], got {got}")
        scored = scored & mask.to(codes.device)
    total = hidden.new_zeros((), dtype=torch.float32)
    for k, late in enumerate(geometry.delays):
        kept = max(0, n_frames - late)  # frame f is predicted at position f + late
        where = scored[:, k, :kept]
        rows = hidden[:, late : late + kept][where]  # (n, d)
        head = lm.output_heads.weight[k * geometry.card : (k + 1) * geometry.card].to(rows.dtype)
        total = total + _FusedCrossEntropy.apply(rows, head, codes[:, k, :kept][where])
    return total / (scored.sum() if n_scored is None else torch.tensor(n_scored)).clamp(min=1)


def count_scored(scored: Tensor, delays: Sequence[int]) -> int:
    """Number of codes that count among frames bool [B, T], all codebooks together."""
    return int((scored[:, None, :] & delay.target_mask(scored.shape[1], delays)).sum())


@dataclass(frozen=True)
class SteeredLoss:
    """The frozen model and the adaptor; `recompute` as for `Adaptor.prefix`."""

    lm: MusicGenLM
    adaptor: Adaptor
    recompute: bool = False

    @property
    def names(self) -> list[str]:
        """The modalities, in order."""
        return [modality.name for modality in self.adaptor.config.modalities]

    def of(
        self,
        batch: Examples,
        codes_in: Tensor,
        scored: Tensor,
        keep: dict[str, Tensor],
        with_text: Tensor,
        *,
        n_scored: int | None = None,
        start: int = 0,
    ) -> Tensor:
        """Mean loss (nats per code) of clips with the history `codes_in` [B, K, T], over frames `scored` [B, T].

        `keep`: strengths by modality [B]; `with_text` bool [B]; `n_scored`: what the sum is divided by, if not
        the number of codes scored here; `start`: the position at which these frames begin.
        """
        lm, recompute = self.lm, self.recompute
        batch, codes_in = batch.to(lm.device), codes_in.to(lm.device)
        sequence = delay.build(
            codes_in, lm.geometry.special_token, lm.geometry.delays, valid_only=True
        )  # (B, K, T+1)
        source = lm.project_text(batch.text, batch.text_mask & with_text.to(lm.device)[:, None])  # (B, L, d)
        inputs = {
            name: TrackInput(batch.controls[name], batch.valid[name], keep[name].to(lm.device))
            for name in self.names
        }
        prefix = self.adaptor(lm, inputs, recompute=recompute, start=start)
        hidden = lm.hidden(sequence, source, prefix, recompute=recompute, start=start)  # (B, T+1, d)
        return codebook_loss(lm, hidden, batch.codes, scored[:, None, :], n_scored=n_scored)
