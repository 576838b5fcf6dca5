"""The whole step as one function that every thread runs: its part of each product and its heads of each attention.

A phase begins when the one before is done (sharing.py). Norms and inputs are made by every thread for itself, which
is cheaper than a phase. A call takes S positions of B rows as B S items, item b S + s; S > 1 only for a prompt.
"""

from __future__ import annotations

from expotion_fast import fields as f
from expotion_fast.arithmetic import layer_norm, soften
from expotion_fast.attention import attend, keep
from expotion_fast.compile import entry, kernel
from expotion_fast.product import ADD, GELU, STORE, TILE, four_rows, input_bytes, product, take, take_bytes
from expotion_fast.sharing import finished, next_piece
from expotion_fast.simd import LANES, add, arrive, every, load, mul, store


@kernel
def normed(frame, rows, weight, bias, mine):  # type: ignore[no-untyped-def]
    """Inputs LN(x) of some items."""
    kind, wide = frame[f.KIND], frame[f.WIDE]
    row = mine + frame[f.SCRATCH_ROW]
    for j in range(len(rows)):
        layer_norm(frame[f.X] + 4 * wide * rows[j], frame[f.WIDTH], weight, bias, row)
        take(kind, row, wide, mine + j * input_bytes(kind, wide))
    return mine


@kernel
def plain(frame, source, wide, count, mine):  # type: ignore[no-untyped-def]
    """Inputs of the first `count` rows of a buffer."""
    kind = frame[f.KIND]
    for j in range(count):
        take(kind, source + 4 * wide * j, wide, mine + j * input_bytes(kind, wide))
    return mine


@kernel
def clear(address, count):  # type: ignore[no-untyped-def]
    """`count` floats, a multiple of 16, to zero."""
    for i in range(0, count, LANES):
        store(address + 4 * i, every(0.0))


@kernel
def attention(frame, layer, at, scale, prefix_of, prefix_rows, openness, mine, counters, part, parts):  # type: ignore[no-untyped-def]
    """Self-attention and the gated prefix of this part's heads; keys and values go into the cache first."""
    head, heads, size, rooms = frame[f.HEAD], frame[f.N_HEADS], frame[f.KEPT], frame[f.ROOMS]
    length, limit = frame[f.LENGTH], frame[f.PREFIX_LIMIT]
    scores, own = mine + frame[f.SCRATCH_SCORES], mine + frame[f.SCRATCH_OWN]
    units = len(prefix_of) * heads
    unit = next_piece(counters, units, part, parts)
    while unit >= 0:
        batch, h = unit // heads, unit % heads
        keys = at[f.CACHE_K] + unit * rooms * head * size
        values = at[f.CACHE_V] + unit * rooms * head * size
        for s in range(length):
            item, position = batch * length + s, frame[f.START] + s
            q = frame[f.QKV] + 4 * (item * frame[f.QKV_WIDE] + h * head)
            k, v = q + 4 * heads * head, q + 8 * heads * head
            keep(size, keys, values, rooms, head, position, k, v)
            out = frame[f.ATTENDED] + 4 * (item * frame[f.MERGED] + h * head)
            clear(out, head)
            attend(size, q, keys, values, rooms, head, position + 1, scale, scores, out, 1.0, frame[f.ONES])
            row = prefix_of[batch]
            if row < 0 or frame[f.WITH_PREFIX] == 0 or layer < frame[f.PREFIX_FIRST]:
                continue
            r = min(position, limit - 1)
            if openness[row, r] == 0.0:
                continue
            place = row * heads + h
            offset = at[f.PREFIX_Q] + 4 * head * (place * frame[f.PREFIX_COUNT] + r)
            k_scale = at[f.PREFIX_K_SCALE] + 4 * head * place
            for i in range(0, 4 * head, 4 * LANES):
                store(own + i, mul(add(load(q + i), load(offset + i)), load(k_scale + i)))
            kept, count = frame[f.PREFIX_KEPT], frame[f.PREFIX_ROOMS]
            span = place * count * head * kept
            k, v, v_scale = (at[f.PREFIX_K] + span, at[f.PREFIX_V] + span, at[f.PREFIX_V_SCALE] + 4 * head * place)
            gain = openness[row, r]
            attend(kept, own, k, v, count, head, prefix_rows[row], scale, scores, out, gain, v_scale)
        arrive(counters)
        unit = next_piece(counters, units, part, parts)
    return units


