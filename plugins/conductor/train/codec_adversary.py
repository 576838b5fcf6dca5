"""The critic of the last stage: small convolutional nets on complex spectra that tell codec from original.

Source: the multi-scale STFT discriminator of Défossez et al., 2022, here with an eighth of its channels and three
windows. Hinge losses, and the distance between the critic's inner features of the two sounds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu
from torch.nn.utils.parametrizations import weight_norm

WINDOWS = (512, 1024, 2048)


class Critic(nn.Module):
    """Scores and features of sounds, one net per window."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.nets = nn.ModuleList([_Net(size, width) for size in WINDOWS])

    def forward(self, sound: Tensor) -> list[list[Tensor]]:
        """Per window the features of each layer; the last is the score. `sound` is [b, 1, samples]."""
        return [net(sound[:, 0]) for net in self.nets]


class _Net(nn.Module):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size))
        layers = [nn.Conv2d(2, width, (3, 9), padding=(1, 4))]
        for dilation in (1, 2, 4):
            padding = (dilation, 4)
            layers.append(nn.Conv2d(width, width, (3, 9), (1, 4), dilation=(dilation, 1), padding=padding))
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)]
        self.layers = nn.ModuleList([weight_norm(layer) for layer in layers])

    def forward(self, sound: Tensor) -> list[Tensor]:
        made = torch.stft(
            sound, self.size, self.size // 4, window=self.window, center=False, normalized=True, return_complex=True
        )
        x = torch.stack([made.real, made.imag], 1).transpose(2, 3)  # [b, 2, frames, bins]
        features = []
        for layer in self.layers[:-1]:
            x = leaky_relu(layer(x), 0.2)
            features.append(x)
        return [*features, self.layers[-1](x)]


def critic_loss(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """What the critic lowers: scores of at least 1 for originals, of at most -1 for the codec's sounds."""
    pairs = zip(real, made, strict=True)
    return torch.stack([relu(1 - r[-1]).mean() + relu(1 + m[-1]).mean() for r, m in pairs]).mean()


def codec_losses(real: list[list[Tensor]], made: list[list[Tensor]]) -> dict[str, Tensor]:
    """What the codec lowers: `fool`, the score it misses, and `match`, how far the features are apart."""
    fool = torch.stack([relu(1 - m[-1]).mean() for m in made]).mean()
    apart = [
        (a.detach() - b).abs().mean() / (a.detach().abs().mean() + 1e-6)
        for r, m in zip(real, made, strict=True)
        for a, b in zip(r[:-1], m[:-1], strict=True)
    ]
    return {"fool": fool, "match": torch.stack(apart).mean()}
