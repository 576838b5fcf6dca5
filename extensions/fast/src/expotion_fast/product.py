"""Products of packed matrices with a few rows: each weight is read from memory once, whatever the rows.

A matrix [n, k] is cut into tiles of 64 outputs that lie in memory in the order in which they are read (layout.py).
Two rows at a time meet a tile, which stays in the second-level cache for the next two. float32 and bfloat16 weights
are multiplied in float32. int8 weights are multiplied by inputs of 16 bits, exactly:

    X = round(32512 x / a) + 32896, a = max|x|;   X = 256 H + L, two unsigned bytes
    W x = s a / 32512 (256 (Q H - 128 sum Q) + (Q L - 128 sum Q))

so one row is two rows of an integer product, and the correction is where the sums start. Of many rows (a prefix,
once per clip) arithmetic and not memory is the limit; there inputs have 8 bits, on a scale of each row's own:

    X = round(255 (x - b) / r), b = min x, r = max x - b;   W x = s (r / 255 Q X + b sum Q)
"""

from __future__ import annotations

from expotion_fast.arithmetic import gelu
from expotion_fast.compile import kernel
from expotion_fast.sharing import next_piece
from expotion_fast.simd import (
    LANES,
    add,
    arrive,
    dot,
    every,
    every_whole,
    fma,
    larger,
    largest,
    load,
    load_bf16,
    load_whole,
    magnitude,
    mul,
    no_sums,
    number,
    prefetch,
    put,
    smaller,
    smallest,
    store,
    store_bytes,
    store_halves,
    sub,
    to_floats,
)

TILE = 64
"""Outputs of a tile."""
FLOAT32, BFLOAT16, INT8 = 4, 2, 1
"""Kinds of weights, by their bytes."""
STORE, ADD, GELU = 0, 1, 2
"""What becomes of a product."""
AHEAD = 2048
"""Bytes between what is multiplied and what is asked for."""


@kernel
def input_bytes(kind, k):  # type: ignore[no-untyped-def]
    """Bytes that one row of `k` inputs takes as a product reads it (k a multiple of 64)."""
    return 2 * k + 64 if kind == INT8 else 4 * k


@kernel
def take(kind, x, k, out):  # type: ignore[no-untyped-def]
    """Lay out `k` floats at x for a product."""
    if kind != INT8:
        for i in range(0, k, LANES):
            store(out + 4 * i, load(x + 4 * i))
        return
    top = every(1e-20)
    for i in range(0, k, LANES):
        top = larger(top, magnitude(load(x + 4 * i)))
    bound = largest(top)
    scale = every(32512.0 / bound)
    for i in range(0, k, LANES):
        store_halves(out + i, out + k + i, fma(load(x + 4 * i), scale, every(32896.5)))
    put(out + 2 * k, bound / 32512.0)


@kernel
def finish(out, value, then):  # type: ignore[no-untyped-def]
    """Sixteen outputs to where they belong."""
    if then == ADD:
        store(out, add(load(out), value))
    elif then == GELU:
        store(out, gelu(value))
    else:
        store(out, value)


@kernel
def float_pair(kind, w, k, x, y, out_x, out_y, then):  # type: ignore[no-untyped-def]
    """64 outputs for rows at x and y; w [k, 64]."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = every(0.0)
    for i in range(0, 4 * k, 4):
        if kind == FLOAT32:
            for line in range(4):
                prefetch(w + AHEAD + 64 * line)
            w0, w1, w2, w3 = load(w), load(w + 64), load(w + 128), load(w + 192)
            w += 256
        else:
            prefetch(w + AHEAD)
            prefetch(w + AHEAD + 64)
            w0, w1 = load_bf16(w), load_bf16(w + 32)
            w2, w3 = load_bf16(w + 64), load_bf16(w + 96)
            w += 128
        u, v = every(number(x + i)), every(number(y + i))
        a0, a1, a2, a3 = fma(w0, u, a0), fma(w1, u, a1), fma(w2, u, a2), fma(w3, u, a3)
        b0, b1, b2, b3 = fma(w0, v, b0), fma(w1, v, b1), fma(w2, v, b2), fma(w3, v, b3)
    finish(out_x, a0, then)
    finish(out_x + 64, a1, then)
    finish(out_x + 128, a2, then)
    finish(out_x + 192, a3, then)
    if out_y != out_x:
        finish(out_y, b0, then)
        finish(out_y + 64, b1, then)
        finish(out_y + 128, b2, then)
        finish(out_y + 192, b3, then)


@kernel
def joined(high, low, scale, amount, out, then):  # type: ignore[no-untyped-def]
    """Sixteen outputs from the sums of the high and of the low bytes."""
    both = fma(to_floats(high), every(256.0), to_floats(low))
    finish(out, mul(both, mul(load(scale), every(amount))), then)


@kernel
def byte_pair(w, scale, k, x, y, out_x, out_y, then):  # type: ignore[no-untyped-def]
    """64 outputs for rows at x and y; w [k / 4, 64, 4]; scale: 64 floats, then 64 whole numbers -128 sum Q."""
    a0 = b0 = c0 = d0 = load_whole(scale + 256)
    a1 = b1 = c1 = d1 = load_whole(scale + 320)
    a2 = b2 = c2 = d2 = load_whole(scale + 384)
    a3 = b3 = c3 = d3 = load_whole(scale + 448)
    for i in range(0, k, 4):
        for line in range(4):
            prefetch(w + AHEAD + 64 * line)
        w0, w1, w2, w3 = load_whole(w), load_whole(w + 64), load_whole(w + 128), load_whole(w + 192)
        w += 256
        u, v = every_whole(x + i), every_whole(x + k + i)
        a0, a1, a2, a3 = dot(a0, u, w0), dot(a1, u, w1), dot(a2, u, w2), dot(a3, u, w3)
        b0, b1, b2, b3 = dot(b0, v, w0), dot(b1, v, w1), dot(b2, v, w2), dot(b3, v, w3)
        u, v = every_whole(y + i), every_whole(y + k + i)
        c0, c1, c2, c3 = dot(c0, u, w0), dot(c1, u, w1), dot(c2, u, w2), dot(c3, u, w3)
        d0, d1, d2, d3 = dot(d0, v, w0), dot(d1, v, w1), dot(d2, v, w2), dot(d3, v, w3)
    amount = number(x + 2 * k)
    joined(a0, b0, scale, amount, out_x, then)
    joined(a1, b1, scale + 64, amount, out_x + 64, then)
    joined(a2, b2, scale + 128, amount, out_x + 128, then)
    joined(a3, b3, scale + 192, amount, out_x + 192, then)
    if out_y != out_x:
        amount = number(y + 2 * k)
        joined(c0, d0, scale, amount, out_y, then)
        joined(c1, d1, scale + 64, amount, out_y + 64, then)
        joined(c2, d2, scale + 128, amount, out_y + 128, then)
        joined(c3, d3, scale + 192, amount, out_y + 192, then)


@kernel
def product(kind, w, scale, n, k, x, rows, out, stride, then, counters, part, parts):  # type: ignore[no-untyped-def]
    """This part's tiles of W x: row j of x (laid out by `take`) to row rows[j] of out, `stride` floats apart."""
    tiles = n // TILE
    count = len(rows)
    size = input_bytes(kind, k)
    tile = next_piece(counters, tiles, part, parts)
    while tile >= 0:
        start = w + tile * TILE * k * kind
        to = out + 4 * TILE * tile
        for j in range(0, count, 2):
            other = min(j + 1, count - 1)
            out_x, out_y = to + 4 * stride * rows[j], to + 4 * stride * rows[other]
            if kind == INT8:
                at = scale + 8 * TILE * tile
                byte_pair(start, at, k, x + j * size, x + other * size, out_x, out_y, then)
            else:
                float_pair(kind, start, k, x + j * size, x + other * size, out_x, out_y, then)
        arrive(counters)
        tile = next_piece(counters, tiles, part, parts)
    return tiles