@kernel
def keyed_text(frame, at, scale, text_counts, mine, counters, part, parts):  # type: ignore[no-untyped-def]
    """Attention over the text's keys and values of this part's heads: TEXT to ATTENDED."""
    head, heads, size = frame[f.HEAD], frame[f.N_HEADS], frame[f.KEPT]
    length, rooms, scores = frame[f.LENGTH], frame[f.TEXT_ROOMS], mine + frame[f.SCRATCH_SCORES]
    units = len(text_counts) * heads
    unit = next_piece(counters, units, part, parts)
    while unit >= 0:
        span, count = unit * rooms * head * size, text_counts[unit // heads]
        k, v = at[f.TEXT_K] + span, at[f.TEXT_V] + span
        for s in range(length):
            item = unit // heads * length + s
            q = frame[f.TEXT] + 4 * (item * frame[f.TEXT_WIDE] + unit % heads * head)
            out = frame[f.ATTENDED] + 4 * (item * frame[f.MERGED] + unit % heads * head)
            clear(out, head)
            attend(size, q, k, v, rooms, head, count, scale, scores, out, 1.0, frame[f.ONES])
        arrive(counters)
        unit = next_piece(counters, units, part, parts)
    return units


@kernel
def folded_text(frame, count, mine):  # type: ignore[no-untyped-def]
    """Inputs softmax_h(G x) of the first `count` rows of TEXT."""
    kind, wide, tokens, step = frame[f.KIND], frame[f.TEXT_WIDE], frame[f.FOLDED], frame[f.FOLDED_WIDE]
    soft = mine + frame[f.SCRATCH_SOFT]
    for j in range(count):
        for h in range(frame[f.N_HEADS]):
            to = soft + 4 * h * step
            scale = every(soften(frame[f.TEXT] + 4 * (j * wide + h * step), tokens, to))
            for i in range(0, 4 * step, 4 * LANES):
                store(to + i, mul(load(to + i), scale))
        take(kind, soft, wide, mine + j * input_bytes(kind, wide))
    return mine


@entry
def run(  # type: ignore[no-untyped-def]
    frame, table, scale, items, last, text_items, text_counts, prefix_of, prefix_rows, openness, part, parts
):
    """A step's arithmetic, from x to the logits of the items `last` (none: no logits)."""
    kind, wide, merged, ffn = frame[f.KIND], frame[f.WIDE], frame[f.MERGED], frame[f.FFN]
    mine = frame[f.SCRATCH] + part * frame[f.SCRATCH_BYTES]
    x, attended, hidden, text = frame[f.X], frame[f.ATTENDED], frame[f.HIDDEN], frame[f.TEXT]
    wide_qkv, wide_text, wait = frame[f.QKV_WIDE], frame[f.TEXT_WIDE], frame[f.YIELD]
    at_work = frame[f.COUNTERS]
    some = items[: len(text_items)]
    for layer in range(frame[f.N_LAYERS]):
        at = table[layer]
        ready = normed(frame, items, at[f.NORM1], at[f.NORM1_BIAS], mine)
        w, s, to = at[f.QKV_W], at[f.QKV_SCALE], frame[f.QKV]
        n = product(kind, w, s, wide_qkv, wide, ready, items, to, wide_qkv, STORE, at_work, part, parts)
        at_work = finished(at_work, n, parts, wait)
        n = attention(frame, layer, at, scale, prefix_of, prefix_rows, openness, mine, at_work, part, parts)
        at_work = finished(at_work, n, parts, wait)
        ready = plain(frame, attended, merged, len(items), mine)
        w, s = at[f.OUT_W], at[f.OUT_SCALE]
        n = product(kind, w, s, wide, merged, ready, items, x, wide, ADD, at_work, part, parts)
        at_work = finished(at_work, n, parts, wait)
        if len(text_items) > 0:
            ready, k = normed(frame, text_items, at[f.CROSS], at[f.CROSS_BIAS], mine), wide_text
            w, s = at[f.ASK_W], at[f.ASK_SCALE]
            n = product(kind, w, s, wide_text, wide, ready, some, text, wide_text, STORE, at_work, part, parts)
            at_work = finished(at_work, n, parts, wait)
            if frame[f.FOLDED]:
                ready = folded_text(frame, len(text_items), mine)
            else:
                n = keyed_text(frame, at, scale, text_counts, mine, at_work, part, parts)
                at_work = finished(at_work, n, parts, wait)
                ready, k = plain(frame, attended, merged, len(text_items), mine), merged
            w, s = at[f.ANSWER_W], at[f.ANSWER_SCALE]
            n = product(kind, w, s, wide, k, ready, text_items, x, wide, ADD, at_work, part, parts)
            at_work = finished(at_work, n, parts, wait)
        ready = normed(frame, items, at[f.NORM2], at[f.NORM2_BIAS], mine)
        w, s = at[f.IN_W], at[f.IN_SCALE]
        n = product(kind, w, s, ffn, wide, ready, items, hidden, ffn, GELU, at_work, part, parts)
        at_work = finished(at_work, n, parts, wait)
        ready = plain(frame, hidden, ffn, len(items), mine)
        w, s = at[f.FFN_W], at[f.FFN_SCALE]
        n = product(kind, w, s, wide, ffn, ready, items, x, wide, ADD, at_work, part, parts)
        at_work = finished(at_work, n, parts, wait)
    if len(last) > 0:
        ready = normed(frame, last, frame[f.NORM_OUT], frame[f.NORM_OUT_BIAS], mine)
        w, s, n = frame[f.HEADS], frame[f.HEADS_SCALE], frame[f.LOGITS_WIDE]
        product(kind, w, s, n, wide, ready, items[: len(last)], frame[f.LOGITS], n, STORE, at_work, part, parts)


@entry
def multiply(kind, w, scale, n, k, x, rows, out, scratch, counters, part, parts):  # type: ignore[no-untyped-def]
    """W x for rows of floats at x (`k` apart) to rows at out (`n` apart): a product on its own."""
    size = input_bytes(kind, k)
    mine = scratch + part * len(rows) * size
    for j in range(len(rows)):
        take(kind, x + 4 * k * rows[j], k, mine + j * size)
    product(kind, w, scale, n, k, mine, rows, out, n, STORE, counters, part, parts)


@entry
def multiply_many(w, scale, n, k, x, count, out, scratch, counters, wait, part, parts):  # type: ignore[no-untyped-def]
    """W x for `count` rows of floats at x by an int8 matrix, with inputs of 8 bits, as `multiply`."""
    size = k + 64
    row = next_piece(counters, count, part, parts)
    while row >= 0:
        take_bytes(x + 4 * k * row, k, scratch + size * row)
        arrive(counters)
        row = next_piece(counters, count, part, parts)
    counters = finished(counters, count, parts, wait)
    tiles = n // TILE
    tile = next_piece(counters, tiles, part, parts)
    while tile >= 0:
        start, at, to = w + tile * TILE * k, scale + 8 * TILE * tile, out + 4 * TILE * tile
        for j in range(0, count, 4):
            four_rows(start, at, k, scratch + size * j, size, count - 1 - j, to + 4 * n * j, n)
        arrive(counters)
        tile = next_piece(counters, tiles, part, parts)
