"""Train the codec on rendered music: ``uv run python plugins/conductor/train/codec.py --pool DIR --held-out DIR``.

EnCodec's layout at MusicGen's rates (32 kHz, 50 Hz, 4 codebooks of 1,024 entries). Three stages, counted in steps:
1. encoder and decoder alone, 2. with residual vector quantisation, codebooks started by k-means and moved by
averages, gradients straight through, 3. the decoder alone on the codes that stage 2 left, with a critic. A small
head names the notes that sound from the quantised latent, in stages 1 and 2; it is no part of what ships.

A run is its seed and its arguments: one that was killed and goes on with ``--resume`` ends with the same bytes as
one that was not (on one machine, at one number of threads). ``--minutes`` ends a session, not the training: the
next one resumes. The result is ``OUT/codec``, a folder that ``transformers.EncodecModel.from_pretrained`` reads,
written anew at every checkpoint; ``OUT/history.jsonl`` has losses and held-out measures.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from codec_adversary import Critic, codec_losses, critic_loss
from codec_fast import FastCodec
from codec_loss import SpectralLoss
from codec_measures import chroma_correlation, high_band_db, mel_distance
from codec_quantise import Quantiser
from common import History, keep_memory, log_section, save_torch
from pool import N_PITCHES, RATE_HZ, Batch, Pool
from torch import Tensor, nn

STAGES = ("continuous", "quantised", "decoder")
WEIGHTS = {"mel": 1.0, "pitch": 2.0, "fine": 1.0, "wave": 0.1, "commit": 0.25, "notes": 1.0}
WEIGHTS |= {"fool": 0.1, "match": 0.3}
SOUNDING_COUNTS = 4.0
"""A note that sounds weighs this much more than one that does not: a few of 84 sound at a time."""


def build_codec(n_filters: int, width: int, n_residuals: int, n_entries: int = 1024) -> nn.Module:
    """An EnCodec whose first stride is its longest, so that little is computed at the sound's own rate."""
    from transformers import EncodecConfig, EncodecModel  # noqa: PLC0415

    config = EncodecConfig(
        sampling_rate=RATE_HZ,
        audio_channels=1,
        normalize=False,
        target_bandwidths=[4 * np.log2(n_entries) * 50 / 1000],  # kbit/s of four codebooks
        upsampling_ratios=[4, 4, 5, 8],
        num_filters=n_filters,
        num_residual_layers=n_residuals,
        hidden_size=width,
        codebook_size=n_entries,
        codebook_dim=width,
        num_lstm_layers=1,
        use_causal_conv=False,
        norm_type="weight_norm",
        use_conv_shortcut=False,
        pad_mode="constant",
    )
    return EncodecModel(config)


@torch.no_grad()
def start_from_data(codec: nn.Module, sound: Tensor) -> None:
    """Scale and centre every convolution in turn so that its output on ``sound`` has unit variance.

    With the library's start the sound dies away within a dozen layers: the decoder sees its biases alone, learns
    the average spectrum and stays there.
    """
    level = float(sound.std())
    convolutions = [m for m in codec.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]

    def rescale(convolution: Any, _inputs: Any, out: Tensor) -> Tensor:
        last = convolution is convolutions[-1]
        wanted = 0.5 * level if last else 0.5 if convolution.kernel_size == (1,) else 1.0
        mean = out.mean((0, 2))
        scale = wanted / float((out - mean[:, None]).std())
        convolution.parametrizations.weight.original0.mul_(scale)
        # Weight norm leaves the length of this free; it sets how fast the direction can turn. Without it the
        # small weights of wide layers turn by a tenth per step and the training runs away.
        direction = convolution.parametrizations.weight.original1
        direction.mul_(0.1 / direction.square().mean().sqrt())
        convolution.bias.copy_(scale * (convolution.bias - mean))
        return scale * (out - mean[:, None])

    hooks = [convolution.register_forward_hook(rescale) for convolution in convolutions]
    codec.decoder(codec.encoder(sound))
    for hook in hooks:
        hook.remove()


class NoteHead(nn.Module):
    """Which pitches sound, from the quantised latent [b, frames, width]: logits [b, frames, pitches]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(width, 128, 5, padding=2), nn.ELU(), nn.Conv1d(128, N_PITCHES, 1))

    def forward(self, latent: Tensor) -> Tensor:  # noqa: D102 - the class says it
        return self.layers(latent.transpose(1, 2)).transpose(1, 2)


@dataclass(frozen=True)
class Schedule:
    """Steps of each stage, and the learning rate of each step."""

    steps: tuple[int, int, int]
    peak: float

    @property
    def total(self) -> int:
        """Steps of all stages."""
        return sum(self.steps)

    def stage(self, step: int) -> int:
        """0, 1 or 2."""
        return 0 if step < self.steps[0] else 1 if step < sum(self.steps[:2]) else 2

    def rate(self, step: int) -> float:
        """A warm-up per stage; then flat, falling to a fifth over the second's last third, falling to 0."""
        stage = self.stage(step)
        within = step - sum(self.steps[:stage])
        left = 1.0 - within / self.steps[stage]
        shape = (1.0, min(1.0, 0.2 + 0.8 * 3 * left), 0.5 * left)[stage]
        return self.peak * shape * min(1.0, (within + 1) / 200)


