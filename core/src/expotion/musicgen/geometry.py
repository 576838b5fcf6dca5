"""Sizes of a MusicGen language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expotion.errors import Problem, WeightsError


@dataclass(frozen=True)
class Chroma:
    """What a melody model is given of a melody: `length` rows of `width` pitch classes, from windows of samples."""

    width: int = 12
    length: int = 235
    window: int = 16_384
    sample_rate_hz: int = 32_000


@dataclass(frozen=True)
class LMGeometry:
    """Sizes of the language model. `text_width` is None where the text source has the model's own width.

    `channels` is 2 for stereo, whose codebooks are left, right, left, right, ... `delays` says how many steps late
    each codebook is; without it codebook k of each channel is k steps late. `chroma` makes a melody model: chroma
    and text stand in front of the sequence, and there is no cross-attention.
    """

    width: int
    n_layers: int
    n_heads: int
    ffn_width: int
    n_codebooks: int
    card: int
    text_width: int | None
    channels: int = 1
    delays: tuple[int, ...] = ()
    chroma: Chroma | None = None

    def __post_init__(self) -> None:
        for name in ("width", "n_layers", "n_heads", "ffn_width", "n_codebooks", "card"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                wanted = f"{name} to be a positive integer"
                raise WeightsError(Problem("model configuration", wanted, repr(value)))
        if self.width % self.n_heads or self.width % 2:
            wanted = "the width to be even and divisible by the number of heads"
            got = f"width {self.width}, heads {self.n_heads}"
            raise WeightsError(Problem("model configuration", wanted, got))
        if self.channels not in (1, 2) or self.n_codebooks % self.channels:
            got = f"{self.channels} channels, {self.n_codebooks} codebooks"
            raise WeightsError(
                Problem("model configuration", "one channel, or two with as many codebooks each", got)
            )
        if not self.delays:
            object.__setattr__(self, "delays", tuple(k // self.channels for k in range(self.n_codebooks)))
        if len(self.delays) != self.n_codebooks or min(self.delays) < 0:
            wanted = f"{self.n_codebooks} delays of at least 0"
            raise WeightsError(Problem("model configuration", wanted, repr(list(self.delays))))

    @property
    def head_width(self) -> int:
        """Width of one attention head, d / h."""
        return self.width // self.n_heads

    @property
    def special_token(self) -> int:
        """The token where a codebook has no frame yet: the number of codes V."""
        return self.card

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], where: str = "config.json") -> LMGeometry:
        """Read the `config.json` of transformers' MusicGen, the full model's or the decoder's.

        Settings that would change the computation (another activation, scaled embeddings) are refused with a
        WeightsError that names all of them.
        """
        decoder = config.get("decoder", config)
        fixed = {"activation_function": "gelu", "scale_embedding": False}
        problems = [
            Problem(f"{where} decoder.{key}", f"to be {wanted!r}", repr(decoder[key]))
            for key, wanted in fixed.items()
            if decoder.get(key, wanted) != wanted
        ]
        names = {
            "width": ("hidden_size", 1024),
            "n_layers": ("num_hidden_layers", 24),
            "n_heads": ("num_attention_heads", 16),
            "ffn_width": ("ffn_dim", 4096),
            "n_codebooks": ("num_codebooks", 4),
            "card": ("vocab_size", 2048),
            "channels": ("audio_channels", 1),
        }
        sizes: dict[str, int] = {}
        for name, (key, default) in names.items():
            value = decoder.get(key, default)
            if isinstance(value, bool) or not isinstance(value, int):
                problems.append(Problem(f"{where} decoder.{key}", "an integer", repr(value)))
            else:
                sizes[name] = value
        if problems:
            raise WeightsError(problems)
        text = config.get("text_encoder")
        text_width = text.get("d_model", text.get("hidden_size", 512)) if isinstance(text, Mapping) else None
        if text_width == sizes["width"]:
            text_width = None  # transformers has no projection between equal widths
        chroma = None
        if config.get("model_type") == "musicgen_melody":
            chroma = Chroma(int(config.get("num_chroma", 12)), int(config.get("chroma_length", 235)))
        return cls(text_width=text_width, delays=(), chroma=chroma, **sizes)


SMALL = LMGeometry(1024, 24, 16, 4096, 4, 2048, 768)
MEDIUM = LMGeometry(1536, 48, 24, 6144, 4, 2048, 768)
LARGE = LMGeometry(2048, 48, 32, 8192, 4, 2048, 768)
