"""Train the language model: ``uv run python plugins/conductor/train/lm.py --codes DIR --codec DIR``.

The decoder is transformers' ``MusicgenForCausalLM``, trained together with a tiny T5 text encoder on sequences of
ten seconds, half of them spliced (see ``codes.py``), and written as a whole ``MusicgenForConditionalGeneration`` in
float16 to ``--weights`` at every checkpoint. A run is its seed and its arguments, and ``--resume`` goes on exactly
as in ``codec.py``; ``--minutes`` ends a session, not the training.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from assemble_tiny import assemble, export
from codes import FIRST_SEED, Codes
from common import History, keep_memory, log_section, save_torch
from lm_model import Optimisers, TinyMusicgen, delayed, losses_of
from numpy.typing import NDArray
from text_model import build_tokenizer
from torch import Tensor, nn


def learning_rate(step: int, total: int, peak: float) -> float:
    """A warm-up of 100 steps, flat to a third, then a cosine to a hundredth."""
    falling = max(0.0, (step / total - 0.33) / 0.67)
    return float(peak * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * falling))))


@torch.no_grad()
def validate(model: TinyMusicgen, tokenizer: Any, path: Path, n_frames: int) -> dict[str, Any]:
    """Cross-entropy on whole, unspliced pieces of development seeds: per codebook, per lead and per style."""
    model.offset = 0
    held_out = dict(np.load(path))
    found = []
    for codes, caption in zip(held_out["codes"], held_out["captions"], strict=True):
        text = tokenizer([str(caption)], return_tensors="pt")
        inputs, targets = delayed(torch.from_numpy(codes[None, :, :n_frames].astype(np.int64)), model.n_entries)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs, text.input_ids, text.attention_mask, torch.ones(1))
        found.append(losses_of(logits, targets).numpy())
    losses = np.stack(found)

    def by(names: NDArray[Any]) -> dict[str, float]:
        each = losses.mean(1)
        return {str(name): round(float(each[names == name].mean()), 3) for name in np.unique(names)}

    books = [round(float(x), 4) for x in losses.mean(0)]
    return {"held_out": books, "leads": by(held_out["leads"]), "styles": by(held_out["styles"])}


class Training:
    """The state of one training: model, averaged weights, optimisers and data."""

    def __init__(self, args: argparse.Namespace, captions: list[str]) -> None:
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.args, self.out = args, Path(args.out)
        self.codes = Codes(Path(args.codes), args.frames)
        self.tokenizer = build_tokenizer(captions)
        self.model = self.fresh(args.dropout).train()
        self.smooth = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimiser = Optimisers(self.model, args.lr, args.weight_decay)
        self.step, self.used_s = 0, 0.0
        if args.resume and (self.out / "checkpoint.pt").exists():
            state = torch.load(self.out / "checkpoint.pt", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.smooth = state["smooth"]
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.used_s = state["step"], state["used_s"]
        self.history = History(self.out / "history.jsonl", self.step)

    def fresh(self, dropout: float) -> TinyMusicgen:
        """An untrained model of this geometry."""
        args = self.args
        return TinyMusicgen(len(self.tokenizer), args.width, args.layers, args.heads, dropout, args.entries)

    def learn(self) -> Tensor:
        """One batch forward, backward and into the weights; returns the losses of the codebooks."""
        args, step = self.args, self.step
        torch.manual_seed(args.seed * 1_000_003 + step)
        rng = np.random.default_rng([args.seed, step])
        batch, captions = self.codes.batch(args.batch, args.spliced, rng)
        # Unknown words must not disturb: some words become one.
        words = [" ".join("?" if rng.random() < 0.05 else w for w in text.split()) for text in captions]
        text = self.tokenizer(words, padding=True, return_tensors="pt")
        keep_text = torch.from_numpy((rng.random(len(captions)) >= args.text_dropout).astype(np.float32))
        inputs, targets = delayed(torch.from_numpy(batch), args.entries)
        self.model.offset = int(rng.integers(1000)) if rng.random() < args.shifted else 0
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(inputs, text.input_ids, text.attention_mask, keep_text)
        losses = losses_of(logits, targets)
        losses.mean().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step(learning_rate(step, args.steps, args.lr))
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.smooth[name].lerp_(p, 1 - decay)
        self.step += 1
        return losses.detach()

    def averaged(self) -> TinyMusicgen:
        """The model with the averaged weights."""
        model = self.fresh(0.0).eval()
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(self.smooth[name])
        return model

    def save(self) -> None:
        """A checkpoint, a row of held-out losses, and the whole model."""
        model = self.averaged()
        held_out = validate(model, self.tokenizer, Path(self.args.codes) / "held_out.npz", self.args.frames)
        self.history.write({"step": self.step, "minutes": round(self.used_s / 60, 1), **held_out})
        state = {"model": self.model.state_dict(), "smooth": self.smooth, "optimiser": self.optimiser.state_dict()}
        save_torch(state | {"step": self.step, "used_s": self.used_s}, self.out / "checkpoint.pt")
        export(assemble(model, Path(self.args.codec)), self.tokenizer, Path(self.args.weights))

    def run(self) -> None:
        """Until the steps or this session's minutes are over."""
        args, started, saved, before_s = self.args, time.monotonic(), time.monotonic(), self.used_s
        while self.step < args.steps:
            self.used_s = before_s + time.monotonic() - started
            if args.minutes is not None and self.used_s - before_s > 60 * args.minutes:
                break
            losses = self.learn()
            self.history.add({f"train_{k}": float(x) for k, x in enumerate(losses)})
            if self.step % args.log_every == 0:
                self.history.write({"step": self.step, "minutes": round(self.used_s / 60, 2)})
            if time.monotonic() - saved > args.save_every_s:
                self.save()
                saved = time.monotonic()
        self.save()
        if args.log:
            log(args, self.history.rows(), self.model)


