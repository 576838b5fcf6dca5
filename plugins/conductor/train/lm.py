"""Train the tiny MusicGen language model: ``uv run python plugins/conductor/train/lm.py``.

Needs the codec that ``codec.py`` left in the same ``--out`` folder. The codes of a few thousand clips are made by a
child process while training already runs. The decoder is transformers' ``MusicgenForCausalLM``, trained together
with a tiny T5 text encoder on sequences of ten seconds, half of them spliced (see ``codes.py``), and shipped as a
whole ``MusicgenForConditionalGeneration`` in float16. ``--resume`` goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from assemble_tiny import assemble, export
from codes import Codes
from common import Budget, log_section, save_torch
from lm_model import Optimisers, TinyMusicgen, delayed, losses_of
from text_model import build_tokenizer
from torch import nn

from expotion_conductor.plan import LM_AND_CODEC_SEEDS, make_plan

TINY = Path(__file__).parents[1] / "src" / "expotion_conductor" / "weights" / "tiny"


def learning_rate(progress: float, step: int, peak: float) -> float:
    """A warm-up of 100 steps, flat to a third, then a cosine to a hundredth."""
    falling = max(0.0, (progress - 0.33) / 0.67)
    return float(peak * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * falling))))


@torch.no_grad()
def validate(model: TinyMusicgen, tokenizer: Any, path: Path, n_frames: int, batch: int = 12) -> list[float]:
    """Cross-entropy per codebook on whole, unspliced clips of development seeds."""
    model.eval()
    model.offset = 0
    held_out = dict(np.load(path))
    total = torch.zeros(4)
    n_batches = max(1, len(held_out["codes"]) // batch)
    for i in range(n_batches):
        part = slice(i * batch, (i + 1) * batch)
        codes = torch.from_numpy(held_out["codes"][part, :, :n_frames].astype(np.int64))
        text = tokenizer([str(c) for c in held_out["captions"][part]], padding=True, return_tensors="pt")
        inputs, targets = delayed(codes)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs, text.input_ids, text.attention_mask, torch.ones(len(codes)))
        total += losses_of(logits, targets) / n_batches
    model.train()
    return [round(float(x), 4) for x in total]


def wait_for_codes(args: argparse.Namespace, out: Path) -> tuple[Codes, subprocess.Popen[bytes] | None]:
    """Start the child that makes codes, if any are missing, and wait for the first ones."""
    folder = out / "codes"
    codes = Codes(folder, args.frames)
    child = None
    if not args.codes_made_elsewhere:
        command = [sys.executable, str(Path(__file__).with_name("codes.py")), "--codec", str(out / "codec")]
        command += ["--out", str(folder), "--clips", str(args.clips), "--shard-clips", str(args.shard_clips)]
        child = subprocess.Popen(command)
    while codes.refresh() < min(args.first_clips, args.clips):
        if child is not None and child.poll() not in (None, 0):
            raise SystemExit("making the codes failed; its message stands above")
        time.sleep(0.5)
    return codes, child


class Training:
    """The state of one training: model, averaged weights, optimisers, data, budget and history."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.args, self.out = args, Path(args.out)
        captions = [make_plan(LM_AND_CODEC_SEEDS + i).caption for i in range(2000)]
        self.tokenizer = build_tokenizer(captions)
        self.model = self.fresh(args.dropout).train()
        self.smooth = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimiser = Optimisers(self.model, args.lr, args.weight_decay)
        self.codes, self.child = wait_for_codes(args, self.out)
        self.budget = Budget(args.minutes, args.steps)
        self.history: list[dict[str, Any]] = []
        self.average = torch.zeros(0)
        if args.resume and (self.out / "lm.pt").exists():
            state = torch.load(self.out / "lm.pt", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.smooth = state["smooth"]
            self.optimiser.load_state_dict(state["optimiser"])
            self.budget.restore(state["budget"])
            self.history = state["history"]

    def fresh(self, dropout: float) -> TinyMusicgen:
        """An untrained model of this geometry."""
        args = self.args
        return TinyMusicgen(len(self.tokenizer), args.width, args.layers, args.heads, dropout)

    def step(self, step: int) -> float:
        """One batch forward, backward and into the weights; returns the learning rate."""
        args = self.args
        rng = np.random.default_rng([args.seed, step])
        batch, captions = self.codes.batch(args.batch, args.spliced, rng)
        # Unknown words must not disturb: some words become one.
        words = [" ".join("?" if rng.random() < 0.05 else w for w in text.split()) for text in captions]
        text = self.tokenizer(words, padding=True, return_tensors="pt")
        keep_text = torch.from_numpy((rng.random(len(captions)) >= args.text_dropout).astype(np.float32))
        inputs, targets = delayed(torch.from_numpy(batch))
        self.model.offset = int(rng.integers(1000)) if rng.random() < args.shifted else 0
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(inputs, text.input_ids, text.attention_mask, keep_text)
        losses = losses_of(logits, targets)
        losses.mean().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        rate = learning_rate(self.budget.progress, step, args.lr)
        self.optimiser.step(rate)
        now = losses.detach()
        self.average = 0.98 * self.average + 0.02 * now if len(self.average) else now
        decay = min(0.99, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.smooth[name].lerp_(p, 1 - decay)
        return rate

    def keep(self) -> None:
        """Save a checkpoint, validate the averaged weights and ship them."""
        averaged = self.fresh(0.0)
        with torch.no_grad():
            for name, p in averaged.named_parameters():
                p.copy_(self.smooth[name])
        validation = self.out / "codes" / "validation.npz"
        held_out = validate(averaged.eval(), self.tokenizer, validation, self.args.frames)
        row = {"step": self.budget.done_steps, "minutes": round(self.budget.elapsed_s / 60, 1)}
        row |= {"clips": len(self.codes.codes), "train": [round(float(x), 3) for x in self.average]}
        self.history.append(row | {"held_out": held_out})
        print(json.dumps(self.history[-1]), flush=True)
        state = {"model": self.model.state_dict(), "smooth": self.smooth, "history": self.history}
        state |= {"optimiser": self.optimiser.state_dict(), "budget": self.budget.state()}
        save_torch(state, self.out / "lm.pt")
        export(assemble(averaged, self.out / "codec"), self.tokenizer, Path(self.args.weights))

    def run(self) -> None:
        """Until the budget is spent."""
        saved = time.monotonic()
        for step in self.budget.run():
            if step % 50 == 0:
                self.codes.refresh()
            rate = self.step(step)
            if step % self.args.log_every == 0:
                row = {"step": step, "min": round(self.budget.elapsed_s / 60, 2), "lr": round(rate, 6)}
                print(json.dumps(row | {"train": [round(float(x), 3) for x in self.average]}), flush=True)
            if time.monotonic() - saved > self.args.save_every_s:
                self.keep()
                saved = time.monotonic()
        self.keep()
        if self.child is not None:
            self.child.wait()
        if not self.args.smoke:
            log(self.args, self.budget, self.history, self.model)


def log(args: argparse.Namespace, budget: Budget, history: list[dict[str, Any]], model: nn.Module) -> None:
    """The section of the training log."""
    count = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.named_children()}
    log_section(
        "Language model",
        [
            f"`train/lm.py --minutes {args.minutes:g} --seed {args.seed}`: decoder {count['decoder']:.2f} M, text "
            f"encoder {count['text_encoder']:.2f} M parameters; {budget.done_steps} steps of {args.batch} x "
            f"{args.frames} frames in {budget.elapsed_s / 60:.1f} min on {args.threads} thread(s).",
            "",
            "Cross-entropy per codebook (nats; a uniform guess is 5.55); held out: whole clips, averaged weights.",
            "",
            "Half of the training sequences are spliced: two to four stretches of different clips of one timbre",
            "and mood. Trained on whole clips only, the model reads beat, tempo and loudness off the first second",
            "and is then so sure of them that no control can move it; with splices it keeps all three open.",
            "",
            "| step | minutes | clips | train (spliced, dropout) | held out |",
            "|---|---|---|---|---|",
            *(
                f"| {r['step']} | {r['minutes']} | {r['clips']} | {' '.join(map(str, r['train']))} "
                f"| {' '.join(map(str, r['held_out']))} |"
                for r in history
            ),
        ],
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=35.0, help="wall time of the training")
    parser.add_argument("--steps", type=int, help="a number of steps instead of minutes, for exact repeats")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/conductor-train", help="working folder, shared with codec.py")
    parser.add_argument("--weights", default=str(TINY), help="where the finished folder goes")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a few steps on a few clips, in seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--first-clips", type=int, default=250, help="start training once these are encoded")
    parser.add_argument("--shard-clips", type=int, default=125)
    parser.add_argument("--codes-made-elsewhere", action="store_true", help="codes.py is already running")
    parser.add_argument("--frames", type=int, default=508)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--text-dropout", type=float, default=0.2)
    parser.add_argument("--spliced", type=float, default=0.5, help="share of spliced sequences")
    parser.add_argument("--shifted", type=float, default=0.3, help="share of batches at shifted positions")
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--save-every-s", type=float, default=240.0)
    args = parser.parse_args()
    if args.smoke:
        args.steps, args.clips, args.shard_clips, args.width, args.layers, args.heads = 3, 4, 4, 32, 2, 2
        args.frames, args.batch, args.log_every = 60, 2, 1
    Training(args).run()


if __name__ == "__main__":
    main()
