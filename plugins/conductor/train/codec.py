"""Train the tiny EnCodec of the conductor world: ``uv run python plugins/conductor/train/codec.py``.

Three stages, as quantising from the start teaches a small codec little:
1. encoder and decoder alone, 2. with residual vector quantisation, codebooks started by k-means and moved by
exponential averages, gradients straight through, 3. the decoder alone on the codes that stage 2 left. From the end
of stage 2 on the codes are final, so the language model's data can be made while stage 3 runs.

The result is a folder that ``transformers.EncodecModel.from_pretrained`` reads. ``--resume`` goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from codec_loss import SpectralLoss
from codec_quantise import Quantiser
from common import Budget, log_section, render_clips, save_torch
from torch import Tensor, nn

from expotion_conductor.plan import LM_AND_CODEC_SEEDS

RATE_HZ = 32_000
STAGES = ("continuous", "quantised", "decoder")
STAGE_ENDS = (0.4, 0.8, 1.0)


def build_codec(n_filters: int = 12) -> nn.Module:
    """An EnCodec in MusicGen's geometry: 32 kHz, hop 640 (50 Hz), 4 codebooks, here of 256 entries."""
    from transformers import EncodecConfig, EncodecModel  # noqa: PLC0415

    config = EncodecConfig(
        sampling_rate=RATE_HZ,
        audio_channels=1,
        normalize=False,
        target_bandwidths=[1.6],  # kbit/s: 4 codebooks x 8 bit x 50 Hz
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=n_filters,
        hidden_size=32,
        codebook_size=256,
        codebook_dim=32,
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

    def flow() -> None:
        codec.decoder(codec.encoder(sound))

    for part in (codec.encoder, codec.decoder):
        convolutions = [m for m in part.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
        for convolution in convolutions:
            last = part is codec.decoder and convolution is convolutions[-1]
            in_residual = convolution.kernel_size == (1,)
            wanted = float(sound.std()) * 0.5 if last else 0.5 if in_residual else 1.0
            seen: list[Tensor] = []
            hook = convolution.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out))
            flow()
            hook.remove()
            scale = wanted / float(seen[0].std())
            convolution.parametrizations.weight.original0.mul_(scale)
            # Weight norm leaves the length of this free; it sets how fast the direction can turn. Without it the
            # small weights of wide layers turn by a tenth per step and the training runs away.
            direction = convolution.parametrizations.weight.original1
            direction.mul_(0.1 / direction.square().mean().sqrt())
            convolution.bias.copy_(scale * (convolution.bias - seen[0].mean((0, 2))))


class Crops:
    """Random crops of rendered clips, float32 [batch, 1, samples]."""

    def __init__(self, n_clips: int, crop_s: float, seed: int) -> None:
        self.sound = render_clips(range(LM_AND_CODEC_SEEDS, LM_AND_CODEC_SEEDS + n_clips), 10.0)
        self.length, self.seed = round(crop_s * RATE_HZ), seed

    def batch(self, size: int, step: int) -> Tensor:
        """The batch of one step; the same for the same seed, also after a resume."""
        rng = np.random.default_rng([self.seed, step])
        rows = rng.integers(len(self.sound), size=size)
        starts = rng.integers(self.sound.shape[1] - self.length, size=size)
        cut = np.stack([self.sound[r, s : s + self.length] for r, s in zip(rows, starts, strict=True)])
        return torch.from_numpy(cut.astype(np.float32) / 32767.0)[:, None]


def stage_of(progress: float) -> int:
    """0, 1 or 2."""
    return next(i for i, end in enumerate(STAGE_ENDS) if progress < end or end == 1.0)


def learning_rate(progress: float, steps_in_stage: int, peak: float) -> float:
    """Per stage: a warm-up counted in steps, then a cosine to a seventh (to zero in the last stage)."""
    stage = stage_of(progress)
    start = STAGE_ENDS[stage - 1] if stage else 0.0
    within = (progress - start) / (STAGE_ENDS[stage] - start)
    low = 0.0 if stage == 2 else 0.15
    cosine = low + (1 - low) * 0.5 * (1 + np.cos(np.pi * within))
    warm = min(1.0, (steps_in_stage + 1) / (60, 30, 30)[stage])
    return float(peak * (1.0, 0.6, 0.7)[stage] * cosine * warm)


