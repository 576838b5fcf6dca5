"""EnCodec's encoder and decoder as matrix products over [batch, time, channels], for training on a CPU.

Each layer is a sum over taps, y[t] = sum_i x[t + i dilation] W_i: a dilated convolution as it stands, a strided one
whose kernel is twice its stride over blocks of a stride, a transposed one likewise. That is one large product per
layer, which the CPU's matrix units do in bfloat16; the library's convolution in bfloat16 comes out wrong for one
of these shapes (TRAINING.md), and its LSTM spends most of its backward pass on the weights, step by step. The
weights are those of a transformers `EncodecModel`, in place, and so is the result, up to rounding
(tests/test_codec_training.py). Zero padding only, and sounds of whole frames.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad


class FastCodec:
    """Encoder and decoder of `codec`, computed in `dtype`; sounds and latents go in and out as float32."""

    def __init__(self, codec: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        self.codec, self.dtype = codec, dtype

    def encode(self, sound: Tensor) -> Tensor:
        """Sound [batch, 1, frames * hop] to the latent [batch, frames, hidden size]."""
        return self._run(self.codec.encoder, sound.transpose(1, 2))

    def decode(self, latent: Tensor) -> Tensor:
        """Latent [batch, frames, hidden size] to sound [batch, 1, frames * hop]."""
        return self._run(self.codec.decoder, latent.to(self.dtype)).transpose(1, 2)

    def _run(self, part: nn.Module, x: Tensor) -> Tensor:
        for layer in part.layers:
            x = self._layer(layer, x)
        return x.float()

    def _layer(self, layer: nn.Module, x: Tensor) -> Tensor:
        """One layer of transformers' encoder or decoder, known by its class's name."""
        kind = type(layer).__name__
        if kind == "ELU":
            return Elu.apply(x)
        if kind == "EncodecConv1d":
            return self._convolve(layer.conv, x)
        if kind == "EncodecConvTranspose1d":
            return self._transposed(layer.conv, x)
        if kind == "EncodecLSTM":
            return self._lstm(layer.lstm, x)
        made = x
        for inner in layer.block:
            made = self._layer(inner, made)
        return made + (x if isinstance(layer.shortcut, nn.Identity) else self._layer(layer.shortcut, x))

    def _convolve(self, conv: Any, x: Tensor) -> Tensor:
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        total = (kernel - 1) * dilation + 1 - stride
        if total:
            x = pad(x, (0, 0, total - total // 2, total // 2))
        # the sound itself goes in and out in float32: rounded to bfloat16 it hisses louder than its soft partials
        dtype = torch.float32 if 1 in conv.weight.shape[:2] else self.dtype
        x, weight = x.to(dtype), conv.weight.to(dtype)  # [out, in, kernel]
        if stride > 1:
            if kernel != 2 * stride:
                raise ValueError(f"a strided kernel is twice its stride here, got {kernel} and {stride}")
            x, kernel = x.reshape(len(x), -1, stride * x.shape[2]), 2
        # the order of a row's elements is tap, place in the block, channel
        taps = weight.transpose(1, 2).reshape(len(weight), kernel, -1).contiguous()
        made = Tapped.apply(x, taps, conv.bias.to(dtype), dilation)
        return made.to(self.dtype) if len(taps) > 1 else made

    def _transposed(self, conv: Any, x: Tensor) -> Tensor:
        (ratio,), n_in = conv.stride, conv.weight.shape[0]
        # block t of the output is x[t] W[first half] + x[t - 1] W[second half]
        halves = conv.weight.to(self.dtype).view(n_in, -1, 2, ratio).flip(2).permute(3, 1, 2, 0)
        bias = conv.bias.to(self.dtype).repeat(ratio)
        made = Tapped.apply(pad(x, (0, 0, 1, 1)), halves.reshape(-1, 2, n_in), bias, 1)
        made = made.view(len(x), -1, halves.shape[1])
        return made[:, ratio - ratio // 2 : made.shape[1] - ratio // 2]

    def _lstm(self, lstm: nn.LSTM, x: Tensor) -> Tensor:
        out = x.transpose(0, 1)
        steps = out
        for level in range(lstm.num_layers):
            own = [getattr(lstm, f"{name}_l{level}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            gates = linear(out, own[0].to(self.dtype), (own[2] + own[3]).to(self.dtype))
            out = Recurrence.apply(gates, own[1].to(self.dtype))
        return (out + steps).transpose(0, 1)


class Elu(torch.autograd.Function):
    """ELU by way of exp, which is twice as fast here as the library's expm1 and in bfloat16 as near."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: D102
        out = x.clamp(max=0.0).exp_().sub_(1.0)
        torch.maximum(x, out, out=out)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: D102
        (out,) = ctx.saved_tensors
        return torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, True, out)


