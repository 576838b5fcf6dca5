"""An engine's own step, timed in each mode, and its logits beside the model's in float32.

The model is a small one of random weights; between two timed steps its weights are pushed out of the caches, as the
weights of a real model push each other out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from expotion.contracts import Mode, Probed
from expotion.machine import probe
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry
from expotion.weights import undrawn

GEOMETRY = LMGeometry(512, 2, 8, 2048, 4, 256, None)
POSITIONS = 6
"""Steps that are compared."""


@torch.inference_mode()
def probe_steps(
    build: Callable[[Any, Mode], Any], modes: Sequence[Mode], device: torch.device
) -> Mapping[Mode, Probed]:
    """What an engine's steps take in each mode: two rows, one of them without a text, as guidance has it."""
    lm = _model(device)
    drawn = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, GEOMETRY.card, (2, GEOMETRY.n_codebooks, POSITIONS), generator=drawn).to(device)
    source = torch.randn(2, 8, GEOMETRY.width, generator=drawn).to(device)
    source[1] = 0.0
    wanted = lm(tokens, source)
    errors, runs = {}, {}
    kind = device.type
    for mode in modes:
        engine = build(lm, mode)
        state = engine.start(source, POSITIONS + probe.TRIES + 1)
        got = torch.stack([engine.step(tokens[:, :, i], state) for i in range(POSITIONS)], dim=2)
        errors[mode] = probe.relative_error(got, wanted)
        runs[mode] = lambda engine=engine, state=state: engine.step(tokens[:, :, 0], state)
    others = probe.weights_beyond_cache(kind).view(torch.float32)  # after the engines, which ask for huge pages
    seconds = probe.in_turns(runs, kind, before=others.sum)
    return {mode: Probed(seconds[mode], errors[mode]) for mode in modes}


def _model(device: torch.device) -> MusicGenLM:
    """Random weights that keep the size of what goes through them, repeated where drawing them would take long."""
    with undrawn():
        lm = MusicGenLM(GEOMETRY).to(device)
    drawn = (torch.randn(2**18 + 7, generator=torch.Generator().manual_seed(0)) * 0.05).to(device)
    for name, parameter in lm.named_parameters():
        if "norm" in name:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            times = -(-parameter.numel() // len(drawn))
            parameter.copy_(drawn.repeat(times)[: parameter.numel()].view(parameter.shape))
    return lm
