from __future__ import annotations

import pytest
import torch
from torch import nn

from expotion import machine
from expotion.errors import ExpotionError
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine import memory, prepare
from expotion.musicgen.engine.weights import Int8Linear, Norm, NormedInt8, pack
from expotion.musicgen.geometry import LARGE, SMALL


@pytest.mark.parametrize("shape", [(2, 48), (1, 3, 48), (70, 48)])
def test_int8_products_are_exact_in_the_rounded_weights(shape):
    torch.manual_seed(0)
    weight, x = torch.randn(40, 48), torch.randn(shape)
    scale = weight.abs().amax(dim=1, keepdim=True) / 127
    rounded = (weight / scale).round() * scale
    linear = Int8Linear(weight)
    wanted = x @ rounded.T
    assert (linear(x) - wanted).norm() / wanted.norm() < 5e-5
    total = torch.randn_like(wanted)
    again = total.clone()
    linear.add_to(again, x)
    assert torch.allclose(again, total + linear(x), atol=1e-4)
    assert (linear(x) - x @ weight.T).norm() / wanted.norm() < 0.01


def test_int8_takes_zeros_and_outliers():
    torch.manual_seed(0)
    linear = Int8Linear(torch.randn(16, 32))
    assert torch.equal(linear(torch.zeros(2, 32)), torch.zeros(2, 16))
    x = torch.randn(1, 32)
    x[0, 3] = 1e4
    wanted = linear(x * 1e-6) * 1e6
    assert (linear(x) - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_a_norm_inside_an_int8_product_never_overflows():
    torch.manual_seed(0)
    norm = nn.LayerNorm(32)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    weight = torch.randn(16, 32)
    linear = Int8Linear(weight)
    one = torch.zeros(2, 32)
    one[0, int(norm.weight.abs().argmax())] = 1.0  # the largest value that a norm can give
    one[1] = torch.randn(32)
    with torch.no_grad():
        got, wanted = NormedInt8(Norm(norm), linear)(one), linear(norm(one))
    assert (got - wanted).abs().max() < 2e-3 * wanted.abs().max()


@pytest.mark.parametrize(("mode", "tolerance"), [("fp32", 1e-6), ("bf16", 0.01), ("fp16", 1e-3), ("int8", 0.01)])
def test_packed_matrices_multiply(mode, tolerance):
    torch.manual_seed(0)
    weight, x = torch.randn(24, 64), torch.randn(2, 64)
    linear = pack(weight, mode)
    wanted = x @ weight.T
    assert (linear(x).float() - wanted).norm() / wanted.norm() < tolerance
    assert linear.n_bytes == 24 * 64 * {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}[mode]


def test_huge_pages_are_asked_for_where_tensors_lie_and_nowhere_else():
    room = torch.zeros(32 * 2**20, dtype=torch.uint8)
    mib = 2**20
    first = -(-room.data_ptr() // (2 * mib)) * 2 * mib  # of a huge page
    at = first - room.data_ptr()
    tensors = [room[at + m * mib : at + n * mib] for m, n in ((20, 21), (1, 3), (3, 5))]
    everywhere = [(first - 64, first + 26 * mib)]
    assert memory.spans(tensors, everywhere) == [(first, first + 6 * mib), (first + 20 * mib, first + 22 * mib)]
    cut = [(first + mib, first + 5 * mib), (first + 20 * mib, first + 30 * mib)]  # no page across a mapping's ends
    assert memory.spans(tensors, cut) == [(first + 2 * mib, first + 4 * mib), (first + 20 * mib, first + 22 * mib)]
    assert memory.spans([torch.zeros(8 * mib, device="meta"), torch.zeros(4096).to_mkldnn()], everywhere) == []


def test_memory_that_is_not_there_is_an_error_that_says_what_helps(monkeypatch, small_lm):
    engine = prepare(small_lm, "fp32")
    monkeypatch.setattr(machine, "free_bytes", lambda device: memory.SPARE_BYTES + 1000)
    with pytest.raises(ExpotionError, match=r"MB for 900000 positions.* free; lower it with a shorter window"):
        engine.start(torch.randn(1, 3, 32), 900_000)
    with pytest.raises(ExpotionError, match=r"weights in int8.*smaller model"):
        prepare(small_lm, "int8")


def test_estimates_follow_the_sizes():
    with torch.device("meta"):
        small, large = MusicGenLM(SMALL), MusicGenLM(LARGE)
    assert memory.weight_bytes(small, "fp32") == 4 * 420_371_456
    assert memory.weight_bytes(large, "bf16") == 2 * 3_256_956_928
    wide = 48 * 4 * 2048 * 2048 + 4 * 2049 * 2048  # cross-attention and embeddings
    assert memory.weight_bytes(large, "int8") == 3_256_956_928 + wide
    caches = memory.state_bytes(SMALL, torch.bfloat16, 2, 503, 0, 0)
    assert caches == 24 * 2 * 2 * 503 * 1024 * 2
    assert memory.state_bytes(SMALL, torch.bfloat16, 2, 503, 0, 501) == caches + 24 * 3 * 501 * 1024 * 2
