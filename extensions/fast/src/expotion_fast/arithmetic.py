"""Exponential, GELU, layer norm and softmax on sixteen lanes, in float32."""

from __future__ import annotations

from math import sqrt

from expotion_fast.compile import kernel
from expotion_fast.simd import (
    LANES,
    add,
    div,
    every,
    first,
    fma,
    larger,
    largest,
    load,
    magnitude,
    mul,
    nearest,
    power_of_two,
    store,
    sub,
    total,
    with_sign,
)

EPS = 1e-5
LOWEST = -1e30
"""Stands for minus infinity where an exponential follows."""


@kernel
def exponential(x):  # type: ignore[no-untyped-def]
    """e^x to 2e-7 for x <= 0 (Cephes' polynomial); below -87 it stays at 1.6e-38."""
    x = larger(x, every(-87.0))
    n = nearest(mul(x, every(1.44269504)))
    r = fma(n, every(-0.693359375), x)
    r = fma(n, every(2.12194440e-4), r)
    p = fma(every(1.9875691500e-4), r, every(1.3981999507e-3))
    p = fma(p, r, every(8.3334519073e-3))
    p = fma(p, r, every(4.1665795894e-2))
    p = fma(p, r, every(1.6666665459e-1))
    p = fma(p, r, every(5.0000001201e-1))
    return mul(fma(p, mul(r, r), add(r, every(1.0))), power_of_two(n))


@kernel
def gelu(x):  # type: ignore[no-untyped-def]
    """x (1 + erf(x / sqrt 2)) / 2, erf to 1.5e-7 (Abramowitz and Stegun 7.1.26)."""
    z = mul(magnitude(x), every(0.70710678))
    t = div(every(1.0), fma(z, every(0.3275911), every(1.0)))
    p = fma(every(1.061405429), t, every(-1.453152027))
    p = fma(p, t, every(1.421413741))
    p = fma(p, t, every(-0.284496736))
    p = fma(p, t, every(0.254829592))
    tail = mul(mul(p, t), exponential(sub(every(0.0), mul(z, z))))
    erf = with_sign(sub(every(1.0), tail), x)
    return mul(mul(x, every(0.5)), add(erf, every(1.0)))


@kernel
def layer_norm(x, width, weight, bias, out):  # type: ignore[no-untyped-def]
    """LN of `width` floats at x to out, both padded to whole vectors."""
    whole = width // LANES * LANES
    rest = width - whole
    summed = every(0.0)
    for i in range(0, whole, LANES):
        summed = add(summed, load(x + 4 * i))
    if rest:
        summed = add(summed, first(load(x + 4 * whole), rest, 0.0))
    mean = every(total(summed) / width)
    summed = every(0.0)
    for i in range(0, whole, LANES):
        away = sub(load(x + 4 * i), mean)
        summed = fma(away, away, summed)
    if rest:
        away = first(sub(load(x + 4 * whole), mean), rest, 0.0)
        summed = fma(away, away, summed)
    scale = every(1.0 / sqrt(total(summed) / width + EPS))
    for i in range(0, whole + (LANES if rest else 0), LANES):
        away = mul(sub(load(x + 4 * i), mean), scale)
        store(out + 4 * i, fma(away, load(weight + 4 * i), load(bias + 4 * i)))


@kernel
def soften(scores, count, out):  # type: ignore[no-untyped-def]
    """Unnormalised softmax of `count` floats, padded to whole vectors, to out, zeros after; one over its sum."""
    top = every(LOWEST)
    for i in range(0, count, LANES):
        top = larger(top, first(load(scores + 4 * i), count - i, LOWEST))
    highest = every(largest(top))
    summed = every(0.0)
    for i in range(0, count, LANES):
        weights = first(exponential(sub(load(scores + 4 * i), highest)), count - i, 0.0)
        summed = add(summed, weights)
        store(out + 4 * i, weights)
    return 1.0 / total(summed)
