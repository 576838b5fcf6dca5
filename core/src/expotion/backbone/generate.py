"""The plain generation loop over the delayed sequence.

The full layout has T + max(D) + 1 steps, hence T + max(D) calls of the model. Steps where a codebook has no
frame are forced to the special token and the prompt's cells are never overwritten. A prompt of P frames is fed
in one call with the start token: positions 0..P.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from expotion.backbone import delay
from expotion.backbone.decoder import GatedPrefix, MusicGenLM
from expotion.backbone.sampling import Sampler, guide, guide_apart
from expotion.errors import ExpotionError

UNKNOWN = -1


@torch.no_grad()
def generate_codes(
    lm: MusicGenLM,
    source: Tensor,
    n_frames: int,
    *,
    null_source: Tensor | None = None,
    prefix: GatedPrefix | None = None,
    cfg_scale: float = 3.0,
    control_scale: float | None = None,
    sampler: Sampler | None = None,
    generators: Sequence[torch.Generator] = (),
    prompt: Tensor | None = None,
    delays: Sequence[int] | None = None,
    source_mask: Tensor | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_logits: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Codes int64 [B, K, n_frames], the prompt [B, K, P] included, for a text source [B, L, d].

    With cfg_scale 1 only the B conditional rows run. Otherwise the batch is [B conditional; B null], the null
    text being zeros of the same length unless `null_source` [B, L, d] says otherwise; `prefix` speaks about that
    doubled batch. With `control_scale` the text has a branch of its own, [B text and prefix; B text; B null], and
    each step of the chain its own scale (`sampling.guide_apart`). `on_step(done, total)` reports progress;
    `on_logits` sees each call's guided logits [B, K, V].
    """
    sampler = sampler or Sampler()
    batch, text_length, _ = source.shape
    apart = control_scale is not None and prefix is not None
    branches = 3 if apart else 1 if cfg_scale == 1.0 else 2
    if branches > 1:
        null = lm.null_text(batch, text_length) if null_source is None else null_source
        source = torch.cat([source.to(lm.dtype)] * (branches - 1) + [null.to(lm.dtype)])
        source_mask = None if source_mask is None else source_mask.repeat(branches, 1)
    prompt_frames = 0 if prompt is None else prompt.shape[2]
    if not 0 <= prompt_frames < n_frames:
        raise ExpotionError(f"a prompt of {prompt_frames} frames leaves none of {n_frames} to generate")

    special = lm.geometry.special_token
    n_codebooks = lm.geometry.n_codebooks
    used = tuple(delays) if delays is not None else delay.default_delays(n_codebooks)
    codes = torch.full((batch, n_codebooks, n_frames), UNKNOWN, dtype=torch.int64, device=lm.device)
    if prompt is not None:
        codes[:, :, :prompt_frames] = prompt
    sequence = delay.build(codes, special, delays=used, valid_only=False)  # (B, K, T + max D + 1)
    total = sequence.shape[2] - 1
    state = lm.start(source, total, prefix, source_mask=source_mask)

    fed = 0
    for step in range(prompt_frames + 1, total + 1):
        tokens = sequence[:, :, fed:step]
        logits = lm.step(tokens.repeat(branches, 1, 1), state)
        if apart:
            logits = guide_apart(logits, cfg_scale, control_scale or 0.0)
        elif branches == 2:
            logits = guide(logits, cfg_scale)
        if on_logits is not None:
            on_logits(logits)
        drawn = sampler(logits, generators)
        wanted = sequence[:, :, step]
        sequence[:, :, step] = torch.where(wanted == UNKNOWN, drawn, wanted)
        fed = step
        if on_step is not None:
            on_step(step, total)
    return delay.revert(sequence, n_frames, special, delays=used)[0]
