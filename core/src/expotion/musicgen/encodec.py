"""EnCodec's network: a convolutional encoder and decoder with an LSTM each, and residual vector quantisation.

Non-causal, mono, one scale. Modules bear the names that transformers' files give their tensors, so that a file is
filled in as it is. Source: Défossez et al., "High Fidelity Neural Audio Compression", 2022; held against
transformers' EncodecModel bit for bit (tests/musicgen/test_codec.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class EncodecSettings(BaseModel):
    """What decides the network's shape, with transformers' names and defaults.

    Those that take one value only would change what is computed: normalised, chunked, causal or stereo codecs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    target_bandwidths: tuple[PositiveFloat, ...] = (1.5, 3.0, 6.0, 12.0, 24.0)
    sampling_rate: PositiveInt = 24_000
    audio_channels: Literal[1] = 1
    normalize: Literal[False] = False
    chunk_length_s: Literal[None] = None
    hidden_size: PositiveInt = 128
    num_filters: PositiveInt = 32
    num_residual_layers: NonNegativeInt = 1
    upsampling_ratios: tuple[PositiveInt, ...] = (8, 5, 4, 2)
    norm_type: Literal["weight_norm"] = "weight_norm"
    kernel_size: PositiveInt = 7
    last_kernel_size: PositiveInt = 7
    residual_kernel_size: PositiveInt = 3
    dilation_growth_rate: PositiveInt = 2
    use_causal_conv: Literal[False]
    pad_mode: Literal["constant", "reflect", "replicate"] = "reflect"
    compress: PositiveInt = 2
    num_lstm_layers: PositiveInt = 2
    codebook_size: PositiveInt = 1024
    codebook_dim: PositiveInt | None = None
    use_conv_shortcut: bool = True

    @property
    def hop(self) -> int:
        """Samples to a frame."""
        return math.prod(self.upsampling_ratios)

    @property
    def n_codebooks(self) -> int:
        """As many as the largest bandwidth has bits for, at least one."""
        bits_per_s = math.ceil(self.sampling_rate / self.hop) * math.log2(self.codebook_size)
        return max(1, math.floor(self.target_bandwidths[-1] * 1000 / bits_per_s))


