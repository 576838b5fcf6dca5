"""The adaptor's and the model's equations in float64, one sum at a time, beside which the fast form is held.

Nothing here is shared with the fast form but the weights.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf


def layer_norm(x, weight, bias):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def attention(q, k, v, n_heads, causal):
    """q [S, d], k and v [R, d], head by head and row by row: [S, d]."""
    size = q.shape[1] // n_heads
    out = np.zeros_like(q)
    for head in range(n_heads):
        part = slice(head * size, (head + 1) * size)
        for row in range(len(q)):
            last = row + 1 if causal else len(k)
            scores = k[:last, part] @ q[row, part] / math.sqrt(size)
            weights = np.exp(scores - scores.max())
            out[row, part] = weights @ v[:last, part] / weights.sum()
    return out


def positions(n, width):
    table = np.zeros((n, width))
    for p in range(n):
        for j in range(width // 2):
            angle = p / 10000 ** (j / (width // 2 - 1))
            table[p, j], table[p, width // 2 + j] = math.cos(angle), math.sin(angle)
    return table


def prefix_stream(lm, adaptor, config, latents):
    """latents(layer) [R, r] for one clip; returns (q, k, v) [R, d] of each adapted layer."""
    d, heads = config.width, lm["n_heads"]
    n_rows = len(latents(0))
    sinus = positions(n_rows, d)
    start = adaptor["embedding.start"]
    hidden = start[:n_rows] if config.start == "table" else start[None] + sinus
    kept = []
    for index in range(config.n_adapted):
        w = {name: lm[f"layers.{config.first_adapted_layer + index}.{name}"] for name in lm["names"]}
        z = latents(index)
        fusion = adaptor["embedding.fusion"][index if config.fusion == "per_layer" else 0]
        if config.positions == "fused":
            embedded = (z + adaptor["embedding.position_table"][:n_rows]) @ fusion.T
        elif config.positions == "table":
            embedded = z @ fusion.T + adaptor["embedding.position_table"][index, :n_rows]
        else:
            embedded = z @ fusion.T + adaptor["embedding.position_scale"][index] * sinus
        whole = config.prefix_block == "layer"
        normed = layer_norm(hidden, w["norm1.weight"], w["norm1.bias"]) if whole else hidden
        fused = (normed + embedded) @ w["qkv.weight"].T
        q, k, v = fused[:, :d], fused[:, d : 2 * d], fused[:, 2 * d :]
        kept.append((q, k, v))
        out = attention(q, k, v, heads, config.prefix_attention == "causal") @ w["out.weight"].T
        if whole:
            middle = hidden + out
            inner = gelu(layer_norm(middle, w["norm2.weight"], w["norm2.bias"]) @ w["ffn_in.weight"].T)
            hidden = middle + inner @ w["ffn_out.weight"].T
        else:
            hidden = out
    return kept


def model_hidden(lm, config, embedded, source, prefix, gates, active):
    """One clip: embedded tokens [S, d], text source [L, d]; prefix as above or None; active bool [R]."""
    d, heads = config.width, lm["n_heads"]
    x = embedded + positions(len(embedded), d)
    for index in range(config.n_lm_layers):
        w = {name: lm[f"layers.{index}.{name}"] for name in lm["names"]}
        fused = layer_norm(x, w["norm1.weight"], w["norm1.bias"]) @ w["qkv.weight"].T
        q, k, v = fused[:, :d], fused[:, d : 2 * d], fused[:, 2 * d :]
        attended = attention(q, k, v, heads, True)
        adapted = index - config.first_adapted_layer
        if prefix is not None and adapted >= 0:
            qp, kp, vp = prefix[adapted]
            rows = np.minimum(np.arange(len(x)), len(qp) - 1)
            steered = attention(q + qp[rows], kp, vp, heads, False)
            attended = attended + gates[adapted] * active[rows, None] * steered
        x = x + attended @ w["out.weight"].T
        text = source @ w["cross_kv.weight"].T
        query = layer_norm(x, w["norm_cross.weight"], w["norm_cross.bias"]) @ w["cross_q.weight"].T
        x = x + attention(query, text[:, :d], text[:, d:], heads, False) @ w["cross_out.weight"].T
        inner = gelu(layer_norm(x, w["norm2.weight"], w["norm2.bias"]) @ w["ffn_in.weight"].T)
        x = x + inner @ w["ffn_out.weight"].T
    return layer_norm(x, lm["norm_out.weight"], lm["norm_out.bias"])


def latent(values, weight, null, strength, mean, scale):
    """z = n + a (W (f - mean) / scale - n) row by row: values [R, D] to [R, r]."""
    rows = [null + a * (weight @ ((f - mean) / scale) - null) for f, a in zip(values, strength, strict=True)]
    return np.stack(rows)
