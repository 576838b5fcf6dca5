"""Train the captioner that ships: `uv run python plugins/caption_musiscene/train/scenes.py`.

The model and the objective of `recipes/musiscene.yaml`, on more pieces and for longer. What the pieces sound
like is kept in `.cache/scenes`, so that a second training does not play them again. Weights go into the
package, the table of TRAINING.md is written here, from development pieces on which nothing was trained.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from expotion.recipe.schema import Train
from expotion.train.loop import Loop
from expotion_caption_musiscene import scene_scores
from expotion_caption_musiscene.heard import Heard, listen
from expotion_caption_musiscene.learn import SceneObjective, teach_words
from expotion_caption_musiscene.lexicon import VALUES
from expotion_caption_musiscene.task import tell_all
from expotion_caption_musiscene.teller import WEIGHTS, SceneTeller, save
from expotion_conductor.band.conducted import band_plan
from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import DEVELOPMENT_SEEDS, ENCODER_SEEDS, Plan, make_plan

FIRST, FIRST_TESTED = ENCODER_SEEDS + 40_000, DEVELOPMENT_SEEDS + 30_000
FIRST_PLAIN = ENCODER_SEEDS + 60_000
"""Of the world's first music, which has no styles."""
PIECE_S = 10.0
CHUNK = 200
ROOT = Path(__file__).resolve().parents[3]
TRAINING = Path(__file__).resolve().parents[1] / "TRAINING.md"


def heard_of(first: int, n: int, processes: int, plan_of: Callable[[int, float], Plan] = band_plan) -> Heard:
    """What pieces with these seeds sound like, from `.cache/scenes` where they were played before."""
    parts = []
    for at in range(first, first + n, CHUNK):
        size = min(CHUNK, first + n - at)
        path = ROOT / ".cache" / "scenes" / f"{at}_{size}.npz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            clips = [ConductorClip(plan_of(at + i, PIECE_S), size_px=64) for i in range(size)]
            listen(clips, processes, lambda done, total: None).save(path)
            print(f"listened to {at + size - first} of {n}", flush=True)
        parts.append(Heard.load(path))
    return Heard.joined(parts)


def main() -> None:
    """Listen, train, score, write."""
    given = argparse.ArgumentParser()
    given.add_argument("--pieces", type=int, default=1_700)
    given.add_argument("--plain", type=int, default=400)
    given.add_argument("--tested", type=int, default=250)
    given.add_argument("--steps", type=int, default=2_200)
    given.add_argument("--seed", type=int, default=7)
    given.add_argument("--processes", type=int, default=2)
    given.add_argument("--threads", type=int, default=1)
    given.add_argument("--out", type=Path, default=WEIGHTS)
    options = given.parse_args()
    torch.set_num_threads(options.threads)
    train, test = (
        heard_of(first, n, options.processes)
        for first, n in ((FIRST, options.pieces), (FIRST_TESTED, options.tested))
    )
    plain = heard_of(FIRST_PLAIN, options.plain, options.processes, make_plan)
    settings = Train(
        steps=options.steps,
        batch_size=32,
        learning_rate=2e-3,  # type: ignore[arg-type] # one number stands for all
        warmup_steps=60,
        weight_decay=0.05,
        ema=0.99,
        checkpoint_every_steps=10**6,
        validate_every_steps=200,
    )
    loop = Loop(SceneObjective(Heard.joined([train, plain]), settings, options.seed, test), settings)
    before = time.process_time()
    for record in loop.run():
        if "validation_loss" in record:
            print({key: round(value, 3) for key, value in record.items() if isinstance(value, float)}, flush=True)
    loop.finish()
    model = loop.trained
    assert isinstance(model, SceneTeller)
    teach_words(model, options.seed)
    spent_s = time.process_time() - before
    save(model, options.out)
    size = options.out.stat().st_size
    table = scores(model.eval(), test, train)
    print(table)
    if options.out == WEIGHTS:
        TRAINING.write_text(told(options, spent_s, size, table), encoding="utf-8")


def scores(model: SceneTeller, test: Heard, train: Heard) -> str:
    """The rows of the scores as a table."""
    heads = [*(f"{kind} ({len(values)})" for kind, values in VALUES.items()), "own of 10", "different of 100"]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for row, said in tell_all(model, test, train).items():
        rows = [scene_scores.row_of(classes, text) for classes, text in zip(test.classes, said, strict=True)]
        values = [scene_scores.balanced(kind)(rows, []).value for kind in VALUES]
        values += [scene_scores.retrieval(rows, []).value]
        cells = [f"{value:.2f}" for value in values if value is not None]
        cells.append(f"{scene_scores.distinct(rows, []).value:.0f}")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def told(options: argparse.Namespace, spent_s: float, size: int, table: str) -> str:
    """TRAINING.md."""
    return f"""\
# How the weights of `musiscene` were made

```
uv run python plugins/caption_musiscene/train/scenes.py --pieces {options.pieces} --plain {options.plain} \\
  --tested {options.tested} --steps {options.steps} --seed {options.seed}
```

trains the model of `recipes/musiscene.yaml` on {options.pieces} pieces of 10 s of the world's band (seeds from
{FIRST:,}) and {options.plain} of its first music (from {FIRST_PLAIN:,}; without a style), {options.steps:,}
steps of 32 pieces, then the words alone, {spent_s:,.0f} s of processor time ({options.threads} thread) without
the listening, and writes {size / 1e6:.1f} MB and this file.

On {options.tested} other pieces (development seeds from {FIRST_TESTED:,}): balanced accuracy of what the reader
takes from the words (of how many values), the chance to find the scene's own piece among ten, different scenes for
every hundred.

{table}

Rows: what the captioner tells; what it chooses in orders of words never trained on; one scene for each mood that is
heard; one scene for all; the truth in the grammar's words. Weights, pieces and words are ours (Apache-2.0).
"""


if __name__ == "__main__":
    main()