class Encodec(nn.Module):
    """Encoder, quantiser and decoder. Weights are what `fill` puts in."""

    def __init__(self, settings: EncodecSettings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = _encoder(settings)
        self.decoder = _decoder(settings)
        self.quantizer = Quantizer(settings)

    @property
    def device(self) -> torch.device:
        """Where the codebooks lie."""
        return cast(Tensor, self.quantizer.layers[0].codebook.embed).device


class _Layers(nn.Module):
    """Layers in a row, under the name that the files give them."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _encoder(own: EncodecSettings) -> _Layers:
    """Sound [B, 1, n] to [B, hidden_size, ceil(n / hop)]: the upsampling ratios from the last to the first."""
    width = own.num_filters
    layers: list[nn.Module] = [_Conv(own, 1, width, own.kernel_size)]
    for ratio in reversed(own.upsampling_ratios):
        layers += _residuals(own, width)
        layers += [nn.ELU(inplace=True), _Conv(own, width, 2 * width, 2 * ratio, stride=ratio)]
        width *= 2
    layers += [_LSTM(width, own.num_lstm_layers), nn.ELU()]
    return _Layers([*layers, _Conv(own, width, own.hidden_size, own.last_kernel_size)])


def _decoder(own: EncodecSettings) -> _Layers:
    """[B, hidden_size, T] to sound [B, 1, T hop]."""
    width = own.num_filters * 2 ** len(own.upsampling_ratios)
    layers: list[nn.Module] = [
        _Conv(own, own.hidden_size, width, own.kernel_size),
        _LSTM(width, own.num_lstm_layers),
    ]
    for ratio in own.upsampling_ratios:
        layers += [nn.ELU(inplace=True), _ConvTranspose(width, width // 2, ratio)]
        width //= 2
        layers += _residuals(own, width)
    return _Layers([*layers, nn.ELU(inplace=True), _Conv(own, width, 1, own.last_kernel_size)])


def _residuals(own: EncodecSettings, width: int) -> list[nn.Module]:
    return [_Residual(own, width, own.dilation_growth_rate**depth) for depth in range(own.num_residual_layers)]


class _Conv(nn.Module):
    """Convolution that keeps ceil(n / stride) frames. Of an odd padding the left side has more."""

    def __init__(
        self, own: EncodecSettings, n_in: int, n_out: int, kernel: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(n_in, n_out, kernel, stride, dilation=dilation))
        padding = (kernel - 1) * dilation + 1 - stride
        self._left, self._right = padding - padding // 2, padding // 2
        self._stride, self._mode = stride, own.pad_mode

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        left, right = self._left, self._right + -n % self._stride
        # a reflection needs more samples than it pads: zeros are lent to short sounds and taken off again
        lent = max(0, max(left, right) + 1 - n) if self._mode == "reflect" else 0
        padded = _padded(_padded(x, 0, lent, "constant"), left, right, self._mode)
        return cast(Tensor, self.conv(padded[..., : padded.shape[-1] - lent]))


def _padded(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """`functional.pad`, which copies the whole sound even where it adds nothing."""
    return nn.functional.pad(x, (left, right), mode) if left or right else x


class _ConvTranspose(nn.Module):
    """Transposed convolution, n frames to n ratio."""

    def __init__(self, n_in: int, n_out: int, ratio: int) -> None:
        super().__init__()
        self.conv = weight_norm(nn.ConvTranspose1d(n_in, n_out, 2 * ratio, ratio))
        self._left, self._right = ratio - ratio // 2, ratio // 2

    def forward(self, x: Tensor) -> Tensor:
        made = cast(Tensor, self.conv(x))
        return made[..., self._left : made.shape[-1] - self._right]


class _LSTM(nn.Module):
    """LSTM over time with a skip."""

    def __init__(self, width: int, n_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, n_layers)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.permute(2, 0, 1)
        return cast(Tensor, self.lstm(steps)[0] + steps).permute(1, 2, 0)


class _Residual(nn.Module):
    """ELU, dilated convolution to fewer channels, ELU, convolution back; beside a skip.

    What nobody reads again is overwritten, here and in `_encoder` and `_decoder`: at the sound's own rate new
    memory costs as much as the ELU.
    """

    def __init__(self, own: EncodecSettings, width: int, dilation: int) -> None:
        super().__init__()
        inner = width // own.compress
        first = _Conv(own, width, inner, own.residual_kernel_size, dilation=dilation)
        self.block = nn.ModuleList([nn.ELU(), first, nn.ELU(inplace=True), _Conv(own, inner, width, 1)])
        self.shortcut: nn.Module = _Conv(own, width, width, 1) if own.use_conv_shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        made = x
        for layer in self.block:
            made = layer(made)
        return made.add_(self.shortcut(x))


class Quantizer(nn.Module):
    """Residual vector quantisation: each codebook's nearest entry to what the ones before left."""

    def __init__(self, own: EncodecSettings) -> None:
        super().__init__()
        self.layers: Any = nn.ModuleList([_Level(own) for _ in range(own.n_codebooks)])

    def encode(self, latent: Tensor) -> Tensor:
        """Codes int64 [K, B, T] of a latent [B, width, T]."""
        left, codes = latent, []
        for level in self.layers:
            codes.append(level.codebook.nearest(left.permute(0, 2, 1)))
            left = left - level.codebook.entries(codes[-1])
        return torch.stack(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """The sum of the entries of codes [K, B, T]: [B, width, T]."""
        total = self.layers[0].codebook.entries(codes[0])
        for level, own in zip(self.layers[1:], codes[1:], strict=False):
            total = total + level.codebook.entries(own)
        return cast(Tensor, total)


class _Level(nn.Module):
    def __init__(self, own: EncodecSettings) -> None:
        super().__init__()
        self.codebook = _Codebook(own.codebook_size, own.codebook_dim or own.hidden_size)


class _Codebook(nn.Module):
    """Entries [n, width]; the other tensors are training's, and stand in every file."""

    inited: Tensor
    cluster_size: Tensor
    embed: Tensor
    embed_avg: Tensor

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.register_buffer("inited", torch.ones(1))
        self.register_buffer("cluster_size", torch.zeros(n))
        self.register_buffer("embed", torch.zeros(n, width))
        self.register_buffer("embed_avg", torch.zeros(n, width))

    def nearest(self, x: Tensor) -> Tensor:
        """Index [...] of the entry nearest to each of [..., width]."""
        rows, entries = x.reshape(-1, x.shape[-1]), self.embed.t()
        distances = rows.pow(2).sum(1, keepdim=True) - 2 * rows @ entries + entries.pow(2).sum(0, keepdim=True)
        return distances.min(dim=-1).indices.view(x.shape[:-1])

    def entries(self, codes: Tensor) -> Tensor:
        """Entries of codes [B, T]: [B, width, T]."""
        return nn.functional.embedding(codes, self.embed).permute(0, 2, 1)