def learn(
    codec: nn.Module,
    quantiser: Quantiser,
    loss_of: SpectralLoss,
    sound: Tensor,
    stage: int,
    step: int,
    *,
    bf16: bool,
) -> dict[str, float]:
    """Forward and backward of one step; returns the losses."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        with torch.set_grad_enabled(stage < 2):
            latent = codec.encoder(sound).float()
        # The scale of the latent may run away in the first steps; this holds it near one.
        runaway = 0.01 * (latent.square().mean() - 1.5).relu()
        commitment = sound.new_zeros(())
        if stage:
            latent, commitment = quantiser.apply(latent, learn=stage == 1, step=step)
        heard = codec.decoder(latent)
    losses = loss_of(heard.float(), sound) | {"commit": commitment}
    weights = {"mel": 1.0, "stft": 4.0, "wave": 0.3, "commit": 0.5}
    (sum(weight * losses[name] for name, weight in weights.items()) + runaway).backward()
    return {name: float(value.detach()) for name, value in losses.items()}


def train(args: argparse.Namespace) -> None:
    """The whole training, from the first clip to the log."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    out = Path(args.out)
    crops = Crops(args.clips, args.crop_s, args.seed)
    budget = Budget(args.minutes, args.steps)
    codec = build_codec(args.filters)
    start_from_data(codec, crops.batch(16, 30_000_000))
    quantiser = Quantiser(codec)
    loss_of = SpectralLoss(RATE_HZ)
    optimiser = torch.optim.AdamW(codec.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.0)
    checkpoint, stage, stage_start, history = out / "checkpoint.pt", 0, 0, []
    if args.resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        codec.load_state_dict(state["codec"])
        optimiser.load_state_dict(state["optimiser"])
        budget.restore(state["budget"])
        stage, history = state["stage"], state["history"]
        if args.more_decoder:
            budget = Budget(args.more_decoder, None, budget.done_steps, starts_at=STAGE_ENDS[1])
            stage, stage_start = 2, budget.done_steps
    average: dict[str, float] = {}
    saved = time.monotonic()
    for step in budget.run():
        now = stage_of(budget.progress)
        if now > stage:
            print(f"stage {STAGES[now]} from step {step}", flush=True)
            if now == 1:
                quantiser.start(crops, args.batch)
            if now == 2:
                export(codec, out, codes_final=True)
            stage, stage_start = now, step
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.progress, step - stage_start, args.lr)
        sound = crops.batch(args.batch, step)
        losses = learn(codec, quantiser, loss_of, sound, stage, step, bf16=args.bf16)
        nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        for name, value in losses.items():
            average[name] = 0.97 * average.get(name, value) + 0.03 * value
        if step % args.log_every == 0:
            row = {"step": step, "stage": STAGES[stage], "minutes": round(budget.elapsed_s / 60, 2)}
            history.append(row | {k: round(v, 4) for k, v in average.items()})
            print(json.dumps(history[-1]), flush=True)
        if time.monotonic() - saved > args.save_every_s:
            save(codec, optimiser, budget, stage, history, checkpoint)
            saved = time.monotonic()
    save(codec, optimiser, budget, stage, history, checkpoint)
    export(codec, out, codes_final=True)
    if not args.smoke:
        log(args, budget, history, quantiser.usage(crops, args.batch), codec)


def save(codec, optimiser, budget, stage, history, path: Path) -> None:
    """A checkpoint from which ``--resume`` goes on."""
    state = {"codec": codec.state_dict(), "optimiser": optimiser.state_dict(), "budget": budget.state()}
    save_torch(state | {"stage": stage, "history": history}, path)


def export(codec: nn.Module, out: Path, *, codes_final: bool) -> None:
    """The folder that transformers reads."""
    codec.save_pretrained(out / "codec")
    if codes_final:
        (out / "codes_final").touch()


def log(args: argparse.Namespace, budget: Budget, history: list, usage: list[str], codec: nn.Module) -> None:
    """The section of the training log."""
    count = sum(p.numel() for p in codec.parameters()) / 1e6
    rows = [history[round(i * (len(history) - 1) / 14)] for i in range(15)]
    keys = ("step", "minutes", "stage", "mel", "stft", "wave", "commit")
    log_section(
        "Codec",
        [
            f"`train/codec.py --minutes {args.minutes:g} --seed {args.seed}`: {count:.2f} M parameters, "
            f"{budget.done_steps} steps of {args.batch} x {args.crop_s:g} s from {args.clips} clips (seeds from "
            f"{LM_AND_CODEC_SEEDS}) in {budget.elapsed_s / 60:.1f} min on {args.threads} thread(s).",
            "",
            "Entries in use and perplexity per codebook: " + "; ".join(usage) + ".",
            "",
            "| " + " | ".join(keys) + " |",
            "|" + "---|" * len(keys),
            *("| " + " | ".join(str(row[k]) for k in keys) + " |" for row in rows),
        ],
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=18.0, help="wall time of the training")
    parser.add_argument("--steps", type=int, help="a number of steps instead of minutes, for exact repeats")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/conductor-train")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--more-decoder", type=float, help="with --resume: minutes more for the decoder alone")
    parser.add_argument("--smoke", action="store_true", help="a few steps on a few clips, in seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", type=int, default=800)
    parser.add_argument("--filters", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop-s", type=float, default=0.8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--log-every", type=int, default=25)
    parser.add_argument("--save-every-s", type=float, default=120.0)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=False)
    args = parser.parse_args()
    if args.smoke:
        args.steps, args.clips, args.filters, args.batch, args.log_every = 8, 3, 4, 2, 1
    train(args)


if __name__ == "__main__":
    main()
