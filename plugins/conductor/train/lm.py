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
from fast_attention import register
from text_model import build_text_encoder, build_tokenizer
from torch import Tensor, nn

from expotion_conductor.plan import LM_AND_CODEC_SEEDS, make_plan

N_BOOKS, N_ENTRIES, SPECIAL = 4, 256, 256
TINY = Path(__file__).parents[1] / "src" / "expotion_conductor" / "weights" / "tiny"


def build_decoder(width: int, layers: int, heads: int, dropout: float) -> nn.Module:
    """MusicGen's decoder: sinusoidal positions, pre-norm, no biases, FFN four times the width."""
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM  # noqa: PLC0415

    config = MusicgenDecoderConfig(
        vocab_size=N_ENTRIES,
        num_codebooks=N_BOOKS,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        ffn_dim=4 * width,
        activation_function="gelu",
        dropout=dropout,
        audio_channels=1,
        pad_token_id=SPECIAL,
        bos_token_id=SPECIAL,
        max_position_embeddings=2048,
    )
    config._attn_implementation = register()
    decoder = MusicgenForCausalLM(config)
    with torch.no_grad():
        # The library's start of 0.02 would drown the codes under the sinusoidal positions, which are near one.
        for table in decoder.model.decoder.embed_tokens:
            table.weight.normal_(std=0.4)
        for name, matrix in decoder.model.decoder.layers.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "fc1.weight")):
                matrix.normal_(std=width**-0.5)
    return decoder


class TinyMusicgen(nn.Module):
    """Text encoder, projection and decoder in one module; the codec stays outside."""

    def __init__(self, n_words: int, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(n_words)
        self.enc_to_dec_proj = nn.Linear(self.text_encoder.config.d_model, width)
        self.decoder = build_decoder(width, layers, heads, dropout)
        self.offset = 0
        table = self.decoder.model.decoder.embed_positions
        plain = table.forward
        # Positions may start anywhere in training, so that they mean distance and not place in the clip.
        table.forward = lambda ids, past=0: plain(ids, past + self.offset)

    def forward(self, ids: Tensor, words: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
        """Logits [batch, 4, steps, 256] of delayed ids int64 [batch, 4, steps].

        ``words`` and ``mask`` are the tokenised captions [batch, n]; where ``keep`` [batch] is 0 the text is
        dropped. As in MusicGen, padded and dropped text is zero and nothing is masked in the attention.
        """
        states = self.text_encoder(input_ids=words, attention_mask=mask).last_hidden_state
        states = self.enc_to_dec_proj(states) * (mask * keep[:, None])[..., None]
        flat = ids.reshape(-1, ids.shape[2])
        logits = self.decoder(input_ids=flat, encoder_hidden_states=states, use_cache=False).logits
        return logits.view(len(ids), N_BOOKS, ids.shape[2], -1)


def delayed(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets of the delay pattern; int64 [batch, 4, T] -> two int64 [batch, 4, T].

    Step s holds frame s-1-k of codebook k and predicts frame s-k; what has no frame is the special token in the
    inputs and -100 in the targets.
    """
    batch, n_books, n_frames = codes.shape
    inputs = codes.new_full((batch, n_books, n_frames), SPECIAL)
    targets = codes.new_full((batch, n_books, n_frames), -100)
    for k in range(n_books):
        inputs[:, k, k + 1 :] = codes[:, k, : n_frames - k - 1]
        targets[:, k, k:] = codes[:, k, : n_frames - k]
    return inputs, targets


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of each codebook, float32 [4]."""
    return torch.stack(
        [nn.functional.cross_entropy(logits[:, k].flatten(0, 1).float(), targets[:, k].flatten()) for k in range(4)]
    )


def learning_rate(progress: float, step: int, peak: float) -> float:
    """A warm-up of 100 steps, flat to a third, then a cosine to a hundredth."""
    falling = max(0.0, (progress - 0.33) / 0.67)
    return float(peak * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * falling))))