@kernel
def take_bytes(x, k, out):  # type: ignore[no-untyped-def]
    """Lay out `k` floats at x as X, in k + 64 bytes: the numbers, then r / 255 and b."""
    low = high = load(x)
    for i in range(LANES, k, LANES):
        low, high = smaller(low, load(x + 4 * i)), larger(high, load(x + 4 * i))
    least = smallest(low)
    step = (max(largest(high) - least, 1e-20)) / 255.0
    low, scale = every(least), every(1.0 / step)
    for i in range(0, k, LANES):
        store_bytes(out + i, fma(sub(load(x + 4 * i), low), scale, every(0.5)))
    put(out + k, step)
    put(out + k + 4, least)


@kernel
def finish_bytes(a, b, c, d, scale, amounts, out):  # type: ignore[no-untyped-def]
    """64 outputs of a row from its sums."""
    step, low = every(number(amounts)), every(number(amounts + 4) / -128.0)
    store(out, mul(fma(to_floats(a), step, mul(to_floats(load_whole(scale + 256)), low)), load(scale)))
    store(out + 64, mul(fma(to_floats(b), step, mul(to_floats(load_whole(scale + 320)), low)), load(scale + 64)))
    store(out + 128, mul(fma(to_floats(c), step, mul(to_floats(load_whole(scale + 384)), low)), load(scale + 128)))
    store(out + 192, mul(fma(to_floats(d), step, mul(to_floats(load_whole(scale + 448)), low)), load(scale + 192)))


@kernel
def four_rows(w, scale, k, x, size, last, out, stride):  # type: ignore[no-untyped-def]
    """64 outputs of rows 0, 1, 2, 3 (none behind `last`, which is done again) of X, `size` bytes apart."""
    y, z, v = x + size * min(1, last), x + size * min(2, last), x + size * min(3, last)
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = no_sums()
    for i in range(0, k, 4):
        w0, w1, w2, w3 = load_whole(w), load_whole(w + 64), load_whole(w + 128), load_whole(w + 192)
        w += 256
        u = every_whole(x + i)
        a0, a1, a2, a3 = dot(a0, u, w0), dot(a1, u, w1), dot(a2, u, w2), dot(a3, u, w3)
        u = every_whole(y + i)
        b0, b1, b2, b3 = dot(b0, u, w0), dot(b1, u, w1), dot(b2, u, w2), dot(b3, u, w3)
        u = every_whole(z + i)
        c0, c1, c2, c3 = dot(c0, u, w0), dot(c1, u, w1), dot(c2, u, w2), dot(c3, u, w3)
        u = every_whole(v + i)
        d0, d1, d2, d3 = dot(d0, u, w0), dot(d1, u, w1), dot(d2, u, w2), dot(d3, u, w3)
    finish_bytes(a0, a1, a2, a3, scale, x + k, out)
    finish_bytes(b0, b1, b2, b3, scale, y + k, out + 4 * stride * min(1, last))
    finish_bytes(c0, c1, c2, c3, scale, z + k, out + 4 * stride * min(2, last))
    finish_bytes(d0, d1, d2, d3, scale, v + k, out + 4 * stride * min(3, last))
