"""A MusicGen held by audiocraft, behind calls of the shapes that `expotion.musicgen` has.

What is computed is audiocraft's: its `LMModel`, its codec, its T5 conditioner. Here are only argument shapes
(mono sounds without a channel axis, plain prompts) and errors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from expotion.errors import ExpotionError, PluginError, Problem, WeightsError

CONDITION = "description"
"""The name of MusicGen's text condition."""

T = TypeVar("T")


class AudiocraftText:
    """Prompts to the source of cross-attention, by audiocraft's T5 conditioner."""

    def __init__(self, conditioner: Any) -> None:
        self.conditioner = conditioner

    @torch.no_grad()
    def source(self, prompts: Sequence[str | None]) -> Tensor:
        """Prompts, tokenised together, to [B, L, d]: T5, the projection, the mask. None and "" are zeros."""
        values, _ = self.conditioner(self.conditioner.tokenize(list(prompts)))
        return cast(Tensor, values)


class AudiocraftLM:
    """audiocraft's `LMModel`, in eval mode."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()

    def _conditions(self, source: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        return {CONDITION: (source, torch.ones(source.shape[:2], dtype=torch.int64, device=source.device))}

    @torch.no_grad()
    def __call__(self, sequence: Tensor, source: Tensor) -> Tensor:
        """Logits [B, K, S, V] of delayed tokens [B, K, S] and a text source [B, L, d]."""
        return cast(Tensor, self.model(sequence, [], self._conditions(source)))

    @torch.no_grad()
    def predict(self, codes: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """What training scores: logits [B, K, T, V] of codes [B, K, T], NaN where the mask [B, K, T] is false."""
        output = self.model.compute_predictions(codes, [], self._conditions(source))
        return output.logits, output.mask

    @torch.no_grad()
    def generate_codes(
        self,
        prompts: Sequence[str | None],
        n_frames: int,
        *,
        cfg_scale: float = 3.0,
        prompt: Tensor | None = None,
        greedy: bool = False,
        temperature: float = 1.0,
        top_k: int = 250,
        top_p: float = 0.0,
        seed: int = 0,
        on_logits: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Codes int64 [B, K, n_frames] for B prompts, the given `prompt` codes [B, K, P] included.

        Guidance runs [B prompts; B null] tokenised together. `seed` seeds the one generator that audiocraft
        draws all samples from; the caller's is left as it was. `on_logits` sees the raw logits [2B, K, S, V]
        of each call, before guidance.
        """
        if not prompts or n_frames < 1 or (prompt is not None and prompt.shape[2] >= n_frames):
            raise ExpotionError("generation needs a prompt per sample and more frames than the prompt has")
        from audiocraft.modules.conditioners import ConditioningAttributes  # noqa: PLC0415

        conditions = [ConditioningAttributes(text={CONDITION: text}) for text in prompts]
        with torch.random.fork_rng(), _observed(self.model, on_logits):
            torch.manual_seed(seed)
            codes = self.model.generate(
                prompt=prompt,
                conditions=conditions,
                max_gen_len=n_frames,
                use_sampling=not greedy,
                temp=temperature,
                top_k=min(top_k, self.model.card),
                top_p=top_p,
                cfg_coef=cfg_scale,
                check=True,
            )
        return cast(Tensor, codes)


@contextlib.contextmanager
def _observed(model: Any, on_logits: Callable[[Tensor], None] | None) -> Iterator[None]:
    """While the block runs, `on_logits` sees every output of the model."""
    if on_logits is None:
        yield
        return
    hook = model.register_forward_hook(lambda _module, _inputs, logits: on_logits(logits))
    try:
        yield
    finally:
        hook.remove()


