"""Residual vector quantisation for training: k-means start, straight-through gradients, averaged codebooks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

DECAY = 0.99
"""Of the averages that move an entry towards what chooses it."""
FEWER = 0.1
"""Share of training rows that use fewer codebooks than all, so that the first ones carry the most."""
DEAD = 0.05
"""An entry that fewer rows a step choose than this, on average, starts again at a random residual."""


class Quantiser:
    """Works on the codebooks of a transformers `EncodecModel` in place. Latents are [batch, frames, width]."""

    def __init__(self, codec: nn.Module) -> None:
        self.books = [layer.codebook for layer in codec.quantizer.layers]

    @torch.no_grad()
    def start(self, latents: Tensor) -> None:
        """Fit the codebooks one after the other to the residuals of latents [n, width]."""
        residual = latents
        for book in self.books:
            centres = k_means(residual, len(book.embed))
            chosen = nearest(residual, centres)
            book.embed.copy_(centres)
            book.cluster_size.copy_(_counts(chosen, len(centres)) * (512 / len(residual)))
            book.cluster_size.clamp_(min=2 * DEAD)
            book.embed_avg.copy_(centres * book.cluster_size[:, None])
            book.inited.fill_(True)
            residual = residual - centres[chosen]

    def apply(self, latent: Tensor, *, learn: bool, step: int) -> tuple[Tensor, Tensor]:
        """The quantised latent, with the gradient of the latent, and the commitment loss."""
        rng = torch.Generator().manual_seed(step)
        n_rows, n_books = len(latent), len(self.books)
        n_used = torch.full((n_rows,), n_books)
        if learn:
            fewer = torch.rand(n_rows, generator=rng) < FEWER
            n_used = torch.where(fewer, torch.randint(1, n_books, (n_rows,), generator=rng), n_used)
        used = n_used.to(latent.device)
        total, commitment = torch.zeros_like(latent), latent.new_zeros(())
        residual = latent
        for level, book in enumerate(self.books):
            rows = residual.detach().flatten(0, 1)
            chosen = nearest(rows, book.embed)
            value = book.embed[chosen].view_as(latent)
            if learn:
                commitment = commitment + (residual - value).square().mean() / n_books
                _move(book, rows, chosen, rng)
            total = total + value * (used > level)[:, None, None]
            residual = residual - value
        return latent + (total - latent).detach(), commitment

    @torch.no_grad()
    def usage(self, latent: Tensor) -> list[float]:
        """Perplexity of each codebook over a latent."""
        residual, found = latent.flatten(0, 1), []
        for book in self.books:
            chosen = nearest(residual, book.embed)
            share = _counts(chosen, len(book.embed)) / len(residual)
            found.append(round(float(torch.exp(-(share * (share + 1e-9).log()).sum())), 1))
            residual = residual - book.embed[chosen]
        return found


def _counts(chosen: Tensor, k: int) -> Tensor:
    return torch.bincount(chosen, minlength=k).float()


@torch.no_grad()
def _move(book: Any, rows: Tensor, chosen: Tensor, rng: torch.Generator) -> None:
    sums = torch.zeros_like(book.embed).index_add_(0, chosen, rows)
    book.cluster_size.mul_(DECAY).add_(_counts(chosen, len(book.embed)), alpha=1 - DECAY)
    book.embed_avg.mul_(DECAY).add_(sums, alpha=1 - DECAY)
    dead = book.cluster_size < DEAD
    if dead.any():
        pick = torch.randint(len(rows), (int(dead.sum()),), generator=rng).to(rows.device)
        book.embed_avg[dead] = rows[pick] * (4 * DEAD)
        book.cluster_size[dead] = 4 * DEAD
    book.embed.copy_(book.embed_avg / book.cluster_size[:, None])


def nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """Index of the closest centre by Euclidean distance; [n, w] and [k, w] -> [n]."""
    return (centres.square().sum(1) - 2.0 * rows.float() @ centres.T.float()).argmin(1)


def k_means(rows: Tensor, k: int, rounds: int = 12) -> Tensor:
    """Plain k-means from random rows; an empty cluster starts again at a random row. [n, w] -> [k, w]."""
    rng = torch.Generator().manual_seed(0)
    centres = rows[torch.randint(len(rows), (k,), generator=rng).to(rows.device)].clone()
    for _ in range(rounds):
        chosen = nearest(rows, centres)
        counts = _counts(chosen, k)
        sums = torch.zeros_like(centres).index_add_(0, chosen, rows)
        fresh = rows[torch.randint(len(rows), (k,), generator=rng).to(rows.device)]
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1.0)[:, None], fresh)
    return centres