class Tapped(torch.autograd.Function):
    """y[b, t] = bias + sum_i W[:, i] x[b, t + i dilation]: x [b, n, in], W [out, taps, in] to [b, n', out]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:  # noqa: D102
        ctx.dilation = dilation
        n_out, taps, n_in = weight.shape
        if taps * n_out <= n_in:  # few outputs: products first, then sums of shifted narrow rows
            ctx.save_for_backward(x, weight)
            narrow = (x @ weight.view(-1, n_in).T).view(*x.shape[:2], n_out, taps)
            n = x.shape[1] - (taps - 1) * dilation
            return sum((narrow[:, i * dilation : i * dilation + n, :, i] for i in range(taps)), bias)
        rows = _side_by_side(x, taps, dilation)
        ctx.save_for_backward(rows, weight)
        return linear(rows, weight.view(n_out, -1), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:  # noqa: D102
        kept, weight = ctx.saved_tensors
        n_out, taps, n_in = weight.shape
        reach = (taps - 1) * ctx.dilation
        few = taps * n_out <= n_in
        d_x = back = None
        if few or ctx.needs_input_grad[0]:
            padded = pad(grad, (0, 0, reach, reach)) if reach else grad.contiguous()
            back = _side_by_side(padded, taps, ctx.dilation)  # tap j holds the gradient of tap taps - 1 - j
        if ctx.needs_input_grad[0]:
            d_x = back @ weight.flip(1).transpose(0, 1).reshape(-1, n_in)
        if few:
            d_w = (back.flatten(0, 1).T @ kept.flatten(0, 1)).view(taps, n_out, n_in).flip(0).transpose(0, 1)
        else:
            d_w = (grad.flatten(0, 1).T @ kept.flatten(0, 1)).view_as(weight)
        return d_x, d_w, grad.sum((0, 1)), None


def _side_by_side(x: Tensor, taps: int, dilation: int) -> Tensor:
    """Rows that lie `dilation` apart in one: [b, n, c] to [b, n - (taps - 1) dilation, taps c]."""
    if taps == 1:
        return x
    n = x.shape[1] - (taps - 1) * dilation
    return torch.cat([x[:, i * dilation : i * dilation + n] for i in range(taps)], 2)


class Recurrence(torch.autograd.Function):
    """An LSTM from zero: gate inputs [t, b, 4 w] (input, forget, cell, output) and W [4 w, w] to [t, b, w]."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor) -> Tensor:  # noqa: D102
        n, batch, width = gates.shape[0], gates.shape[1], weight.shape[1]
        out = gates.new_empty(n, batch, width)
        acts = torch.empty(n, batch, 4 * width)
        cells = torch.zeros(n + 1, batch, width)
        for t in range(n):
            now = (gates[t] + out[t - 1] @ weight.T).float() if t else gates[t].float()
            torch.sigmoid(now, out=acts[t])
            torch.tanh(now[:, 2 * width : 3 * width], out=acts[t, :, 2 * width : 3 * width])
            i, f, g, o = acts[t].chunk(4, 1)
            torch.addcmul(i * g, f, cells[t], out=cells[t + 1])
            out[t] = o * torch.tanh(cells[t + 1])
        ctx.save_for_backward(weight, out, acts, cells)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        weight, out, acts, cells = ctx.saved_tensors
        n, batch, width = out.shape
        squashed = torch.tanh(cells[1:])
        slope = acts * (1 - acts)
        slope[:, :, 2 * width : 3 * width] = 1 - acts[:, :, 2 * width : 3 * width].square()
        d_gates = torch.empty(n, batch, 4 * width, dtype=out.dtype)
        d_cell = torch.zeros(batch, width)
        d_out = torch.zeros(batch, width)
        for t in reversed(range(n)):
            i, f, g, o = acts[t].chunk(4, 1)
            d_out = d_out + grad[t]
            d_cell = d_cell + d_out * o * (1 - squashed[t].square())
            raw = torch.cat([d_cell * g, d_cell * cells[t], d_cell * i, d_out * squashed[t]], 1)
            d_gates[t] = raw.mul_(slope[t])
            d_cell = d_cell * f
            d_out = (d_gates[t] @ weight).float()
        before = out[:-1].flatten(0, 1)
        return d_gates, d_gates[1:].flatten(0, 1).T @ before