class AudiocraftCodec:
    """audiocraft's compression model: sound to codes and back. Mono."""

    def __init__(self, model: Any, settings: dict[str, Any] | None = None) -> None:
        self.model = model.eval()
        self.settings = settings
        """`sample_rate`, `seanet`, `rvq` and `encodec` of its training; None where it came from transformers."""
        self.sample_rate_hz = int(model.sample_rate)
        self.n_codebooks = int(model.num_codebooks)
        self.card = int(model.cardinality)

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return float(self.model.frame_rate)

    @torch.no_grad()
    def encode(self, wave: Tensor) -> Tensor:
        """Samples [n] or [B, n] at `sample_rate_hz` to codes int64 [K, T] or [B, K, T]."""
        codes, _ = self.model.encode(wave[None, None] if wave.dim() == 1 else wave[:, None])
        return cast(Tensor, codes[0] if wave.dim() == 1 else codes)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes [K, T] or [B, K, T] to samples [n] or [B, n]."""
        wave = self.model.decode(codes[None] if codes.dim() == 2 else codes)[:, 0]
        return cast(Tensor, wave[0] if codes.dim() == 2 else wave)


@dataclass(frozen=True)
class AudiocraftMusicGen:
    """The three parts of a MusicGen as audiocraft runs them."""

    lm: AudiocraftLM
    codec: AudiocraftCodec
    text: AudiocraftText
    source: str


def text_conditioner(lm: Any, where: str) -> Any:
    """The T5 conditioner of a text-to-music model; WeightsError for a model with other conditions."""
    conditioners = dict(lm.condition_provider.conditioners)
    if list(conditioners) != [CONDITION] or not hasattr(conditioners[CONDITION], "t5_tokenizer"):
        kinds = {name: type(module).__name__ for name, module in conditioners.items()}
        raise WeightsError(
            Problem(where, f"a MusicGen whose only condition is {CONDITION!r} through T5", repr(kinds))
        )
    return conditioners[CONDITION]


def _attempt(what: str, action: Callable[[], T]) -> T:
    try:
        return action()
    except Exception as error:  # audiocraft has no errors of its own: pickle, OmegaConf, torch and the hub raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise WeightsError(
            Problem(
                what,
                "audiocraft to load it",
                f"{type(error).__name__}: {' '.join(lines[:4])}" if lines else type(error).__name__,
                "a folder needs state_dict.bin and compression_state_dict.bin, as audiocraft.utils.export "
                "writes them; a name is looked up in the hub's cache, then downloaded",
            )
        ) from error


def _codec_settings(loaders: Any, name: str) -> dict[str, Any] | None:
    from omegaconf import OmegaConf  # noqa: PLC0415

    package = loaders.load_compression_model_ckpt(name)
    if "pretrained" in package:
        return None
    config = OmegaConf.create(package["xp.cfg"])
    chosen = {key: config[key] for key in ("sample_rate", "seanet", "rvq", "encodec")}
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in chosen.items()
    }


def load_model(source: str | Path, *, device: str = "cpu") -> AudiocraftMusicGen:
    """See `expotion_audiocraft.load`."""
    try:
        from audiocraft.models import loaders  # noqa: PLC0415 - takes seconds
    except ImportError as error:
        raise PluginError(
            Problem(
                "expotion-audiocraft",
                "audiocraft 1.3.0 to be importable",
                str(error),
                "in a checkout run it with `uv run --group oracle`; elsewhere see the README of this package",
            )
        ) from error
    folder = Path(source).expanduser()
    name = str(folder) if folder.is_dir() else str(source)
    lm = _attempt(f"{name} state_dict.bin", lambda: loaders.load_lm_model(name, device=device))
    what = f"{name} compression_state_dict.bin"
    codec = _attempt(what, lambda: loaders.load_compression_model(name, device=device))
    settings = _attempt(what, lambda: _codec_settings(loaders, name))
    conditioner = text_conditioner(lm, name)
    return AudiocraftMusicGen(AudiocraftLM(lm), AudiocraftCodec(codec, settings), AudiocraftText(conditioner), name)
