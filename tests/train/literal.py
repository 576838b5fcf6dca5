"""The training loss in float64, one code at a time, beside which the fast form is held.

Nothing here is shared with the fast form but the weights. B clips, K codebooks, T frames, V entries; codebook k is
k steps late: its frame f stands at position f + k + 1 of what the model reads and is predicted at position f + k.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def history(codes, n_frames, donors, donor_frames, foreign, special):
    """What the model reads, int [B, K, T + 1]: own codes, or a donor's where `foreign` [B, T], up to their ends."""
    n_clips, n_codebooks, longest = codes.shape
    read = np.full((n_clips, n_codebooks, longest + 1), special)
    for b, k, f in itertools.product(range(n_clips), range(n_codebooks), range(longest)):
        source, length = (donors, donor_frames[b]) if foreign[b, f] else (codes, n_frames[b])
        if f < length and f + k + 1 <= longest:
            read[b, k, f + k + 1] = source[b, k, f]
    return read


def own_and_real(n_frames, foreign, n_codebooks):
    """Which codes may count, bool [B, K, T]: those of the clip itself, before its end."""
    n_clips, longest = foreign.shape
    counts = np.zeros((n_clips, n_codebooks, longest), dtype=bool)
    for b, k, f in itertools.product(range(n_clips), range(n_codebooks), range(longest)):
        counts[b, k, f] = f < n_frames[b] and not foreign[b, f]
    return counts


def loss(hidden, heads, codes, counts):
    """Mean of -log p in nats over the codes that count, its gradient like hidden, and how many these are.

    hidden [B, T + 1, d], heads [K, V, d], codes int and counts bool [B, K, T].
    """
    n_clips, n_codebooks, longest = codes.shape
    total, n = 0.0, 0
    slope = np.zeros_like(hidden)
    for b, k, f in itertools.product(range(n_clips), range(n_codebooks), range(longest)):
        position, code = f + k, codes[b, k, f]
        if not counts[b, k, f] or position + 1 > longest:  # the model never read that far
            continue
        logits = heads[k] @ hidden[b, position]
        mass = np.exp(logits - logits.max())
        p = mass / mass.sum()
        total -= math.log(p[code])
        n += 1
        slope[b, position] += heads[k].T @ (p - np.eye(len(p))[code])
    return total / n, slope / n, n