class Optimisers:
    """Muon on the matrices inside the layers, AdamW on the rest: fewer steps than AdamW alone needs."""

    def __init__(self, model: nn.Module, rate: float, decay: float) -> None:
        inner, outer = [], []
        for name, p in model.named_parameters():
            (inner if "decoder.layers" in name and p.ndim == 2 else outer).append(p)
        self.parts = [
            torch.optim.Muon(inner, lr=rate, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, lr=rate, weight_decay=0.0, betas=(0.9, 0.95)),
        ]

    def step(self, rate: float) -> None:
        """One step of both at this rate; clears the gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """Of both."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Of both."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


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


def train(args: argparse.Namespace) -> None:
    """The whole training, from codes to the shipped folder."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    out = Path(args.out)
    tokenizer = build_tokenizer([make_plan(LM_AND_CODEC_SEEDS + i).caption for i in range(2000)])
    model = TinyMusicgen(len(tokenizer), args.width, args.layers, args.heads, args.dropout).train()
    smooth = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = Optimisers(model, args.lr, args.weight_decay)
    codes, child = wait_for_codes(args, out)
    budget = Budget(args.minutes, args.steps)
    checkpoint, history = out / "lm.pt", []
    if args.resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        smooth = state["smooth"]
        optimiser.load_state_dict(state["optimiser"])
        budget.restore(state["budget"])
        history = state["history"]
    average, saved = torch.zeros(0), time.monotonic()

    def keep() -> None:
        state = {"model": model.state_dict(), "smooth": smooth, "optimiser": optimiser.state_dict()}
        save_torch(state | {"budget": budget.state(), "history": history}, checkpoint)
        averaged = TinyMusicgen(len(tokenizer), args.width, args.layers, args.heads, 0.0)
        with torch.no_grad():
            for name, p in averaged.named_parameters():
                p.copy_(smooth[name])
        held_out = validate(averaged.eval(), tokenizer, out / "codes" / "validation.npz", args.frames)
        row = {"step": budget.done_steps, "minutes": round(budget.elapsed_s / 60, 1), "clips": len(codes.codes)}
        row |= {"train": [round(float(x), 3) for x in average], "held_out": held_out}
        history.append(row)
        print(json.dumps(row), flush=True)
        export(assemble(averaged, out / "codec"), tokenizer, Path(args.weights))

    for step in budget.run():
        rate = learning_rate(budget.progress, step, args.lr)
        if step % 50 == 0:
            codes.refresh()
        rng = np.random.default_rng([args.seed, step])
        batch, captions = codes.batch(args.batch, args.spliced, rng)
        # Unknown words must not disturb: some words become one.
        words = [" ".join("?" if rng.random() < 0.05 else w for w in text.split()) for text in captions]
        text = tokenizer(words, padding=True, return_tensors="pt")
        keep_text = torch.from_numpy((rng.random(len(captions)) >= args.text_dropout).astype(np.float32))
        inputs, targets = delayed(torch.from_numpy(batch))
        model.offset = int(rng.integers(1000)) if rng.random() < args.shifted else 0
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs, text.input_ids, text.attention_mask, keep_text)
        losses = losses_of(logits, targets)
        losses.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step(rate)
        now = losses.detach()
        average = 0.98 * average + 0.02 * now if len(average) else now
        decay = min(0.99, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, p in model.named_parameters():
                smooth[name].lerp_(p, 1 - decay)
        if step % args.log_every == 0:
            print(json.dumps({"step": step, "min": round(budget.elapsed_s / 60, 2), "lr": round(rate, 6),
                              "train": [round(float(x), 3) for x in average]}), flush=True)  # fmt: skip
        if time.monotonic() - saved > args.save_every_s:
            keep()
            saved = time.monotonic()
    keep()
    if child is not None:
        child.wait()
    if not args.smoke:
        log(args, budget, history, model)


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
            "Half of the training sequences are spliced: two to four stretches of different clips of one timbre "
            "and mood. Trained on whole clips only, the model reads beat, tempo and loudness off the first second and "
            "is then so sure of them that no control can move it; with splices it keeps all three open.",
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
    train(args)


if __name__ == "__main__":
    main()
