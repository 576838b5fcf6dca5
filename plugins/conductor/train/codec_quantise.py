"""Residual vector quantisation for training: k-means start, straight-through gradients, averaged codebooks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Quantiser:
    """Works on the codebooks of a transformers ``EncodecModel`` in place."""

    def __init__(self, codec: nn.Module, decay: float = 0.98, drop: float = 0.15) -> None:
        self.codec, self.decay, self.drop = codec, decay, drop
        self.books = [layer.codebook for layer in codec.quantizer.layers]

    @torch.no_grad()
    def start(self, crops: Any, batch: int, n_batches: int = 40) -> None:
        """Fit the codebooks one after the other to the residuals of fresh batches."""
        latents = [self.codec.encoder(crops.batch(batch, 10_000_000 + i)) for i in range(n_batches)]
        residual = torch.cat(latents).transpose(1, 2).reshape(-1, latents[0].shape[1])
        for book in self.books:
            centres = k_means(residual, len(book.embed))
            book.embed.copy_(centres)
            book.embed_avg.copy_(centres)
            book.cluster_size.fill_(1.0)
            book.inited.fill_(True)
            residual = residual - centres[nearest(residual, centres)]

    def apply(self, latent: Tensor, *, learn: bool, step: int) -> tuple[Tensor, Tensor]:
        """Quantise float32 [batch, width, frames]; returns the quantised latent and the commitment loss.

        While learning, some rows use fewer codebooks, so that the first ones carry the most.
        """
        flat = latent.transpose(1, 2)  # [batch, frames, width]
        rng = torch.Generator().manual_seed(step)
        n_rows, n_books = len(flat), len(self.books)
        n_used = torch.full((n_rows,), n_books)
        if learn:
            fewer = torch.rand(n_rows, generator=rng) < self.drop
            n_used = torch.where(fewer, torch.randint(1, n_books, (n_rows,), generator=rng), n_used)
        total, commitment = torch.zeros_like(flat), flat.new_zeros(())
        residual = flat
        for level, book in enumerate(self.books):
            rows = residual.detach().reshape(-1, flat.shape[2])
            chosen = nearest(rows, book.embed)
            value = book.embed[chosen].view_as(flat)
            if learn:
                self._move(book, rows, chosen, rng)
                commitment = commitment + (residual - value).square().mean()
            total = total + value * (n_used > level)[:, None, None]
            residual = residual - value
        straight = flat + (total - flat).detach()
        return straight.transpose(1, 2), commitment / n_books

    @torch.no_grad()
    def _move(self, book: Any, rows: Tensor, chosen: Tensor, rng: torch.Generator) -> None:
        counts = torch.bincount(chosen, minlength=len(book.embed)).float()
        sums = torch.zeros_like(book.embed).index_add_(0, chosen, rows)
        book.cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        book.embed_avg.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        dead = book.cluster_size < 0.02
        if dead.any():  # an entry that nothing chooses starts again at a random residual
            pick = torch.randint(len(rows), (int(dead.sum()),), generator=rng)
            book.embed_avg[dead] = rows[pick] * 0.5
            book.cluster_size[dead] = 0.5
        book.embed.copy_(book.embed_avg / book.cluster_size[:, None])

    @torch.no_grad()
    def usage(self, crops: Any, batch: int, n_batches: int = 20) -> list[str]:
        """Per codebook: entries in use and perplexity over fresh batches."""
        sound = torch.cat([crops.batch(batch, 20_000_000 + i) for i in range(n_batches)])
        codes = self.codec.encode(sound).audio_codes[0]  # [batch, books, frames]
        report = []
        for book in codes.transpose(0, 1):
            share = torch.bincount(book.reshape(-1), minlength=256).float()
            share = share / share.sum()
            perplexity = float(torch.exp(-(share * (share + 1e-9).log()).sum()))
            report.append(f"{int((share > 0).sum())} ({perplexity:.0f})")
        return report


def nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """Index of the closest centre by Euclidean distance; [n, w] and [k, w] -> [n]."""
    return (centres.square().sum(1) - 2.0 * rows.float() @ centres.T.float()).argmin(1)


def k_means(rows: Tensor, k: int, rounds: int = 15) -> Tensor:
    """Plain k-means from random rows; an empty cluster starts again at a random row. [n, w] -> [k, w]."""
    rng = torch.Generator().manual_seed(0)
    centres = rows[torch.randint(len(rows), (k,), generator=rng)].clone()
    for _ in range(rounds):
        chosen = nearest(rows, centres)
        counts = torch.bincount(chosen, minlength=k).float()
        sums = torch.zeros_like(centres).index_add_(0, chosen, rows)
        fresh = rows[torch.randint(len(rows), (k,), generator=rng)]
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1.0)[:, None], fresh)
    return centres