class Training:
    """All that a checkpoint keeps, and one step."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.args, self.out, self.device = args, Path(args.out), torch.device(args.device)
        self.pool = Pool(Path(args.pool), args.pieces)
        self.held_out = Pool(Path(args.held_out)) if args.held_out else None
        self.schedule = Schedule((args.continuous, args.quantised, args.decoder), args.lr)
        codec = build_codec(args.filters, args.width, args.residuals, args.entries)
        start_from_data(codec, self.pool.batch(4, args.frames, (args.seed, 1 << 40)).sound)
        self.parts = nn.ModuleDict({"codec": codec, "notes": NoteHead(args.width), "critic": Critic()})
        self.parts.to(self.device)
        self.codec: nn.Module = self.parts["codec"]
        self.fast = FastCodec(self.codec, torch.bfloat16 if args.bf16 else torch.float32)
        self.quantiser = Quantiser(self.codec)
        self.loss_of = SpectralLoss(RATE_HZ).to(self.device)
        own = [*codec.parameters(), *self.parts["notes"].parameters()]
        self.optimiser = torch.optim.AdamW(own, lr=args.lr, betas=(0.8, 0.99), weight_decay=0.0)
        critics = self.parts["critic"].parameters()
        self.critic_optimiser = torch.optim.AdamW(critics, lr=args.lr / 3, betas=(0.5, 0.9), weight_decay=0.0)
        self.step, self.used_s = 0, 0.0
        if args.resume and (self.out / "checkpoint.pt").exists():
            state = torch.load(self.out / "checkpoint.pt", weights_only=True, map_location=self.device)
            self.parts.load_state_dict(state["parts"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.critic_optimiser.load_state_dict(state["critic_optimiser"])
            self.step, self.used_s = state["step"], state["used_s"]
        self.history = History(self.out / "history.jsonl", self.step)

    def save(self) -> None:
        """A checkpoint, and the codec as it is."""
        state = {"parts": self.parts.state_dict(), "step": self.step, "used_s": self.used_s}
        state |= {"optimiser": self.optimiser.state_dict(), "critic_optimiser": self.critic_optimiser.state_dict()}
        save_torch(state, self.out / "checkpoint.pt")
        self.codec.save_pretrained(self.out / "codec")

    def batch(self, number: int) -> Batch:
        """The batch of a step."""
        made = self.pool.batch(self.args.batch, self.args.frames, (self.args.seed, number))
        return Batch(made.sound.to(self.device), made.roll.to(self.device))

    def learn(self) -> dict[str, float]:
        """One step; returns its losses."""
        stage = self.schedule.stage(self.step)
        if self.step == self.schedule.steps[0]:
            with torch.no_grad():
                latents = [
                    self.fast.encode(self.batch((1 << 41) + i).sound) for i in range(self.args.start_batches)
                ]
                self.quantiser.start(torch.cat(latents).flatten(0, 1))
        if stage == 2 and not (self.out / "codes_final").exists():
            self.save()
            (self.out / "codes_final").touch()
        for optimiser, share in ((self.optimiser, 1.0), (self.critic_optimiser, 1 / 3)):
            for group in optimiser.param_groups:
                group["lr"] = share * self.schedule.rate(self.step)
        batch = self.batch(self.step)
        with torch.set_grad_enabled(stage < 2):
            latent = self.fast.encode(batch.sound)
        losses: dict[str, Tensor] = {}
        # The scale of the latent may run away in the first steps; this holds it near one.
        runaway = 0.01 * (latent.square().mean() - 1.5).relu()
        if stage:
            latent, losses["commit"] = self.quantiser.apply(latent, learn=stage == 1, step=self.step)
        if stage < 2:
            logits = self.parts["notes"](latent)
            heavier = 1.0 + (SOUNDING_COUNTS - 1.0) * batch.roll
            losses["notes"] = nn.functional.binary_cross_entropy_with_logits(logits, batch.roll, heavier)
        heard = self.fast.decode(latent)
        losses |= self.loss_of(heard, batch.sound)
        if stage == 2 and self.args.critic:
            losses |= self.criticise(heard, batch.sound)
        loss = sum((WEIGHTS[name] * value for name, value in losses.items() if name in WEIGHTS), runaway)
        loss.backward()
        losses["norm"] = nn.utils.clip_grad_norm_(self.codec.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def criticise(self, heard: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """A step of the critic on every other step of the codec, and the codec's losses by it."""
        critic = self.parts["critic"]
        losses = {}
        if self.step % 2 == 0:
            loss = critic_loss(critic(wanted), critic(heard.detach()))
            loss.backward()
            self.critic_optimiser.step()
            self.critic_optimiser.zero_grad(set_to_none=True)
            losses["critic"] = loss
        critic.requires_grad_(False)
        with torch.no_grad():
            real = critic(wanted)
        losses |= codec_losses(real, critic(heard))
        critic.requires_grad_(True)
        return losses

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """Held-out measures on excerpts of six seconds, in float32, quantised once there are codebooks."""
        assert self.held_out is not None
        exact = FastCodec(self.codec)
        chromas, mels, highs, latents, counts = [], [], [], [], np.zeros(3)
        excerpts = self.held_out.excerpts(300)
        for wanted, roll in zip(excerpts.sound, excerpts.roll, strict=True):
            latent = exact.encode(wanted[None].to(self.device))
            latents.append(latent)
            if self.step > self.schedule.steps[0]:
                latent, _ = self.quantiser.apply(latent, learn=False, step=0)
            heard = exact.decode(latent)[0, 0].cpu()
            chromas.append(chroma_correlation(heard, wanted[0], RATE_HZ))
            mels.append(mel_distance(heard, wanted[0], RATE_HZ))
            highs.append(high_band_db(heard, wanted[0], RATE_HZ))
            named = self.parts["notes"](latent)[0].cpu() > 0
            counts += [float((named & (roll > 0)).sum()), float(named.sum()), float(roll.sum())]
        found = {"chroma_mean": np.mean(chromas), "chroma_min": np.min(chromas), "mel": np.mean(mels)}
        found |= {"high_band_db": np.mean(highs), "notes_f1": 2 * counts[0] / max(1.0, counts[1] + counts[2])}
        rounded: dict[str, Any] = {name: round(float(value), 4) for name, value in found.items()}
        if self.step > self.schedule.steps[0]:
            rounded["perplexity"] = self.quantiser.usage(torch.cat(latents))
        return rounded

    def run(self) -> None:
        """Until the schedule or this session's minutes are over."""
        args, started, saved = self.args, time.monotonic(), time.monotonic()
        before_s = self.used_s
        while self.step < self.schedule.total:
            self.used_s = before_s + time.monotonic() - started
            if args.minutes is not None and self.used_s - before_s > 60 * args.minutes:
                break
            stage = self.schedule.stage(self.step)
            self.history.add(self.learn())
            if self.step % args.log_every == 0:
                row = {"step": self.step, "stage": STAGES[stage], "minutes": round(self.used_s / 60, 2)}
                self.history.write(row | {"processor_s": round(time.process_time(), 1)})
            if self.held_out is not None and self.step % args.measure_every == 0:
                self.history.write({"step": self.step, "held_out": self.measure()})
            if time.monotonic() - saved > args.save_every_s:
                self.save()
                saved = time.monotonic()
        self.save()
        if args.log:
            log(args, self.history.rows(), sum(p.numel() for p in self.codec.parameters()))


