"""Names of what the step kernel is told: numbers and addresses of a step (`frame`), addresses of a layer (`table`).

All buffers are float32 and padded to 64 columns. Addresses are int64.
"""

from __future__ import annotations

# of the model
KIND = 0  # bytes of a weight, which says its kind: product.FLOAT32, BFLOAT16, INT8
KEPT = 1  # bytes of a number in caches: 4 float32, 2 bfloat16
N_LAYERS = 2
WIDTH = 3  # d
WIDE = 4  # d, padded
N_HEADS = 5
HEAD = 6  # a head's width, padded to 16
MERGED = 7  # all heads, padded
QKV_WIDE = 8
FFN = 9
LOGITS_WIDE = 10
NORM_OUT, NORM_OUT_BIAS, HEADS, HEADS_SCALE = 11, 12, 13, 14
# of a state
ROOMS = 15  # positions of the cache, padded to 16
FOLDED = 16  # text: its tokens where it is folded, else 0
FOLDED_WIDE = 17  # tokens of a head, padded to 16
TEXT_WIDE = 18  # columns of the text's buffer
TEXT_ROOMS = 19
PREFIX_FIRST, PREFIX_LIMIT, PREFIX_COUNT, PREFIX_ROOMS = 20, 21, 22, 23
# of a call
LENGTH = 24  # positions at hand, S
START = 25  # the first of them
X, QKV, ATTENDED, HIDDEN, TEXT, LOGITS = 26, 27, 28, 29, 30, 31
SCRATCH, SCRATCH_BYTES = 32, 33  # of each thread: inputs of a product, then
SCRATCH_ROW, SCRATCH_SOFT, SCRATCH_SCORES, SCRATCH_OWN = 34, 35, 36, 37  # offsets into it
COUNTERS = 38  # of sharing.py, a set for each phase
WITH_PREFIX = 39
YIELD = 40  # address of a function that lets other threads run
PREFIX_KEPT = 41  # as KEPT, or 1: int8 with a scale per channel
ONES = 42  # floats [head]
N_FIELDS = 43

# of a layer
NORM1, NORM1_BIAS, QKV_W, QKV_SCALE, OUT_W, OUT_SCALE = 0, 1, 2, 3, 4, 5
CROSS, CROSS_BIAS, ASK_W, ASK_SCALE, ANSWER_W, ANSWER_SCALE = 6, 7, 8, 9, 10, 11
NORM2, NORM2_BIAS, IN_W, IN_SCALE, FFN_W, FFN_SCALE = 12, 13, 14, 15, 16, 17
CACHE_K, CACHE_V, TEXT_K, TEXT_V = 18, 19, 20, 21
PREFIX_Q, PREFIX_K, PREFIX_V = 22, 23, 24
PREFIX_K_SCALE, PREFIX_V_SCALE = 25, 26  # floats [head] of each row and head
N_COLUMNS = 27
