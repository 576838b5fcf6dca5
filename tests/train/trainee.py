"""A training run of a tiny adaptor, to be killed: `python trainee.py FOLDER`; prints each step's number."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry
from expotion.recipe.schema import ContextSwap, LearningRate, Train
from expotion.train.checkpoints import CheckpointFolder
from expotion.train.examples import Examples
from expotion.train.loop import Loop, SteeredMusic

N, N_FRAMES = 5, 20


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lm = MusicGenLM(LMGeometry(width=16, n_layers=2, n_heads=2, ffn_width=16, n_codebooks=4, card=8, text_width=6))
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    modalities = (Modality("face", d_in=3, rank=2), Modality("motion", d_in=2, rank=2))
    adaptor = Adaptor(AdaptorConfig(modalities, width=16, n_lm_layers=2, n_adapted=2), seed=1)
    examples = Examples(
        codes=torch.randint(0, 8, (N, 4, N_FRAMES)),
        n_frames=torch.full((N,), N_FRAMES),
        text=torch.randn(N, 3, 6),
        text_mask=torch.ones(N, 3, dtype=torch.bool),
        controls={m.name: torch.randn(N, N_FRAMES + 1, m.d_in) for m in modalities},
        valid={m.name: torch.ones(N, N_FRAMES + 1, dtype=torch.bool) for m in modalities},
    )
    settings = Train(
        steps=60,
        batch_size=2,
        learning_rate=LearningRate(project=1e-2, gates=1e-1, other=1e-3),
        warmup_steps=2,
        weight_decay=0.01,
        clip_norm=1.0,
        context_swap=ContextSwap(prob=0.8, min_frames=3, max_frames=10),
        condition_dropout={"face": 0.2},
        text_dropout=0.2,
        ema=0.9,
        checkpoint_every_steps=3,
    )
    run = Loop(
        SteeredMusic(lm, adaptor, examples, settings, 3),
        settings,
        keeper=CheckpointFolder(folder / "checkpoints"),
        trace="t",
    )
    run.resume()
    print("from", run.step_number, flush=True)
    for record in run.run():
        print(record["step"], flush=True)
    save_file(dict(run.finish().state_dict()), folder / "adaptor.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