def log(args: argparse.Namespace, rows: list[dict[str, Any]], n_parameters: int) -> None:
    """The section of the training log."""
    measured = [row for row in rows if "held_out" in row]
    picked = range(len(measured)) if len(measured) < 16 else [i * (len(measured) - 1) // 14 for i in range(15)]
    shown = [measured[i] for i in picked]
    last = [row for row in rows if "minutes" in row][-1]
    keys = ("chroma_mean", "chroma_min", "mel", "high_band_db", "notes_f1", "perplexity")
    log_section(
        "Codec",
        [
            f"`train/codec.py --filters {args.filters} --batch {args.batch} --continuous {args.continuous} "
            f"--quantised {args.quantised} --decoder {args.decoder} --seed {args.seed}`: {n_parameters / 1e6:.2f} "
            f"M parameters, {last['step']} steps of {args.batch} x {args.frames / 50:g} s in {last['minutes']:.0f} "
            f"min on {args.threads} thread(s).",
            "",
            "Held out, through the codec; `notes_f1` is the head's, frame by frame.",
            "",
            "| step | " + " | ".join(keys) + " |",
            "|---|" + "---|" * len(keys),
            *(
                f"| {row['step']} | " + " | ".join(str(row["held_out"].get(key, "-")) for key in keys) + " |"
                for row in shown
            ),
        ],
    )


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", required=True, help="folder of rendered pieces (train/render_pool.py)")
    parser.add_argument("--held-out", help="folder of rendered pieces that are never trained on")
    parser.add_argument("--pieces", type=int, help="use so many pieces of the pool; all by default")
    parser.add_argument("--out", default="runs/codec-2")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt where there is one")
    parser.add_argument("--minutes", type=float, help="end this session after so many; the checkpoint stays")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--continuous", type=int, default=1500, help="steps of the first stage")
    parser.add_argument("--quantised", type=int, default=40_000, help="steps of the second")
    parser.add_argument("--decoder", type=int, default=10_000, help="steps of the last")
    parser.add_argument("--critic", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--residuals", type=int, default=1)
    parser.add_argument("--entries", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=64, help="frames of 20 ms to a crop")
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--start-batches", type=int, default=40, help="batches that start the codebooks")
    parser.add_argument("--log", action="store_true", help="write the section of TRAINING.md at the end")
    parser.add_argument("--log-every", type=int, default=25)
    parser.add_argument("--measure-every", type=int, default=500)
    parser.add_argument("--save-every-s", type=float, default=180.0)
    return parser.parse_args(given)


def main() -> None:
    """Train."""
    keep_memory()
    Training(arguments()).run()


if __name__ == "__main__":
    main()
