from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from expotion.musicgen import attention


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("keep_bytes", [0, 2**30])
@pytest.mark.parametrize("block", [2**20, 64 * 2 * 150])
def test_blocks_give_the_fused_operators_result_and_gradients(monkeypatch, causal, keep_bytes, block):
    monkeypatch.setattr(attention, "KEEP_BYTES", keep_bytes)
    monkeypatch.setattr(attention, "BLOCK_NUMBERS", block)
    torch.manual_seed(0)
    n_keys = 150 if causal else 170
    q, k, v = (torch.randn(2, 2, n, 8, dtype=torch.bfloat16, requires_grad=True) for n in (150, n_keys, n_keys))
    slope = torch.randn(2, 2, 150, 8, dtype=torch.bfloat16)
    out = attention.attend(q, k, v, causal=causal)
    assert "BlockAttention" in type(out.grad_fn).__name__
    gradients = torch.autograd.grad(out, (q, k, v), slope)

    exact = [tensor.detach().double().requires_grad_() for tensor in (q, k, v)]
    wanted = functional.scaled_dot_product_attention(*exact, is_causal=causal)
    wanted_gradients = torch.autograd.grad(wanted, exact, slope.double())
    for got, reference in zip((out, *gradients), (wanted, *wanted_gradients), strict=True):
        assert (got.double() - reference).norm() / reference.norm() < 0.015


def test_only_asked_gradients_are_made():
    q = torch.randn(1, 2, 80, 8, dtype=torch.bfloat16)
    k = torch.randn(1, 2, 80, 8, dtype=torch.bfloat16, requires_grad=True)
    out = attention.attend(q, k, q)
    out.sum().backward()
    assert k.grad is not None and q.grad is None


def test_float32_and_short_inputs_use_the_fused_operator():
    q = torch.randn(1, 2, 80, 8, requires_grad=True)
    assert torch.equal(attention.attend(q, q, q), functional.scaled_dot_product_attention(q, q, q))
    short = torch.randn(1, 2, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    assert "BlockAttention" not in type(attention.attend(short, short, short).grad_fn).__name__
