from __future__ import annotations

import time

import pytest
import torch
from torch.nn import functional

import expotion_fast as fused
from expotion import machine
from expotion.errors import ExpotionError
from expotion.musicgen.attention import attend
from expotion.musicgen.engine import memory, prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes
from expotion_fast import layout, threads
from expotion_fast.arithmetic import exponential, gelu, layer_norm, soften
from expotion_fast.compile import entry
from expotion_fast.engine import FusedEngine
from expotion_fast.linear import FusedLinear
from expotion_fast.simd import load, store
from expotion_fast.target import multiplies_bytes

MODES = ["fp32", "bf16", "int8"]


@entry
def on_vectors(which, x, out, count, width, weight, bias):
    if which == 2:
        layer_norm(x, width, weight, bias, out)
        return 0.0
    if which == 3:
        return soften(x, width, out)
    for i in range(0, 4 * count, 64):
        store(out + i, gelu(load(x + i)) if which == 1 else exponential(load(x + i)))
    return 0.0


def arithmetic(which, x, width, weight=None, bias=None):
    x = layout.pad(x, 0, 16).contiguous()
    out = torch.zeros_like(x)
    sides = [0 if t is None else t.data_ptr() for t in (weight, bias)]
    result = on_vectors(which, x.data_ptr(), out.data_ptr(), len(x), width, *sides)
    return out[:width], result


def matrix(packed, scales):
    return layout.float_tiles(packed, scales).transpose(1, 2).flatten(0, 1)


def relative(got, wanted):
    return float((got - wanted).norm() / wanted.norm())


def test_functions_are_those_of_torch():
    torch.manual_seed(0)
    below = -torch.rand(320) * 80
    assert torch.allclose(arithmetic(0, below, 320)[0], below.exp(), rtol=1e-6, atol=0)
    x = torch.linspace(-8, 8, 320)
    assert (arithmetic(1, x, 320)[0] - functional.gelu(x)).abs().max() < 2e-6
    x, weight, bias = torch.randn(3, 43)
    ends = [layout.pad(t, 0, 16).contiguous() for t in (weight, bias)]
    wanted = functional.layer_norm(x, (43,), weight, bias)
    assert torch.allclose(arithmetic(2, 3 * x + 1, 43, *ends)[0], wanted, atol=2e-5)
    weights, over = arithmetic(3, x, 43)
    assert torch.allclose(weights * over, x.softmax(0), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [1, 2, 3, 130])
@pytest.mark.parametrize("heads", [None, 24])
def test_matrices_multiply(mode, rows, heads):
    torch.manual_seed(0)
    weight, x = torch.randn(96, 72), torch.randn(2, rows, 72)
    wanted = x @ weight.T
    linear = FusedLinear(weight, mode, head_in=heads, head_out=heads)
    close = {"fp32": 1e-6, "bf16": 5e-3, "int8": 1e-2}[mode]
    assert relative(linear(x), wanted) < close
    total = torch.ones_like(wanted)
    linear.add_to(total, x)
    assert relative(total - 1, linear(x)) < 1e-6


def test_int8_products_are_exact_in_the_rounded_weights():
    torch.manual_seed(0)
    weight, x = torch.randn(40, 48), torch.randn(2, 48)
    x[1] *= 1e-4
    scale = weight.abs().amax(dim=1, keepdim=True) / 127
    wanted = x @ ((weight / scale).round() * scale).T
    got = FusedLinear(weight, "int8")(x)
    assert relative(got[0], wanted[0]) < 5e-5 and relative(got[1], wanted[1]) < 5e-5
    assert torch.equal(FusedLinear(weight, "int8")(torch.zeros(2, 48)), torch.zeros(2, 40))


@pytest.mark.skipif(not multiplies_bytes(), reason="many rows are torch's where bytes are not multiplied as such")
def test_many_rows_of_an_int8_product_have_inputs_of_8_bits():
    torch.manual_seed(0)
    weight, x = torch.randn(130, 128), functional.gelu(3 * torch.randn(67, 128))
    x[1], x[2], x[3] = 0.0, 2.5, x[3] * 1e4
    scale = weight.abs().amax(dim=1, keepdim=True) / 127
    low = x.double().amin(dim=1, keepdim=True)
    step = (x.double().amax(dim=1, keepdim=True) - low).clamp(min=1e-20) / 255
    seen = low + step * ((x - low) / step).round()
    wanted = seen @ ((weight / scale).round() * scale).double().T
    got = FusedLinear(weight, "int8")(x)
    assert all(relative(a, b) < 3e-5 for i, (a, b) in enumerate(zip(got, wanted, strict=True)) if i != 1)
    assert torch.equal(got[1], torch.zeros(130))


