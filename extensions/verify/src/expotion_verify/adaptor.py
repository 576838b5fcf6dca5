"""Golden files of the authors' adaptor classes: forward, backward and generating."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.authors import adaptor_from_released, to_released
from expotion.adaptor.guidance import guided_prefix
from expotion.adaptor.project import TrackInput
from expotion.contracts import GoldenFile
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM
from expotion.train.objective import codebook_loss
from expotion_verify.tensors import LOGITS, compare_generation, language_model, tensor, tensors

PREFIX = 1e-5
LOSS = 1e-5
GRADIENTS = 1e-5
"""Relative to the largest entry of each tensor."""


def text_source(golden: GoldenFile, lm: MusicGenLM) -> Tensor:
    """The cross-attention source of the file's text encoder output and mask."""
    return lm.project_text(tensor(golden, "in/text_hidden"), tensor(golden, "in/text_mask"))


def check_expotion_adaptor(golden: GoldenFile) -> None:
    """The single-stream class: one stream of features [B, T + 1, C]."""
    _check(golden, {"features": TrackInput(tensor(golden, "in/features"))})


def check_expotion_maskvariant(golden: GoldenFile) -> None:
    """The class with face, body and vid, and learned stand-ins where masked.

    Channel 0 of the mask keeps body, channel 1 vid, where its value is above 0; the face is always kept.
    """
    kept = (tensor(golden, "in/cond_mask") > 0).float()  # (B, 2, T + 1)
    inputs = {
        "face": TrackInput(tensor(golden, "in/features")),
        "body": TrackInput(tensor(golden, "in/body"), keep=kept[:, 0]),
        "vid": TrackInput(tensor(golden, "in/vid"), keep=kept[:, 1]),
    }
    _check(golden, inputs)


def _check(golden: GoldenFile, inputs: Mapping[str, TrackInput]) -> None:
    """Prefix per layer, logits, mask, loss, gradients, and the four greedy generations."""
    lm = language_model(golden)
    adaptor = adaptor_from_released(tensors(golden, "adaptor/"), lm.n_layers, "adaptor/")
    source = text_source(golden, lm)
    golden.compare("text source", source, "in/cross_source", PREFIX)

    prefix = adaptor.prefix(lm, inputs)
    assert prefix is not None  # the released presets never drop the whole prefix
    for part in ("q", "k", "v"):
        for layer, rows in enumerate(getattr(prefix, part)):
            golden.compare(f"prefix {part}", rows, f"out/prefix_{part}_{layer}", PREFIX)

    codes = tensor(golden, "in/codes")
    sequence = delay.build(codes, lm.geometry.special_token, lm.geometry.delays, valid_only=True)
    hidden = lm.hidden(sequence, source, prefix)
    logits, mask = delay.revert_logits(lm.logits(hidden), codes.shape[2], lm.geometry.delays)
    golden.compare("logits", logits, "out/logits", LOGITS)
    golden.compare("mask", mask.expand(len(codes), -1, -1), "out/mask", 0.0)
    loss = codebook_loss(lm, hidden, codes)
    golden.compare("loss", loss, "out/loss", LOSS)
    loss.backward()
    # The gradients under the names, and in the shapes, of the authors' tensors; zero where there is none.
    twin = Adaptor(adaptor.config)
    with torch.no_grad():
        for mine, theirs in zip(twin.parameters(), adaptor.parameters(), strict=True):
            mine.copy_(torch.zeros_like(theirs) if theirs.grad is None else theirs.grad)
    ours = to_released(twin)
    golden.under("grad/")
    for name, gradient in ours.items():
        golden.compare("gradients", gradient, f"grad/{name}", GRADIENTS, relative=True)
    total = torch.sqrt(sum((g.double() ** 2).sum() for g in ours.values()))  # type: ignore[arg-type]
    golden.compare("gradient norm", total, "out/grad_total_norm", GRADIENTS, relative=True)

    # Greedy with guidance, the prefix in both branches. From row `limit` on the last row before it is used.
    frames = int(golden.setting("config", "max_n_frames"))
    # In the short run the caller's maximum is both the length and the limit of the rows.
    short = golden.array("gen/short_tokens").shape[-1]
    for run, limit in {"full": frames, "beyond": frames, "continuation": frames, "short": short}.items():
        with torch.no_grad():
            guided = guided_prefix(adaptor, lm, inputs, row_limit=limit)
        prompt = tensor(golden, "gen/prompt") if run == "continuation" else None
        compare_generation(golden, lm, source, run, quantity=f"greedy {run}", prefix=guided, prompt=prompt)