def log(args: argparse.Namespace, rows: list[dict[str, Any]], model: nn.Module) -> None:
    """The section of the training log."""
    count = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.named_children()}
    measured = [row for row in rows if "held_out" in row]
    last = measured[-1]
    shown = [measured[round(i * (len(measured) - 1) / 11)] for i in range(12)] if len(measured) > 12 else measured
    log_section(
        "Language model",
        [
            f"`train/lm.py --steps {args.steps} --seed {args.seed}`: decoder {count['decoder']:.2f} M, text "
            f"encoder {count['text_encoder']:.2f} M parameters; {last['step']} steps of {args.batch} x "
            f"{args.frames} frames in {last['minutes']:.0f} min on {args.threads} thread(s).",
            "",
            "Held out: whole pieces of development seeds, averaged weights, cross-entropy per codebook (nats; a "
            f"uniform guess is {np.log(args.entries):.2f}).",
            "",
            "| step | minutes | held out |",
            "|---|---|---|",
            *(f"| {r['step']} | {r['minutes']} | {' '.join(map(str, r['held_out']))} |" for r in shown),
            "",
            *(f"By {what}: {json.dumps(last[what])[1:-1]}." for what in ("leads", "styles")),
        ],
    )


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", required=True, help="folder of codes (train/codes.py)")
    parser.add_argument("--codec", required=True, help="folder of the codec that made them")
    parser.add_argument("--out", default="runs/lm-2")
    parser.add_argument("--weights", default="runs/lm-2/musicgen", help="where the finished folder goes")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt where there is one")
    parser.add_argument("--minutes", type=float, help="end this session after so many; the checkpoint stays")
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--entries", type=int, default=1024)
    parser.add_argument("--frames", type=int, default=508)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--text-dropout", type=float, default=0.2)
    parser.add_argument("--spliced", type=float, default=0.5, help="share of spliced sequences")
    parser.add_argument("--shifted", type=float, default=0.3, help="share of batches at shifted positions")
    parser.add_argument("--log", action="store_true", help="write the section of TRAINING.md at the end")
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--save-every-s", type=float, default=300.0)
    return parser.parse_args(given)


def main() -> None:
    """Train."""
    from expotion_conductor.band.piece import make_piece  # noqa: PLC0415

    keep_memory()
    captions = [make_piece(FIRST_SEED + i).caption for i in range(4000)]
    Training(arguments(), captions).run()


if __name__ == "__main__":
    main()
