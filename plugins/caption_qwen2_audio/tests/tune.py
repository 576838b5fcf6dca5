"""A fine-tuning of a tiny Qwen2-Audio: `python tune.py FOLDER MODEL STEPS [RANK RENDEZVOUS]`; prints each step."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from expotion.recipe.schema import LearningRate, Train
from expotion.testing import SyntheticClip
from expotion.train.checkpoints import CheckpointFolder
from expotion.train.loop import Loop
from expotion.train.world import ProcessGroup, World
from expotion_caption_qwen2_audio import FinetuneOptions
from expotion_caption_qwen2_audio.finetune import LoraObjective

WORDS = ("a calm lake", "rain at night", "a wild race", "an old film", "the sea", "a feast", "a long road", "snow")


class Tone(SyntheticClip):
    """A clip of one of eight tones."""

    def __init__(self, number: int) -> None:
        super().__init__(duration_s=0.3)
        self.number, self.id, self.caption = number, f"tone{number}", WORDS[number]

    def __reduce__(self) -> tuple[type[Tone], tuple[int]]:
        return Tone, (self.number,)

    def audio(self, sample_rate_hz: int) -> np.ndarray:
        times_s = np.arange(round(self.duration_s * sample_rate_hz)) / sample_rate_hz
        return (0.4 * np.sin(2 * np.pi * 150 * 1.5**self.number * times_s)).astype(np.float32)


def clips() -> list[Tone]:
    """The eight."""
    return [Tone(number) for number in range(8)]


def make(model: Path, steps: int, folder: Path | None = None, world: World | None = None) -> Loop:
    """The same run whoever asks."""
    settings = Train(
        steps=steps,
        batch_size=2,
        accumulate=2,
        learning_rate=LearningRate(project=1e-2, gates=1e-2, other=1e-2),
        warmup_steps=2,
        weight_decay=0.0,
        checkpoint_every_steps=2,
    )
    options = FinetuneOptions(
        model=str(model),
        rank=8,
        alpha=16,
        precision="fp32",
        targets=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    )
    objective = LoraObjective(options, clips(), settings, seed=3)
    keeper = None if folder is None else CheckpointFolder(folder / "checkpoints")
    return Loop(objective, settings, keeper=keeper, trace="t", world=world)


def main(folder: Path, model: Path, steps: int, rank: int | None = None, rendezvous: str = "") -> None:
    """Train, print, save."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    if rank is not None:
        torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    loop = make(model, steps, None if rank is not None else folder, None if rank is None else ProcessGroup())
    loop.resume()
    losses = []
    for record in loop.run():
        print(record["step"], flush=True)
        losses.append(record["loss"])
    (folder / "losses.json").write_text(json.dumps(losses))
    loop.finish()
    loop.objective.save(folder / "lora")
    if rank is not None:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    given = sys.argv[1:]
    rank_ = int(given[3]) if len(given) > 3 else None
    main(Path(given[0]), Path(given[1]), int(given[2]), rank_, *given[4:])
