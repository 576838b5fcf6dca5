"""One of several workers on gloo: `python worker.py RANK SIZE RENDEZVOUS FOLDER BATCH PARTS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

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
from expotion.train.world import ProcessGroup, World

N, N_FRAMES = 12, 20
SETTINGS = Train(
    steps=8,
    batch_size=4,
    learning_rate=LearningRate(project=1e-2, gates=1e-1, other=1e-3),
    warmup_steps=2,
    weight_decay=0.01,
    clip_norm=1.0,
    context_swap=ContextSwap(prob=0.8, min_frames=3, max_frames=10),
    condition_dropout={"face": 0.5},
    text_dropout=0.2,
    validate_every_steps=3,
)


def changed(settings: Train, **changes: Any) -> Train:
    """The settings with changes."""
    return settings.model_copy(update=changes)


def make_run(settings: Train, folder: Path | None = None, world: World | None = None) -> Loop:
    """The same run whoever asks: clips of unequal lengths, a face that is missing in some."""
    torch.manual_seed(0)
    lm = MusicGenLM(LMGeometry(width=16, n_layers=2, n_heads=2, ffn_width=16, n_codebooks=4, card=8, text_width=6))
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    modalities = (Modality("face", d_in=3, rank=2), Modality("motion", d_in=2, rank=2))
    adaptor = Adaptor(AdaptorConfig(modalities, width=16, n_lm_layers=2, n_adapted=2), seed=1)
    valid = {m.name: torch.ones(N, N_FRAMES + 1, dtype=torch.bool) for m in modalities}
    valid["face"][3:5] = False
    examples = Examples(
        codes=torch.randint(0, 8, (N, 4, N_FRAMES)),
        n_frames=torch.tensor([N_FRAMES - i % 5 for i in range(N)]),
        text=torch.randn(N, 3, 6),
        text_mask=torch.ones(N, 3, dtype=torch.bool),
        controls={m.name: torch.randn(N, N_FRAMES + 1, m.d_in) for m in modalities},
        valid=valid,
    )
    keeper = None if folder is None else CheckpointFolder(folder)
    held_out = examples.take(torch.arange(5).numpy())
    return Loop(SteeredMusic(lm, adaptor, examples, settings, 3, held_out), settings, keeper=keeper, world=world)


def main(rank: int, size: int, rendezvous: str, folder: Path, batch_size: int, n_parts: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size)
    run = make_run(changed(SETTINGS, batch_size=batch_size, accumulate=n_parts), world=ProcessGroup())
    for _ in run.run():
        pass
    (folder / f"records_{rank}.json").write_text(json.dumps(run.records))
    save_file(dict(run.finish().state_dict()), folder / f"adaptor_{rank}.safetensors")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    rank_, size_, rendezvous_, folder_, batch_, parts_ = sys.argv[1:]
    main(int(rank_), int(size_), rendezvous_, Path(folder_), int(batch_), int(parts_))
