"""One of several workers on gloo: `python worker.py RANK SIZE RENDEZVOUS FOLDER BATCH PARTS shard|whole`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry
from expotion.train.checkpoints import CheckpointFolder
from expotion.train.draw import ContextSwap, TrainingSettings
from expotion.train.examples import Examples
from expotion.train.loop import TrainingRun
from expotion.train.world import Alone, ProcessGroup, ShardedLayers, World

N, N_FRAMES = 12, 20
SETTINGS = TrainingSettings(
    n_steps=8,
    batch_size=4,
    learning_rate={"project": 1e-2, "gates": 1e-1, "other": 1e-3},
    warmup_steps=2,
    weight_decay=0.01,
    betas=(0.9, 0.999),
    clip_norm=1.0,
    swap=ContextSwap(prob=0.8, min_frames=3, max_frames=10),
    condition_dropout={"face": 0.5},
    text_dropout=0.2,
    seed=3,
    validate_every_steps=3,
)


def make_run(
    settings: TrainingSettings, folder: Path | None = None, world: World | None = None
) -> TrainingRun:
    """The same run whoever asks: clips of unequal lengths, a face that is missing in some."""
    torch.manual_seed(0)
    lm = MusicGenLM(
        LMGeometry(width=16, n_layers=2, n_heads=2, ffn_width=16, n_codebooks=4, card=8, text_width=6)
    )
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
    return TrainingRun(
        lm, adaptor, examples, settings, validation=held_out, keeper=keeper, world=world or Alone()
    )


def sharded(run: TrainingRun, world: World) -> TrainingRun:
    """The same run with its backbone spread over the workers."""
    whole = sum(p.numel() * p.element_size() for p in run.lm.layers.parameters())
    layers = ShardedLayers(run.lm, world)
    assert whole // world.size <= layers.shard_bytes < whole // world.size + 100
    return TrainingRun(
        run.lm, run.adaptor, run.examples, run.settings, validation=run.validation, world=world
    )


def main(
    rank: int, size: int, rendezvous: str, folder: Path, batch_size: int, n_parts: int, shard: bool
) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size)
    run = make_run(replace(SETTINGS, batch_size=batch_size, n_parts=n_parts), world=ProcessGroup())
    if shard:
        run = sharded(run, ProcessGroup())
    for _ in run.run():
        pass
    (folder / f"records_{rank}.json").write_text(json.dumps(run.records))
    save_file(dict(run.finish().state_dict()), folder / f"adaptor_{rank}.safetensors")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    rank_, size_, rendezvous_, folder_, batch_, parts_, shard_ = sys.argv[1:]
    main(int(rank_), int(size_), rendezvous_, Path(folder_), int(batch_), int(parts_), shard_ == "shard")
