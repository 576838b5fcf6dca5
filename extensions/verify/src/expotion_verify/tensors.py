"""Arrays of a golden file as tensors, and the language model in it."""

from __future__ import annotations

import torch
from torch import Tensor

from expotion.contracts import GoldenFile
from expotion.musicgen import audiocraft_files
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine import prepare
from expotion.musicgen.gate import Prefix
from expotion.musicgen.generate import Sampler, generate_codes

LOGITS = 1e-4
"""Absolute tolerance on logits, guided ones too."""
CFG_SCALE = 3.0
"""Guidance of the reference's greedy generations where the file does not name another."""


def tensor(golden: GoldenFile, name: str) -> Tensor:
    """One array."""
    return torch.from_numpy(golden.array(name))


def tensors(golden: GoldenFile, prefix: str) -> dict[str, Tensor]:
    """All arrays below a prefix, by the rest of the name."""
    return {name: torch.from_numpy(array) for name, array in golden.under(prefix).items()}


def language_model(golden: GoldenFile) -> MusicGenLM:
    """The model in audiocraft's names under `lm/`; its number of heads, which no shape shows, from the JSON."""
    state = tensors(golden, "lm/")
    settings = {"transformer_lm": {"num_heads": int(golden.setting("config", "heads"))}}
    return audiocraft_files.language_model(state, settings, "lm/")


def compare_generation(
    golden: GoldenFile,
    lm: MusicGenLM,
    source: Tensor,
    run: str,
    *,
    quantity: str,
    prefix: Prefix | None = None,
    prompt: Tensor | None,
) -> None:
    """Greedy generation against `gen/RUN_tokens`, which give its length, and the guided logits of each call."""
    tokens, guided = f"gen/{run}_tokens", f"gen/{run}_cfg_logits"
    seen: list[Tensor] = []
    with torch.no_grad():
        codes = generate_codes(
            prepare(lm, "fp32"),
            source,
            golden.array(tokens).shape[-1],
            prefix=prefix,
            cfg_scale=float(golden.about.get("cfg_coef", CFG_SCALE)),
            sampler=Sampler(greedy=True),
            prompt=prompt,
            on_logits=seen.append,
        )
    golden.compare(f"{quantity}: tokens", codes, tokens, 0.0)
    golden.compare(f"{quantity}: guided logits", torch.stack(seen), guided, LOGITS)
