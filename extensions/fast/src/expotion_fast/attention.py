"""One head's attention over keys and values as the engine keeps them.

Keys lie in blocks of 16 positions, [P / 16, c, 16]; values [c / 16, P, 16]; so both are read from end to end and
no sum crosses lanes. Rooms after the last position are zero.
"""

from __future__ import annotations

from expotion_fast.arithmetic import soften
from expotion_fast.compile import kernel
from expotion_fast.simd import LANES, add, every, fma, load, load_bf16, load_i8, mul, number, put, put_bf16, store


@kernel
def keep(size, keys, values, rooms, width, position, k, v):  # type: ignore[no-untyped-def]
    """Put key and value (floats at k and v, `width` each) at a position; `size` is 4 (float32) or 2 (bfloat16)."""
    key = keys + size * (position // LANES * LANES * width + position % LANES)
    value = values + size * LANES * position
    for c in range(width):
        to_key = key + size * LANES * c
        to_value = value + size * (c // LANES * LANES * rooms + c % LANES)
        if size == 2:
            put_bf16(to_key, number(k + 4 * c))
            put_bf16(to_value, number(v + 4 * c))
        else:
            put(to_key, number(k + 4 * c))
            put(to_value, number(v + 4 * c))


@kernel
def attend(size, q, keys, values, rooms, width, count, scale, scores, out, gain, channels):  # type: ignore[no-untyped-def]
    """out (`width` floats) += gain * channels * softmax(scale q K^T) V over the first `count` of `rooms` positions.

    `size` 1 is int8: V's scales are in `channels` (floats, one for each of out), K's in q already. `scores` has
    room for `rooms` floats, a multiple of 16.
    """
    filled = -(-count // LANES) * LANES
    for start in range(0, filled, LANES):
        block = keys + size * start * width
        a = b = c = d = every(0.0)
        for i in range(0, width, 4):
            at = block + size * LANES * i
            if size == 2:
                a = fma(load_bf16(at), every(number(q + 4 * i)), a)
                b = fma(load_bf16(at + 32), every(number(q + 4 * i + 4)), b)
                c = fma(load_bf16(at + 64), every(number(q + 4 * i + 8)), c)
                d = fma(load_bf16(at + 96), every(number(q + 4 * i + 12)), d)
            elif size == 1:
                a = fma(load_i8(at), every(number(q + 4 * i)), a)
                b = fma(load_i8(at + 16), every(number(q + 4 * i + 4)), b)
                c = fma(load_i8(at + 32), every(number(q + 4 * i + 8)), c)
                d = fma(load_i8(at + 48), every(number(q + 4 * i + 12)), d)
            else:
                a = fma(load(at), every(number(q + 4 * i)), a)
                b = fma(load(at + 64), every(number(q + 4 * i + 4)), b)
                c = fma(load(at + 128), every(number(q + 4 * i + 8)), c)
                d = fma(load(at + 192), every(number(q + 4 * i + 12)), d)
        store(scores + 4 * start, mul(add(add(a, b), add(c, d)), every(scale)))
    weight = every(soften(scores, count, scores) * gain)
    for column in range(0, width, LANES):
        block = values + size * rooms * column
        a = b = c = d = every(0.0)
        for i in range(0, filled, 4):
            at = block + size * LANES * i
            if size == 2:
                a = fma(load_bf16(at), every(number(scores + 4 * i)), a)
                b = fma(load_bf16(at + 32), every(number(scores + 4 * i + 4)), b)
                c = fma(load_bf16(at + 64), every(number(scores + 4 * i + 8)), c)
                d = fma(load_bf16(at + 96), every(number(scores + 4 * i + 12)), d)
            elif size == 1:
                a = fma(load_i8(at), every(number(scores + 4 * i)), a)
                b = fma(load_i8(at + 16), every(number(scores + 4 * i + 4)), b)
                c = fma(load_i8(at + 32), every(number(scores + 4 * i + 8)), c)
                d = fma(load_i8(at + 48), every(number(scores + 4 * i + 12)), d)
            else:
                a = fma(load(at), every(number(scores + 4 * i)), a)
                b = fma(load(at + 64), every(number(scores + 4 * i + 4)), b)
                c = fma(load(at + 128), every(number(scores + 4 * i + 8)), c)
                d = fma(load(at + 192), every(number(scores + 4 * i + 12)), d)
        to = out + 4 * column
        share = mul(weight, load(channels + 4 * column))
        store(to, fma(add(add(a, b), add(c, d)), share, load(to)))