@pytest.mark.parametrize("kind", [4, 2, 1])
def test_tiles_hold_the_matrix(kind):
    torch.manual_seed(0)
    weight = torch.randn(128, 192)
    packed, scales = layout.tiles(weight, kind)
    wanted = weight.bfloat16() if kind == 2 else weight
    assert (matrix(packed, scales) - wanted).abs().max() < (0.02 if kind == 1 else 1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_bytes_do_not_depend_on_the_number_of_threads(small_lm, monkeypatch, mode):
    torch.manual_seed(1)
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    engine, source, rows = FusedEngine(small_lm, mode), torch.randn(2, 4, 32), torch.randn(70, 32)
    drawn = []
    for count in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        seen: list[torch.Tensor] = [engine.block(0).ffn_in(rows)]
        generate_codes(engine, source, 12, sampler=Sampler(greedy=True), on_logits=seen.append)
        drawn.append(torch.cat([one.flatten() for one in seen]))
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("mode", MODES)
def test_a_prefix_is_the_same_bytes_on_any_number_of_threads(monkeypatch, mode):
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    torch.manual_seed(1)
    linear, x, (q, k, v) = (
        FusedLinear(torch.randn(300, 96), mode),
        torch.randn(90, 96),
        torch.randn(3, 1, 5, 90, 16),
    )
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            with machine.steady(), torch.no_grad():
                assert machine.threads() == count
                found.append([linear(x), attend(q, k, v), attend(q, k, v, mask=torch.arange(90)[None] < 40)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    assert relative(found[2][1], functional.scaled_dot_product_attention(q, k, v)) < 1e-6


def test_a_long_prompt_is_fed_in_pieces(small_lm):
    torch.manual_seed(1)
    sequence, source = torch.randint(0, 21, (2, 4, 90)), torch.randn(2, 12, 32)
    engine = FusedEngine(small_lm, "fp32")
    state = engine.start(source, 90)
    got = engine.step(sequence, state)
    assert state.position == 90
    assert relative(got, small_lm(sequence, source)[:, :, -1]) < 1e-5


def test_a_batch_of_another_size_is_refused(small_lm):
    engine = FusedEngine(small_lm, "fp32")
    state = engine.start(torch.randn(2, 3, 32), 4)
    with pytest.raises(ExpotionError, match="3 rows of tokens for a state of 2"):
        engine.step(torch.zeros(3, 4, dtype=torch.int64), state)


def test_without_numba_or_its_modes_the_plain_engine_serves(monkeypatch, small_lm):
    assert isinstance(prepare(small_lm, "fp32"), FusedEngine)
    assert type(prepare(small_lm, "fp16")) is Engine
    monkeypatch.setattr(fused, "find_spec", lambda name: None)
    assert type(prepare(small_lm, "bf16")) is Engine


def test_calls_from_several_threads_take_turns(monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    torch.manual_seed(0)
    linear, inputs = FusedLinear(torch.randn(640, 128), "fp32"), torch.randn(40, 3, 128)
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(linear, inputs))
    assert torch.equal(torch.stack(found), torch.stack([linear(x) for x in inputs]))
    assert relative(found[7], inputs[7] @ matrix(linear.packed, linear.scales).T) < 1e-5


@pytest.mark.parametrize("loaded", [False, True])
def test_a_first_call_that_compiles_says_so(monkeypatch, caplog, loaded):
    monkeypatch.setattr(threads, "COMPILING_S", 0.02)

    def slow(seconds, part, parts):
        time.sleep(seconds)

    slow.overloads = {"a signature": "machine code"} if loaded else {}
    threads.on_all(slow, 0.2, n_bytes=1)
    assert ("compiling the decoding step" in caplog.text) is not loaded


def test_the_memory_of_a_copy_in_fp32_counts(monkeypatch, small_lm):
    monkeypatch.setattr(machine, "free_bytes", lambda device: memory.SPARE_BYTES)
    Engine(small_lm, "fp32")
    with pytest.raises(ExpotionError, match="the model's weights in fp32"):
        FusedEngine(small_lm, "fp32")


@pytest.mark.parametrize("mode", MODES)
def test_bytes_of_a_row_do_not_depend_on_the_rows_beside_it(small_lm, mode):
    """Takes of one piece are decoded together, as many as memory holds (`expotion.music.composer`)."""
    torch.manual_seed(1)
    engine, one = FusedEngine(small_lm, mode), torch.randn(1, 4, 32)
    for source in (one, torch.randn(1, 40, 32)):  # a text that is folded, one that is not
        drawn = []
        for n in (1, 2, 7, 70):
            seen: list[torch.Tensor] = []
            generate_codes(engine, source.repeat(n, 1, 1), 6, sampler=Sampler(greedy=True), on_logits=seen.append)
            drawn.append(torch.stack(seen)[:, -1])
        assert all(torch.equal(drawn[0], other) for other in drawn[1:])
